/*
 * tsan_openat.c - tells ThreadSanitizer of descriptors that openat(2) makes, for its builds alone.
 *
 * It follows each descriptor from the call that makes it to close(2), and knows neither openat(2)
 * nor the raw system call by which libuv closes. So it took a file for the socket of another thread
 * that had the same number before, and each use of it for a race. Here a new descriptor is made one
 * that it knows nothing of yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

void __sanitizer_syscall_pre_impl_close(long fd);
void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_end(void);

/* With _FILE_OFFSET_BITS=64 this is openat64, the name that all of us call. */
int
openat(int dirfd, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;
	int fd;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
	if (fd >= 0) {
		/* What it does behind a close: forget. Ignored, or the close itself would be a
		 * race. */
		__tsan_ignore_thread_begin();
		__sanitizer_syscall_pre_impl_close(fd);
		__tsan_ignore_thread_end();
	}
	return fd;
}
