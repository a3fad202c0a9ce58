/*
 * mem.c - allocation that never returns NULL, and arenas.
 *
 * Running out of memory cannot be handled better than by ending: the spool is safe against a kill
 * at any moment, so a supervisor's restart loses nothing, while half-handled failures would.
 */
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"

enum {
	CHUNK_MIN = 1024,
	CHUNK_MAX = 64 * 1024,
	PARTS_MAX = 8, /* of a program: it has four or five */
};

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, cap;
	max_align_t data[];
};

void *
mem_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	PP_ASSERT(p != NULL);
	return p;
}

void *
mem_realloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	PP_ASSERT(p != NULL);
	return p;
}

char *
mem_strdup(const char *s)
{
	char *p = strdup(s);

	PP_ASSERT(p != NULL);
	return p;
}

void
mem_free(void *p)
{
	free(p);
}

/* Chunks double up to a limit, so that a short session stays in one small chunk. They are not
 * cleared as a whole: a page that is never touched costs nothing. */
static struct arena_chunk *
chunk_new(struct arena *a, size_t size)
{
	size_t cap = a->chunks ? a->chunks->cap * 2 : CHUNK_MIN;
	struct arena_chunk *c;

	if (cap > CHUNK_MAX)
		cap = CHUNK_MAX;
	if (cap < size)
		cap = size;
	c = mem_realloc(NULL, sizeof(*c) + cap);
	*c = (struct arena_chunk){.next = a->chunks, .cap = cap};
	a->chunks = c;
	return c;
}

static void *
take(struct arena *a, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	struct arena_chunk *c = a->chunks;
	void *p;

	PP_ASSERT(size < SIZE_MAX / 4);
	size = (size + align - 1) / align * align;
	if (c == NULL || c->cap - c->used < size)
		c = chunk_new(a, size);
	p = (char *)c->data + c->used;
	c->used += size;
	a->used += size;
	return p;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	return memset(take(a, size), 0, size);
}

char *
arena_str(struct arena *a, struct str s)
{
	char *p = take(a, s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return arena_str(a, str_of(s));
}

struct str
arena_lower(struct arena *a, struct str s)
{
	char *p = arena_str(a, s);

	for (size_t i = 0; i < s.n; i++)
		p[i] = str_lower(p[i]);
	return (struct str){p, s.n};
}

char *
arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	PP_ASSERT(fmt != NULL);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	PP_ASSERT(n >= 0);
	p = take(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	return p;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return p;
}

void
arena_fini(struct arena *a)
{
	struct arena_chunk *c;

	while ((c = a->chunks) != NULL) {
		a->chunks = c->next;
		mem_free(c);
	}
	a->used = 0;
}

/* Of this program, what nobody writes to: text and constants, not what the linker has filled in.
 * The table that says where these lie is in one of them, hence the copy. */
static int
drop_pages(struct dl_phdr_info *program, size_t size, void *ctx)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
	struct {
		uintptr_t from, to;
	} parts[PARTS_MAX];

	for (size_t i = 0; i < program->dlpi_phnum && n < PARTS_MAX; i++) {
		const ElfW(Phdr) *part = &program->dlpi_phdr[i];
		uintptr_t from = program->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD || part->p_flags & PF_W)
			continue;
		parts[n].from = from & ~(uintptr_t)(page - 1);
		parts[n++].to = from + part->p_memsz;
	}
	for (size_t i = 0; i < n; i++)
		madvise((void *)parts[i].from, parts[i].to - parts[i].from, MADV_DONTNEED);
	return 1; /* the first is the program */
}

void
mem_trim(void)
{
	malloc_trim(0);
	dl_iterate_phdr(drop_pages, NULL);
}
