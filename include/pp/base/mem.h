/*
 * mem.h - heap memory that never fails, and arenas: memory with one lifetime.
 * THREAD any; one arena is used by one thread at a time.
 * OWNS   what mem_alloc gives is the caller's, until mem_free. What an arena gives is the arena's.
 * ERRORS none: out of memory ends the process (the spool is crash-safe, so nothing is lost).
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include "pp/base/str.h"

/* Zeroed memory. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((returns_nonnull));
void mem_free(void *p);
/* Gives back what a long start has left over: free memory, and the pages of the program itself,
 * which are read again when something is called there. */
void mem_trim(void);

#define MEM_NEW(type) ((type *)mem_alloc(sizeof(type)))

/* An arena hands out zeroed memory that is freed all at once. {0} is a valid empty arena. */
struct arena_chunk;
struct arena {
	struct arena_chunk *chunks;
	size_t used; /* bytes given out in all */
};

void *arena_alloc(struct arena *a, size_t size) __attribute__((returns_nonnull));
/* Copies with a NUL behind them. */
char *arena_strdup(struct arena *a, const char *s) __attribute__((returns_nonnull));
char *arena_str(struct arena *a, struct str s) __attribute__((returns_nonnull));
/* A copy in lower case (ASCII), with a NUL behind it. */
struct str arena_lower(struct arena *a, struct str s);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0), returns_nonnull));
char *arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
/* Frees everything; the arena is empty and may be used again. */
void arena_fini(struct arena *a);

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
