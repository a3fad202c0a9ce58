/*
 * receipts.c - a table of the recipients that are being delivered to, in a mapped file.
 *
 * A slot has the queue id and the places of some recipients' records; each place has room for a
 * seal, which is made of the id, the place and a number that only this file has. So nothing passes
 * for a seal that was not written as one: neither a page that a loss of power has taken back, nor
 * what an earlier user of the slot left. Slots that were used last are used next: few pages are
 * ever touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include "journal.h"
#include "pp/runtime/loop.h"
#include "pp/spool/receipts.h"
#include "receipts.h"

struct receipts {
	struct spool *spool;
	struct receipts_file *file;
	struct receipt *free;
	struct arena arena; /* of all that were ever given out */
	unsigned used;      /* slots that were ever given out */
	struct counter *ids;
};

uint64_t
receipts_seal(uint64_t salt, const char *id, uint64_t offset)
{
	const uint64_t place[2] = {salt, offset};
	struct str s = {(const char *)place, sizeof(place)};

	return journal_content_hash(str_of(id), s) | 1;
}

uint64_t
intake_seal(uint64_t salt, const struct intake *h, uint64_t which)
{
	const uint64_t rest[4] = {salt, h->inode, (uint64_t)h->mtime, which};
	struct str s = {(const char *)rest, sizeof(rest)};
	struct str names = {h->file, sizeof(h->file) + sizeof(h->id)};

	return journal_content_hash(names, s) | 1;
}

void
receipts_boot_blk(char boot[64])
{
	struct buf text = {.max = 64};

	boot[0] = '\0';
	if (fsio_read_all(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text) == 0)
		snprintf(boot, 64, "%s", buf_cstr(&text));
	buf_fini(&text);
}

static int
create(struct spool *s)
{
	static const char zeros[4096];
	int fd = spool_create_file(s, RECEIPTS_FILE), rc = 0;

	if (fd < 0)
		return fd;
	/* Really there, so that a note never finds the disk full. */
	for (size_t at = 0; rc == 0 && at < sizeof(struct receipts_file); at += sizeof(zeros))
		rc = fsio_pwrite(fd, (struct str){zeros, sizeof(zeros)}, (off_t)at);
	if (rc == 0)
		return fd;
	fsio_close(fd);
	fsio_unlink(s->dirfd, RECEIPTS_FILE);
	return rc;
}

_Static_assert(sizeof(((struct receipts_file *)0)->head) <= RECEIPTS_HEAD, "whole pages");

static struct intake *
free_intake(struct receipts_file *f)
{
	for (size_t i = 0; i < RECEIPTS_INTAKES; i++)
		if (f->head.intake[i].begun == 0)
			return &f->head.intake[i];
	for (size_t i = 0; i < RECEIPTS_INTAKES; i++)
		if (f->head.intake[i].is_old)
			return &f->head.intake[i];
	return NULL;
}

/* What `like` says; its seal comes last. */
static struct intake *
begin_intake(struct receipts_file *f, const struct intake *like)
{
	struct intake *h = f ? free_intake(f) : NULL;

	if (h == NULL)
		return NULL;
	*h = *like;
	h->begun = h->done = 0;
	h->at = (uint32_t)(h - f->head.intake);
	h->begun = intake_seal(f->head.salt, h, INTAKE_BEGUN);
	return h;
}

static struct receipts_file *
file_of(struct intake *h)
{
	return PP_CONTAINER(h - h->at, struct receipts_file, head.intake[0]);
}

void
intake_done(struct intake *h)
{
	volatile uint64_t *seal = h ? &h->done : NULL;

	if (seal)
		*seal = intake_seal(file_of(h)->head.salt, h, INTAKE_DONE);
}

/* Of the last run: their files may come yet. */
static void
carry_intakes(struct spool *s, struct receipts_file *f)
{
	for (size_t i = 0; s->intakes && i < s->intakes->n; i++) {
		struct intake *h = begin_intake(f, &s->intakes->of[i]);

		intake_done(h);
		h->is_old = true;
	}
	mem_free(s->intakes);
	s->intakes = NULL;
}

