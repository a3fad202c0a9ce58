/*
 * fault.c - makes system calls on a spool fail, to be loaded with LD_PRELOAD.
 *
 * The n-th call of one name on a file below the spool's message directories fails with an errno,
 * once or from then on. All in the environment:
 *   FAULT_SPOOL  the queue directory       FAULT_CALL   openat, write, fsync ...
 *   FAULT_NTH    1, 2 ... (0: none)        FAULT_ERRNO  the number, or hang: never returns
 *   FAULT_SPAN   how many calls in a row fail (0: all that follow)
 *   FAULT_WHERE  journal or files: there only
 * Kill instead of an error, after what a receiver has said was read:
 *   FAULT_REPLY  a text in what read(2) returns  FAULT_AFTER  at the n-th call from then on (0: at
 *   once) of that thread, or, with FAULT_WHO=others, of any other one once that thread has made
 *   its first; what is wrapped here counts as a call
 * FAULT_CLOCK names a file with a number of seconds (8 bytes) by which the wall clock is ahead.
 * Each failure is told on stderr, and at the end how many calls there were, so that a test knows
 * when it has tried them all.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *const folders[] = {"journal/", "maildrop/", "incoming/", "active/", "deferred/",
    "hold/", "corrupt/", "defer/", "bounce/"};

static char spool[PATH_MAX];
static char call[32];
static int nth, span, number;
static size_t folder_first, folder_end = sizeof(folders) / sizeof(*folders);
static atomic_int seen;

static const char *reply;
static int after = -1, is_others;
static atomic_int is_read, has_gone_on, steps;
static _Thread_local int is_reader;
static const volatile int64_t *ahead;

static void
die(void)
{
	kill(getpid(), SIGKILL);
	pause();
}

/* A call is about to be made. */
static void
step(void)
{
	if (after <= 0 || !atomic_load(&is_read))
		return;
	if (is_reader)
		atomic_store(&has_gone_on, 1);
	if (is_others ? !is_reader && atomic_load(&has_gone_on) : is_reader)
		if (atomic_fetch_add(&steps, 1) + 1 == after)
			die();
}

static void
look_for_reply(const void *bytes, ssize_t n)
{
	if (reply == NULL || n <= 0 || memmem(bytes, (size_t)n, reply, strlen(reply)) == NULL)
		return;
	if (after == 0)
		die();
	is_reader = 1;
	atomic_store(&is_read, 1);
}

static void
start_kill(void)
{
	const char *a = getenv("FAULT_AFTER"), *w = getenv("FAULT_WHO"), *c = getenv("FAULT_CLOCK");

	reply = getenv("FAULT_REPLY");
	after = a ? atoi(a) : -1;
	is_others = w && strcmp(w, "others") == 0;
	if (c) {
		int fd = open(c, O_RDONLY | O_CLOEXEC);
		void *p = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);

		close(fd);
		if (p != MAP_FAILED)
			ahead = p;
	}
}

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
	number = getenv("FAULT_ERRNO") ? atoi(getenv("FAULT_ERRNO")) : EIO; /* hang: 0 */
	start_kill();
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

	step();
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
	dprintf(2, "fault: %s %s fails: %s\n", what, path, number ? strerror(number) : "hangs");
	while (number == 0)
		pause();
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
	ssize_t got = fails("read", fd, NULL) ? -1 : real(fd, bytes, n);

	look_for_reply(bytes, got);
	return got;
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

/* No names of files: these are moments to be killed at. */
int
pthread_mutex_lock(pthread_mutex_t *m)
{
	static __typeof__(&pthread_mutex_lock) real;

	step();
	if (real == NULL)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_mutex_lock");
	return real(m);
}

int
epoll_pwait(int fd, struct epoll_event *e, int n, int ms, const sigset_t *mask)
{
	REAL(epoll_pwait);
	step();
	return real(fd, e, n, ms, mask);
}

int
epoll_wait(int fd, struct epoll_event *e, int n, int ms)
{
	REAL(epoll_wait);
	step();
	return real(fd, e, n, ms);
}

int
epoll_ctl(int fd, int what, int of, struct epoll_event *e)
{
	REAL(epoll_ctl);
	step();
	return real(fd, what, of, e);
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
	static __typeof__(&clock_gettime) real;
	int rc;

	step();
	if (real == NULL)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(id, t);
	if (ahead && id == CLOCK_REALTIME)
		t->tv_sec += *ahead;
	return rc;
}
