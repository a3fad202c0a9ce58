/*
 * rates.c - what was sent to destinations with a limit, kept over a restart.
 *
 * A file in data_directory that is mapped: a delivery is written there before it begins by a few
 * stores, which cost no system call and outlive a kill; a loss of power may take the last seconds.
 * The file has two halves of records. When one is full, what still counts is written into the
 * other, and then its number: whichever of the two has the higher number is the one that counts.
 *
 * Times are of the clock that does not step. It goes on over a restart of ours; where the machine
 * was started anew, the wall clock tells how long ago that was, and what it would put into the
 * future counts as of now. A delivery that was begun and has no end counts as of the start of this
 * run.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/fsio.h"

enum {
	RATES_MAGIC = 0x52415445, /* "RATE" */
	HALF_RECORDS = 100000,
	RATES_MAX = 4000, /* destinations; what is more shares one count */
	SHARED = 1,       /* its key */
	BOOT_ID = 36,
	CLEAN_MS = 1000,
};

enum rates_kind { RATES_BEGIN = 1, RATES_END, RATES_MARK };

struct rates_record {
	uint64_t key;
	int64_t at;
	uint32_t n;
	uint32_t period_s : 29, kind : 3;
};

struct rates_half {
	volatile uint64_t number; /* 0 = nothing in it; written last */
	volatile uint32_t used;
	uint32_t magic;
	int64_t wall_ahead; /* ms: wall clock less `at`, when it was begun */
	char boot[BOOT_ID + 4];
	struct rates_record record[HALF_RECORDS];
};

struct qmgr_rate {
	UT_hash_handle hh;
	uint64_t key;
	struct rate rate;
	unsigned users; /* destinations; a retired one and its successor may be two */
	unsigned lost;  /* begun by an earlier run, and not known to have ended */
};

struct rates {
	struct qmgr_rate *all;   /* by key */
	struct rates_half *half; /* two; NULL: there is no file, so nothing outlives us */
	unsigned at;
	int64_t opened, cleaned;
	char boot[BOOT_ID + 4];
};

static struct qmgr_rate *
rate_find(struct rates *r, uint64_t key)
{
	struct qmgr_rate *x;

	HASH_FIND(hh, r->all, &key, sizeof(key), x);
	if (x == NULL && HASH_COUNT(r->all) >= RATES_MAX && key != SHARED)
		return rate_find(r, SHARED);
	if (x == NULL) {
		x = MEM_NEW(struct qmgr_rate);
		x->key = key;
		HASH_ADD(hh, r->all, key, sizeof(x->key), x);
	}
	return x;
}

static void
rate_free(struct rates *r, struct qmgr_rate *x)
{
	HASH_DEL(r->all, x);
	rate_fini(&x->rate);
	mem_free(x);
}

static int64_t
wall_ahead(int64_t now)
{
	return loop_wall_us() / 1000 - now;
}

static void
put(struct rates_half *h, const struct rates_record *rec)
{
	if (h->used < HALF_RECORDS) {
		h->record[h->used] = *rec;
		__asm__ volatile("" ::: "memory"); /* the record, then that it is there */
		h->used = h->used + 1;
	}
}

static void
put_rate(struct rates_half *h, const struct qmgr_rate *x)
{
	for (unsigned i = 0; i < x->rate.running + x->lost; i++)
		put(h, &(struct rates_record){.key = x->key, .kind = RATES_BEGIN});
	for (unsigned i = 0; i < x->rate.count; i++) {
		const struct rate_ring *g = &x->rate.ring[i];

		/* Few places for many: the last time stands for those before it. */
		for (unsigned k = 0, step = g->used / 4 + 1; k < g->used; k += step) {
			struct rates_record rec = {.key = x->key,
			    .period_s = (uint32_t)(g->ms / 1000) & 0x1fffffff,
			    .kind = RATES_MARK};

			for (unsigned m = k; m < k + step && m < g->used; m++) {
				const struct rate_mark *mark = &g->mark[(g->at + m) % g->room];

				rec.n += (uint32_t)mark->n;
				rec.at = mark->last;
			}
			put(h, &rec);
		}
	}
}

static void
forget_idle(struct rates *r, int64_t now)
{
	struct qmgr_rate *x, *next;

	HASH_ITER (hh, r->all, x, next)
		if (x->users == 0 && x->lost == 0 && rate_is_idle(&x->rate, now))
			rate_free(r, x);
}

/* What still counts, into the other half. */
static void
turn_over(struct rates *r, int64_t now)
{
	struct rates_half *from = &r->half[r->at], *to = &r->half[!r->at];
	to->number = 0;
	to->used = 0;
	to->magic = RATES_MAGIC;
	to->wall_ahead = wall_ahead(now);
	memcpy(to->boot, r->boot, sizeof(to->boot));
	forget_idle(r, now);
	for (struct qmgr_rate *x = r->all; x; x = x->hh.next)
		put_rate(to, x);
	__asm__ volatile("" ::: "memory");
	to->number = from->number + 1;
	r->at = !r->at;
}

