/*
 * journal_power_test.c - the power fails, again and again, at any moment of a journal at work.
 *
 * This program stands between the journal and the kernel. It knows of each sector of a segment what
 * the disk has for certain (what was there when a sync that succeeded began) and what it may have:
 * any of the writes since, the marks in mapped memory included, each sector for itself. At a cut
 * such a disk is put together by chance and replayed: whatever was acknowledged and not yet given
 * away has to be there, nothing that is not exactly what was committed, and nothing of an earlier
 * life of a segment. Some syncs and writes fail as well, as a real disk's do: what they were to
 * write may be lost then although reading the file shows it. A write that is a sync as well makes
 * nothing safe but the pages it goes to.
 * PENNYPOST_CUTS, PENNYPOST_SEED: how many, and which.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include "journal_fixture.h"

enum {
	SECTOR = 512,
	PAGE = 4096,
	SECTORS = JOURNAL_SIZE / SECTOR,
	SEGMENTS = 9, /* at most two at a time, but one that cannot be made has had its number */
	LETTERS = 1200,
	RCPTS = 3,
	OPEN_MAX = 24,
	EVENTS = 3000, /* about: the cuts are spread over them */
};

/* How far each message is. Told before it is done, so that who looks later sees at least that. */
enum { FRESH, ACKNOWLEDGED, FAILED, GIVEN_AWAY };

struct disk;

static struct {
	struct letter letter;
	_Atomic int state;
	_Atomic unsigned marked; /* bits */
	_Atomic(struct disk *) disk;
	_Atomic bool is_marked;  /* as done */
	_Atomic bool is_settled; /* given away, and its mark safe: never to be seen again */
} mails[LETTERS];
static size_t committed;

struct disk {
	char *durable; /* certain */
	char *clean;   /* what the kernel believes to be there */
	size_t size, durable_size;
	/* What was written since, in parts: sector and content. */
	struct {
		size_t sector;
		char bytes[SECTOR];
	} * version;
	size_t n, room;
	bool is_written[SECTORS];
	_Atomic bool is_used;
	bool is_begun; /* its head is written */
	bool is_wiped; /* and safe: its front is stored to anew, every page of it */
};

static struct disk disks[SEGMENTS];
static struct journal_fixture fixture;
static char *now; /* of a whole segment */
static unsigned seed, cuts, cuts_wanted, events, faults, replayed;
static _Thread_local bool is_checking;

