/*
 * tsan_close.c - tells ThreadSanitizer of descriptors that libuv closes, for its builds alone.
 *
 * It follows each descriptor from the call that makes it to close(2). libuv closes by syscall(2),
 * which it does not know, and there are calls that make descriptors which it does not know either
 * (openat(2), opendir(3) in a library). So it took a file for the socket of another thread that had
 * the same number before, and each use of it for a race. Here libuv's close is one for it, too.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

void __sanitizer_syscall_pre_impl_close(long fd);
void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_end(void);

static long (*original)(long number, ...);

__attribute__((constructor)) static void
find_original(void)
{
	original = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
}

long
syscall(long number, ...)
{
	long args[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(ap, long);
	va_end(ap);
	if (!original)
		find_original(); /* a library's constructor came first: one thread */
	if (number == SYS_close) {
		/* Forget all about it, and nothing else: the thread that closes did not see each
		 * end of a use as TSan would like it. */
		__tsan_ignore_thread_begin();
		__sanitizer_syscall_pre_impl_close(args[0]);
		__tsan_ignore_thread_end();
	}
	return original(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
