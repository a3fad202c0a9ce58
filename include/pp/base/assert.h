/*
 * assert.h - assertions for bugs, always compiled in.
 * THREAD any.  OWNS nothing.
 * ERRORS PP_ASSERT ends the process with a line on stderr that names the place; it guards
 *        programming errors only, never input.
 */
#pragma once

void assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn, cold));

#define PP_ASSERT(e) ((e) ? (void)0 : assert_fail(#e, __FILE__, __LINE__))
#define PP_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define PP_UNUSED __attribute__((unused))
#define PP_COUNT(a) (sizeof(a) / sizeof(*(a)))
#define PP_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