static unsigned
chance(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

/* The segment behind this descriptor, or NULL. */
static struct disk *
disk_of(int fd)
{
	char link[64], path[256], want[128];
	struct disk *d;
	size_t n;
	ssize_t got;

	if (is_checking || fixture.dir[0] == '\0')
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	got = readlink(link, path, sizeof(path) - 1);
	if (got < 0)
		return NULL;
	path[got] = '\0';
	n = (size_t)snprintf(want, sizeof(want), "%s/journal/", fixture.dir);
	if (strncmp(path, want, n) != 0 || path[n] < '0' || path[n] >= '0' + SEGMENTS)
		return NULL;
	d = &disks[path[n] - '0'];
	if (d->durable == NULL) {
		d->durable = mem_alloc(JOURNAL_SIZE);
		d->clean = mem_alloc(JOURNAL_SIZE);
	}
	return d;
}

static void
look(struct disk *d, int fd)
{
	ssize_t n = syscall(SYS_pread64, fd, now, (size_t)JOURNAL_SIZE, (off_t)0);

	assert_true(n >= 0);
	memset(now + n, 0, JOURNAL_SIZE - (size_t)n);
	d->size = (size_t)n;
}

/* What the disk may look like now. */
static void
image(const struct journal_fixture *to, struct disk *d, unsigned number)
{
	size_t size = chance(2) ? d->durable_size : d->size, unwritten = 2 + chance(3);
	char path[64], *out = mem_alloc(JOURNAL_SIZE);

	snprintf(path, sizeof(path), "%s/journal/%u", fixture.dir, number);
	{
		int fd = open(path, O_RDONLY);

		assert_true(fd >= 0);
		look(d, fd);
		close(fd);
	}
	if (size < d->durable_size)
		size = d->durable_size;
	memcpy(out, d->durable, JOURNAL_SIZE);
	for (size_t i = 0; i < d->n; i++)
		if (chance(4) >= unwritten - 1)
			memcpy(out + d->version[i].sector * SECTOR, d->version[i].bytes, SECTOR);
	for (size_t i = 0; i < SECTORS; i++)
		if (memcmp(now + i * SECTOR, d->clean + i * SECTOR, SECTOR) != 0 &&
		    chance(4) >= unwritten - 1)
			memcpy(out + i * SECTOR, now + i * SECTOR, SECTOR);
	snprintf(path, sizeof(path), "journal/%u", number);
	test_write(spool_dirfd(to->spool), path, (struct str){out, size}, 0600);
	mem_free(out);
}

/* On whatever thread. */
#define broken(...) (print_error(__VA_ARGS__), print_error("\n"), exit(1))

static bool
is_mail(const struct buf *b, size_t i, unsigned marked)
{
	struct str want = mails[i].letter.bytes.bytes, have = buf_str(b);
	unsigned rcpt = 0;

	if (have.n != want.n)
		return false;
	for (size_t at = 0; at < want.n; at++) {
		bool is_rcpt = rcpt < RCPTS && at + 3 < want.n && want.p[at] == REC_RCPT &&
			       want.p[at + 2] == 'r' && want.p[at + 3] == (char)('0' + rcpt);

		if (have.p[at] != want.p[at] &&
		    !(is_rcpt && have.p[at] == REC_DONE && (marked & 1u << rcpt) != 0))
			return false;
		rcpt += is_rcpt;
	}
	return true;
}

static void
check(struct journal_fixture *copy, const unsigned char *before, const bool *settled)
{
	for (size_t i = 0; i < LETTERS; i++) {
		int state = atomic_load(&mails[i].state);
		unsigned marked = atomic_load(&mails[i].marked);
		struct buf b;
		bool is_there = file_read(copy, QUEUE_INCOMING, mails[i].letter.id, &b);

		if (is_there && !is_mail(&b, i, marked))
			broken("cut %u: %s came back garbled", cuts, mails[i].letter.id);
		if (!is_there && before[i] == ACKNOWLEDGED && state == ACKNOWLEDGED)
			broken("cut %u: %s is lost", cuts, mails[i].letter.id);
		if (is_there && settled[i])
			broken("cut %u: %s came back", cuts, mails[i].letter.id);
		replayed += is_there;
		buf_fini(&b);
	}
}

static void
cut(void)
{
	unsigned char *before = mem_alloc(LETTERS);
	static bool settled[LETTERS];
	struct journal_fixture copy;
	int64_t n;

	is_checking = true;
	cuts++;
	for (size_t i = 0; i < LETTERS; i++) {
		before[i] = (unsigned char)atomic_load(&mails[i].state);
		settled[i] = atomic_load(&mails[i].is_settled);
	}
	journal_fixture_make(&copy);
	for (unsigned s = 0; s < SEGMENTS; s++)
		if (disks[s].is_used)
			image(&copy, &disks[s], s);
	n = chance(2) ? replay(&copy) : take_over(&copy);
	if (n < 0)
		broken("cut %u: replay: %s", cuts, strerror((int)-n));
	check(&copy, before, settled);
	journal_fixture_free(&copy);
	mem_free(before);
	is_checking = false;
}

static void
event(void)
{
	events++;
	if (cuts < cuts_wanted && chance(EVENTS / cuts_wanted + 1) == 0)
		cut();
}

static void
note_version(struct disk *d, size_t sector, const char *bytes)
{
	if (d->n == d->room) {
		d->room = d->room ? 2 * d->room : 256;
		d->version = mem_realloc(d->version, d->room * sizeof(*d->version));
	}
	d->is_written[sector] = true;
	d->version[d->n].sector = sector;
	memcpy(d->version[d->n++].bytes, bytes, SECTOR);
}

static void
note_write(struct disk *d, int fd, off_t at, size_t n)
{
	look(d, fd);
	for (size_t s = (size_t)at / SECTOR; s * SECTOR < (size_t)at + n && s < SECTORS; s++)
		note_version(d, s, now + s * SECTOR);
}

static bool
fails(void)
{
	bool yes = events > 100 && chance(20) == 0;

	faults += yes;
	return yes;
}

/* glibc's names are redirected to those with 64-bit offsets. */
ssize_t
pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	struct disk *d = disk_of(fd);
	ssize_t rc;

	if (d)
		event();
	rc = syscall(SYS_pwrite64, fd, bytes, n, at);
	if (d && rc > 0) {
		note_write(d, fd, at, (size_t)rc);
		d->is_begun = at == 0;
	}
	return rc;
}