static void
note(struct rates *r, const struct rates_record *rec, int64_t now)
{
	if (r->half == NULL)
		return;
	if (r->half[r->at].used == HALF_RECORDS)
		turn_over(r, now);
	put(&r->half[r->at], rec);
}

/* ms to be added to a time of that half to get one of our clock. */
static int64_t
shift_of(const struct rates *r, const struct rates_half *h, int64_t now)
{
	if (memcmp(h->boot, r->boot, sizeof(r->boot)) == 0)
		return 0;
	return h->wall_ahead - wall_ahead(now);
}

static void
load(struct rates *r, const struct rates_half *h, int64_t now)
{
	int64_t shift = shift_of(r, h, now);

	for (uint32_t i = 0; i < h->used && i < HALF_RECORDS; i++) {
		const struct rates_record *rec = &h->record[i];
		struct qmgr_rate *x = rate_find(r, rec->key);
		int64_t at = rec->at + shift;

		if (rec->kind == RATES_BEGIN)
			x->lost++;
		else if (rec->kind == RATES_END)
			x->lost -= x->lost > 0;
		else if (rec->kind == RATES_MARK && rec->period_s > 0)
			rate_mark(
			    &x->rate, (int64_t)rec->period_s * 1000, at < now ? at : now, rec->n);
	}
}

static void
boot_id(char id[BOOT_ID + 4])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, id, BOOT_ID) != BOOT_ID)
		memset(id, 0, BOOT_ID); /* then the wall clock it is: no half has this one */
	if (fd >= 0)
		close(fd);
}

static struct rates_half *
map_file(const char *path)
{
	const size_t size = 2 * sizeof(struct rates_half);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	void *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		log_warn("qmgr",
		    "%s: %s: limits of rates begin anew with each start: mail_owner must be able "
		    "to write there",
		    path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return map == MAP_FAILED ? NULL : map;
}

struct rates *
rates_open(const char *path, int64_t now)
{
	struct rates *r = MEM_NEW(struct rates);
	struct rates_half *h;

	r->opened = now;
	boot_id(r->boot);
	r->half = path ? map_file(path) : NULL;
	if (r->half == NULL)
		return r;
	r->at = r->half[1].number > r->half[0].number;
	h = &r->half[r->at];
	if (h->magic == RATES_MAGIC && h->number > 0)
		load(r, h, now);
	for (struct qmgr_rate *x = r->all; x; x = x->hh.next) {
		/* They may have reached the receiver up to this moment. */
		for (unsigned i = 0; i < x->rate.count && x->lost > 0; i++)
			rate_mark(&x->rate, x->rate.ring[i].ms, now, x->lost);
		if (x->rate.count > 0)
			x->lost = 0;
	}
	turn_over(r, now);
	return r;
}

void
rates_close(struct rates *r)
{
	struct qmgr_rate *x, *next;

	if (r == NULL)
		return;
	HASH_ITER (hh, r->all, x, next)
		rate_free(r, x);
	if (r->half)
		munmap(r->half, 2 * sizeof(struct rates_half));
	mem_free(r);
}

/* FNV-1a: any hash that is the same in the next run. */
static uint64_t
hash_of(const char *key)
{
	uint64_t h = 14695981039346656037ULL;

	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 1099511628211ULL;
	return h > SHARED ? h : h + 2;
}

struct qmgr_rate *
rates_get(struct rates *r, const char *key, const struct rate_rule *rule, int64_t now)
{
	struct qmgr_rate *x;

	if (rule->count == 0)
		return NULL;
	if (HASH_COUNT(r->all) >= RATES_MAX && now - r->cleaned > CLEAN_MS) {
		r->cleaned = now;
		forget_idle(r, now);
	}
	x = rate_find(r, hash_of(key));
	rate_follow(&x->rate, rule);
	for (unsigned i = 0; x->lost > 0 && i < rule->count; i++)
		rate_mark(&x->rate, rule->limit[i].ms, r->opened, x->lost);
	x->lost = 0;
	x->users++;
	return x;
}

void
rates_put(struct rates *r, struct qmgr_rate *x, int64_t now)
{
	if (x && --x->users == 0 && rate_is_idle(&x->rate, now))
		rate_free(r, x);
}

struct rate *
rates_rate(struct qmgr_rate *x)
{
	return x ? &x->rate : NULL;
}

void
rates_began(struct rates *r, struct qmgr_rate *x, int64_t now)
{
	if (x)
		note(r, &(struct rates_record){.key = x->key, .at = now, .kind = RATES_BEGIN}, now);
}

void
rates_ended(struct rates *r, struct qmgr_rate *x, int64_t end)
{
	for (unsigned i = 0; x && i < x->rate.count; i++)
		note(r,
		    &(struct rates_record){.key = x->key,
			.at = end,
			.n = 1,
			.period_s = (uint32_t)(x->rate.ring[i].ms / 1000) & 0x1fffffff,
			.kind = RATES_MARK},
		    end);
	if (x)
		note(r, &(struct rates_record){.key = x->key, .at = end, .kind = RATES_END}, end);
}