int
receipts_new_blk(struct spool *s, struct receipts **ret)
{
	struct receipts_file *f;
	struct receipts *rs;
	uint64_t salt;
	int fd = create(s);

	if (fd < 0)
		return fd;
	f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fsio_close(fd);
	if (f == MAP_FAILED) {
		fsio_unlink(s->dirfd, RECEIPTS_FILE);
		return -ENOMEM;
	}
	if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != (ssize_t)sizeof(salt))
		salt = (uint64_t)loop_monotonic_us() ^ (uintptr_t)f;
	rs = MEM_NEW(struct receipts);
	rs->spool = s;
	rs->file = f;
	f->head.salt = salt;
	receipts_boot_blk(f->head.boot);
	memcpy(f->head.magic, RECEIPTS_MAGIC, sizeof(f->head.magic));
	/* No id is given out before: this is the start. */
	rs->ids = s->last_id;
	counter_next(&f->head.last_id, counter_next(s->last_id, 0));
	s->last_id = &f->head.last_id;
	s->receipts = f;
	if (s->lock_fd >= 0)
		spool_ids_keep(s); /* the replay may have met later ones */
	carry_intakes(s, f);
	*ret = rs;
	return 0;
}

void
receipts_free(struct receipts *rs)
{
	if (rs == NULL)
		return;
	counter_next(rs->ids, counter_next(rs->spool->last_id, 0));
	rs->spool->last_id = rs->ids;
	rs->spool->receipts = NULL;
	munmap(rs->file, sizeof(*rs->file));
	arena_fini(&rs->arena);
	mem_free(rs);
}

static struct receipts_slot *
slot_of(const struct receipt *r)
{
	return &r->all->file->slot[r->slot];
}

static struct receipt *
take(struct receipts *rs)
{
	struct receipt *r = rs->free;

	if (r) {
		rs->free = r->next;
		r->next = r->more = NULL;
	} else if (rs->used < RECEIPTS_SLOTS) {
		r = ARENA_NEW(&rs->arena, struct receipt);
		r->all = rs;
		r->slot = rs->used++;
	}
	return r;
}

struct receipt *
receipt_new(struct receipts *rs, const char *id, struct recipient *const *rcpt, size_t n)
{
	struct receipt *first = NULL, **last = &first;

	for (size_t at = 0; rs && at < n; at += RECEIPTS_PLACES) {
		struct receipt *r = take(rs);
		struct receipts_slot *slot;

		if (r == NULL) {
			receipt_drop(first);
			return NULL;
		}
		slot = slot_of(r);
		snprintf(slot->id, sizeof(slot->id), "%s", id);
		for (size_t i = 0; i < RECEIPTS_PLACES && at + i < n; i++)
			slot->place[i].offset = (uint64_t)rcpt[at + i]->offset;
		*last = r;
		last = &r->more;
	}
	return first;
}

void
receipt_sign(struct receipt *r, size_t n)
{
	struct receipts_slot *slot;
	volatile uint64_t *seal;

	if (r == NULL)
		return;
	for (; n >= RECEIPTS_PLACES; n -= RECEIPTS_PLACES)
		r = r->more;
	slot = slot_of(r);
	seal = &slot->place[n].seal; /* now, not when the compiler finds it convenient */
	if (*seal == 0)
		*seal = receipts_seal(r->all->file->head.salt, slot->id, slot->place[n].offset);
}

static void
drop_part(struct receipt *r)
{
	struct receipts *rs = r->all;

	memset(slot_of(r), 0, sizeof(struct receipts_slot));
	r->next = rs->free;
	rs->free = r;
}

void
receipt_drop(struct receipt *r)
{
	while (r) {
		struct receipt *next = r->next, *part = r;

		while (part) {
			struct receipt *more = part->more;

			drop_part(part);
			part = more;
		}
		r = next;
	}
}

struct intake *
intake_new(struct spool *s, const char *file, const struct stat *st, const char *id)
{
	struct intake like = {.inode = st->st_ino};

	snprintf(like.file, sizeof(like.file), "%s", file);
	snprintf(like.id, sizeof(like.id), "%s", id);
	like.mtime = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
	return begin_intake(s->receipts, &like);
}

void
intake_handed_name(const char *id, char file[SPOOL_ID_MAX])
{
	snprintf(file, SPOOL_ID_MAX, "%.*s_", SPOOL_ID_MAX - 2, id);
}

struct intake *
intake_handed(struct spool *s, uid_t uid, const char *id)
{
	struct intake like = {.inode = uid, .mtime = INTAKE_HANDED};

	intake_handed_name(id, like.file);
	snprintf(like.id, sizeof(like.id), "%s", id);
	return begin_intake(s->receipts, &like);
}

bool
intake_was_handed(struct spool *s, uid_t uid, const char *file)
{
	struct receipts_file *f = s->receipts;

	for (size_t i = 0; f && i < RECEIPTS_INTAKES; i++) {
		const struct intake *h = &f->head.intake[i];

		if (h->is_old && h->inode == uid && strcmp(h->file, file) == 0)
			return true;
	}
	return false;
}

void
intake_drop(struct intake *h)
{
	if (h)
		memset(h, 0, sizeof(*h));
}
