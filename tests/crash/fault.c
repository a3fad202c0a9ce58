/*
 * fault.c - makes system calls on a spool fail, to be loaded with LD_PRELOAD.
 *
 * The n-th call of one name on a file below the spool's message directories fails with an errno,
 * once or from then on. All in the environment:
 *   FAULT_SPOOL  the queue directory       FAULT_CALL   openat, write, fsync ...
 *   FAULT_NTH    1, 2 ... (0: none)        FAULT_ERRNO  the number
 *   FAULT_SPAN   how many calls in a row fail (0: all that follow)
 *   FAULT_WHERE  journal or files: there only
 * Each failure is told on stderr, and at the end how many calls there were, so that a test knows
 * when it has tried them all.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *const folders[] = {"journal/", "maildrop/", "incoming/", "active/", "deferred/",
    "hold/", "corrupt/", "defer/", "bounce/"};

static char spool[PATH_MAX];
static char call[32];
static int nth, span, number;
static size_t folder_first, folder_end = sizeof(folders) / sizeof(*folders);
static atomic_int seen;

__attribute__((constructor)) static void
fault_start(void)
{
	const char *s = getenv("FAULT_SPOOL"), *c = getenv("FAULT_CALL"),
		   *w = getenv("FAULT_WHERE");

	snprintf(spool, sizeof(spool), "%s/", s ? s : "");
	snprintf(call, sizeof(call), "%s", c ? c : "");
	nth = getenv("FAULT_NTH") ? atoi(getenv("FAULT_NTH")) : 0;
	span = getenv("FAULT_SPAN") ? atoi(getenv("FAULT_SPAN")) : 1;
	folder_first = w && strcmp(w, "files") == 0 ? 1 : 0;
	if (w && strcmp(w, "journal") == 0)
		folder_end = 1;
	number = getenv("FAULT_ERRNO") ? atoi(getenv("FAULT_ERRNO")) : EIO;
}

__attribute__((destructor)) static void
fault_end(void)
{
	dprintf(2, "fault: %d calls of %s\n", atomic_load(&seen), call);
}

static int
is_message_path(const char *path)
{
	size_t n = strlen(spool);

	if (strncmp(path, spool, n) == 0)
		path += n;
	for (size_t i = folder_first; i < folder_end; i++)
		if (strncmp(path, folders[i], strlen(folders[i])) == 0)
			return 1;
	return 0;
}

/* Relative names count as below the spool when the directory is it, or the working directory. */
static int
path_of(int dir, const char *name, char *path)
{
	char link[64], base[PATH_MAX];
	ssize_t n;

	if (name && name[0] == '/') {
		snprintf(path, PATH_MAX, "%s", name);
		return 1;
	}
	if (dir == AT_FDCWD)
		snprintf(link, sizeof(link), "/proc/self/cwd");
	else
		snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = readlink(link, base, sizeof(base) - 1);
	if (n <= 0)
		return 0;
	base[n] = '\0';
	if (name)
		snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
	else
		snprintf(path, PATH_MAX, "%s", base);
	return strncmp(path, spool, strlen(spool)) == 0;
}

static int
fails(const char *what, int dir, const char *name)
{
	char path[PATH_MAX];
	int at, keep = errno;

	if (spool[1] == '\0' || strcmp(call, what) != 0)
		return 0;
	if (!path_of(dir, name, path) || !is_message_path(path)) {
		errno = keep;
		return 0;
	}
	at = atomic_fetch_add(&seen, 1) + 1;
	errno = keep;
	if (nth == 0 || at < nth || (span > 0 && at >= nth + span))
		return 0;
	dprintf(2, "fault: %s %s fails: %s\n", what, path, strerror(number));
	errno = number;
	return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Programs built with 64-bit offsets or with _FORTIFY_SOURCE call these by other names. */
static int
open_real(const char *name, int dir, const char *path, int flags, mode_t mode)
{
	int (*real)(int, const char *, int, ...);

	*(void **)&real = dlsym(RTLD_NEXT, name);
	return fails("openat", dir, path) ? -1 : real(dir, path, flags, mode);
}

#define OPENAT(name)                                                                               \
	int name(int dir, const char *path, int flags, ...)                                        \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = va_arg(ap, mode_t);                                                         \
		va_end(ap);                                                                        \
		return open_real(#name, dir, path, flags, mode);                                   \
	}

int openat(int dir, const char *path, int flags, ...);
int openat64(int dir, const char *path, int flags, ...);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

OPENAT(openat)
OPENAT(openat64)

int
__openat_2(int dir, const char *path, int flags)
{
	return open_real("openat", dir, path, flags, 0);
}

int
__openat64_2(int dir, const char *path, int flags)
{
	return open_real("openat64", dir, path, flags, 0);
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
	REAL(write);
	return fails("write", fd, NULL) ? -1 : real(fd, bytes, n);
}

ssize_t
read(int fd, void *bytes, size_t n)
{
	REAL(read);
	return fails("read", fd, NULL) ? -1 : real(fd, bytes, n);
}

ssize_t __read_chk(int fd, void *bytes, size_t n, size_t room);
ssize_t
__read_chk(int fd, void *bytes, size_t n, size_t room)
{
	return n <= room ? read(fd, bytes, n) : -1;
}

ssize_t
pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
	REAL(pwrite64);
	return fails("pwrite", fd, NULL) ? -1 : real(fd, bytes, n, at);
}