ssize_t
pwritev(int fd, const struct iovec *v, int count, off_t at)
{
	struct disk *d = disk_of(fd);
	ssize_t rc;

	if (d)
		event();
	if (d && fails()) {
		errno = EIO;
		return -1;
	}
	rc = syscall(SYS_pwritev, fd, v, (long)count, (long)at, 0L);
	if (d && rc > 0)
		note_write(d, fd, at, (size_t)rc);
	return rc;
}

/* Nothing of these sectors waits to be written any more. */
static void
forget_versions(struct disk *d, size_t from, size_t to)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->n; i++)
		if (d->version[i].sector < from || d->version[i].sector >= to)
			d->version[kept++] = d->version[i];
	d->n = kept;
}

/* A page that was written or stored to is sent, also when its bytes are those that a sync which
 * failed had tried to write. */
static bool
is_sent(const struct disk *d, size_t sector)
{
	if (d->is_wiped && sector * SECTOR < JOURNAL_FRONT)
		return true;
	if (d->is_written[sector])
		return true;
	return memcmp(now + sector * SECTOR, d->clean + sector * SECTOR, SECTOR) != 0;
}

/* Each sector that was written arrives, or where `is_broken` one of two does, and the kernel tries
 * the rest no more. */
static void
arrive(struct disk *d, size_t from, size_t to, bool is_broken)
{
	for (size_t i = from; i < to; i++) {
		if (!is_sent(d, i))
			continue;
		if (!is_broken || chance(2))
			memcpy(d->durable + i * SECTOR, now + i * SECTOR, SECTOR);
		memcpy(d->clean + i * SECTOR, now + i * SECTOR, SECTOR);
		d->is_written[i] = false;
	}
	forget_versions(d, from, to);
}

/* All of it. */
static void
arrive_whole(struct disk *d, bool is_broken)
{
	arrive(d, 0, SECTORS, is_broken);
	d->is_wiped = d->is_begun && !is_broken;
	d->is_begun = false;
}

static int
sync_failed(void)
{
	errno = EIO;
	return -1;
}

ssize_t
pwritev2(int fd, const struct iovec *v, int count, off_t at, int flags)
{
	struct disk *d = disk_of(fd);
	size_t from = (size_t)(at / PAGE * PAGE / SECTOR), to;
	ssize_t rc;

	assert_int_equal(flags, RWF_DSYNC);
	if (d)
		event();
	rc = syscall(SYS_pwritev2, fd, v, (long)count, (long)at, 0L, (long)flags);
	if (d == NULL || rc < 0)
		return rc;
	note_write(d, fd, at, (size_t)rc);
	event();
	look(d, fd);
	to = (size_t)((at + rc + PAGE - 1) / PAGE * PAGE / SECTOR);
	if (to > SECTORS)
		to = SECTORS;
	if (fails()) {
		arrive(d, from, to, true);
		return sync_failed();
	}
	arrive(d, from, to, false);
	if ((size_t)(at + rc) > d->durable_size)
		d->durable_size = (size_t)(at + rc);
	event();
	return rc;
}

static int
synced(struct disk *d, int fd, long call)
{
	static bool is_away[LETTERS];
	size_t size;
	int rc;

	event();
	for (size_t i = 0; i < LETTERS; i++)
		is_away[i] = mails[i].disk == d && mails[i].is_marked;
	look(d, fd);
	if (call == SYS_fdatasync && fails()) {
		arrive_whole(d, true);
		return sync_failed();
	}
	size = d->size;
	arrive_whole(d, false);
	for (size_t i = 0; i < LETTERS; i++)
		if (is_away[i])
			mails[i].is_settled = true;
	d->durable_size = size;
	d->is_used = true;
	rc = (int)syscall(call, fd);
	event();
	return rc;
}