ssize_t
pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	return pwrite64(fd, bytes, n, at);
}

ssize_t
pread64(int fd, void *bytes, size_t n, off64_t at)
{
	REAL(pread64);
	return fails("pread", fd, NULL) ? -1 : real(fd, bytes, n, at);
}

ssize_t
pread(int fd, void *bytes, size_t n, off_t at)
{
	return pread64(fd, bytes, n, at);
}

ssize_t __pread64_chk(int fd, void *bytes, size_t n, off64_t at, size_t room);
ssize_t
__pread64_chk(int fd, void *bytes, size_t n, off64_t at, size_t room)
{
	return n <= room ? pread64(fd, bytes, n, at) : -1;
}

int
ftruncate64(int fd, off64_t n)
{
	REAL(ftruncate64);
	return fails("ftruncate", fd, NULL) ? -1 : real(fd, n);
}

int
linkat(int from, const char *a, int to, const char *b, int flags)
{
	REAL(linkat);
	return fails("linkat", to, b) ? -1 : real(from, a, to, b, flags);
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
	REAL(writev);
	return fails("writev", fd, NULL) ? -1 : real(fd, v, n);
}

ssize_t
pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	REAL(pwritev64);
	return fails("pwritev", fd, NULL) ? -1 : real(fd, v, n, at);
}

ssize_t
pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev64(fd, v, n, at);
}

int
fsync(int fd)
{
	REAL(fsync);
	return fails("fsync", fd, NULL) ? -1 : real(fd);
}

ssize_t
pwritev64v2(int fd, const struct iovec *v, int n, off64_t at, int flags)
{
	REAL(pwritev64v2);
	return fails("pwritev", fd, NULL) || fails("fdatasync", fd, NULL)
		   ? -1
		   : real(fd, v, n, at, flags);
}

ssize_t
pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	return pwritev64v2(fd, v, n, at, flags);
}

int
fdatasync(int fd)
{
	REAL(fdatasync);
	return fails("fdatasync", fd, NULL) ? -1 : real(fd);
}

int
fchmod(int fd, mode_t mode)
{
	REAL(fchmod);
	return fails("fchmod", fd, NULL) ? -1 : real(fd, mode);
}

int
futimens(int fd, const struct timespec t[2])
{
	REAL(futimens);
	return fails("futimens", fd, NULL) ? -1 : real(fd, t);
}

int
utimensat(int dir, const char *path, const struct timespec t[2], int flags)
{
	REAL(utimensat);
	return fails("utimensat", dir, path) ? -1 : real(dir, path, t, flags);
}

int
renameat(int from, const char *a, int to, const char *b)
{
	REAL(renameat);
	return fails("renameat", from, a) ? -1 : real(from, a, to, b);
}

int
renameat2(int from, const char *a, int to, const char *b, unsigned flags)
{
	REAL(renameat2);
	return fails("renameat2", from, a) ? -1 : real(from, a, to, b, flags);
}

int
unlinkat(int dir, const char *path, int flags)
{
	REAL(unlinkat);
	return fails("unlinkat", dir, path) ? -1 : real(dir, path, flags);
}