int
fdatasync(int fd)
{
	struct disk *d = disk_of(fd);

	return d ? synced(d, fd, SYS_fdatasync) : (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	struct disk *d = disk_of(fd);

	return d ? synced(d, fd, SYS_fsync) : (int)syscall(SYS_fsync, fd);
}

static struct {
	size_t open[OPEN_MAX], n;
} held;

static struct post begin;
static struct loop *loop;
static size_t answers;

/* Its place begins with the address of its segment; they are made in the order of their numbers. */
static struct disk *
disk_behind(const struct journal_mail *m)
{
	static const void *segment[SEGMENTS];
	const void *p;
	size_t i = 0;

	memcpy(&p, m, sizeof(p));
	while (!disks[i].is_used || (segment[i] != NULL && segment[i] != p))
		i++;
	segment[i] = p;
	return &disks[i];
}

static void
answered(struct journal_commit *c)
{
	struct letter *l = PP_CONTAINER(c, struct letter, commit);
	size_t i = (size_t)((char *)l - (char *)&mails[0].letter) / sizeof(mails[0]);

	atomic_store(&mails[i].state, c->rc == 0 ? ACKNOWLEDGED : FAILED);
	if (c->rc == 0) {
		held.open[held.n++] = i;
		mails[i].disk = disk_behind(c->mail);
	}
	if (--answers == 0)
		loop_stop(loop);
}

static void
give_away(size_t at)
{
	size_t i = held.open[at];

	atomic_store(&mails[i].state, GIVEN_AWAY);
	journal_done(mails[i].letter.commit.mail);
	mails[i].is_marked = true;
	memmove(&held.open[at], &held.open[at + 1], (held.n - at - 1) * sizeof(*held.open));
	held.n--;
}

/* One more round: some are committed, and while that goes on others are delivered. */
static void
round_begin(struct post *p)
{
	size_t n = 1 + chance(8);

	if (n > LETTERS - committed)
		n = LETTERS - committed;
	answers = n;
	for (; n > 0; n--, committed++) {
		mails[committed].letter.commit.done = answered;
		journal_append(fixture.journal, &mails[committed].letter.commit);
	}
	for (size_t i = 0; i < held.n; i++) {
		unsigned rcpt = chance(RCPTS);
		size_t m = held.open[i];

		if (chance(4) > 0)
			continue;
		atomic_fetch_or(&mails[m].marked, 1u << rcpt);
		journal_mark(mails[m].letter.commit.mail, rcpt);
	}
	while (held.n > 0 && (held.n > OPEN_MAX - 10 || chance(3) > 0))
		give_away(held.n > OPEN_MAX - 10 ? 0 : chance((unsigned)held.n));
}

static void
a_power_loss_loses_nothing(void **state)
{
	const char *wanted = getenv("PENNYPOST_CUTS"), *from = getenv("PENNYPOST_SEED");

	cuts_wanted = wanted ? (unsigned)atoi(wanted) : 100;
	seed = from ? (unsigned)atoi(from) : 1;
	now = mem_alloc(JOURNAL_SIZE);
	for (size_t i = 0; i < LETTERS; i++) {
		char id[32];

		snprintf(id, sizeof(id), "P%05zu", i);
		letter_make(&mails[i].letter, id, RCPTS, chance(4) ? chance(4000) : chance(200000));
	}
	journal_fixture_make(&fixture);
	journal_fixture_open(&fixture);
	while (committed < LETTERS) {
		loop = loop_new("test");
		post_to(loop, &begin, round_begin);
		loop_run(loop);
		loop_free(loop);
	}
	while (held.n > 0)
		give_away(0);
	is_checking = true;
	assert_int_equal(journal_fixture_close(&fixture), 0);
	print_message("%u events, %u cuts, %u faults, %u messages came back\n", events, cuts,
	    faults, replayed);
	assert_true(cuts > 0 && replayed > 0 && faults > 0);
	journal_fixture_free(&fixture);
	for (unsigned s = 0; s < SEGMENTS; s++) {
		mem_free(disks[s].durable);
		mem_free(disks[s].clean);
		mem_free(disks[s].version);
	}
	for (size_t i = 0; i < LETTERS; i++)
		letter_free(&mails[i].letter);
	mem_free(now);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_power_loss_loses_nothing),
	};

	test_set_root(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
