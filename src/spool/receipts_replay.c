/*
 * receipts_replay.c - what the receipts of a run that was killed say becomes marks in queue files.
 *
 * By then all of the journal are files, too, or are marked there. A message that is nowhere was
 * finished. Doing it twice does no harm: who is marked is passed over.
 */
#include <errno.h>
#include <unistd.h>
#include "idset.h"
#include "pp/spool/deferlog.h"
#include "pp/spool/reader.h"
#include "pp/spool/receipts.h"
#include "receipts.h"

struct replay {
	const struct spool *spool;
	const struct receipts_file *file;
	const struct receipts_slot *slot;
	/* The message of this slot, and perhaps of the next. */
	const char *id;
	enum queue at;
	struct arena arena;
	struct envelope envelope;
};

static const enum queue places[] = {
    QUEUE_ACTIVE, QUEUE_INCOMING, QUEUE_DEFERRED, QUEUE_HOLD, QUEUE_COUNT};

bool
receipts_left_blk(const struct spool *s)
{
	struct stat st;

	return fsio_stat(s->dirfd, RECEIPTS_FILE, &st) == 0;
}

static bool
is_signed(const struct receipts_file *f, const struct receipts_slot *slot, off_t offset)
{
	for (size_t i = 0; i < RECEIPTS_PLACES; i++)
		if (slot->place[i].offset == (uint64_t)offset &&
		    slot->place[i].seal == receipts_seal(f->head.salt, slot->id, (uint64_t)offset))
			return true;
	return false;
}

/* Nobody knows any more what the receiver said. Where there is no room to note even that: rather no
 * notice than the mail twice, or no start. */
static int
note_success(struct replay *r, const struct recipient *rcpt)
{
	const struct deferlog_entry e = {
	    .recipient = rcpt->address,
	    .orig = rcpt->orig,
	    .orcpt = rcpt->orcpt,
	    .notify = rcpt->notify,
	    .offset = rcpt->offset,
	    .action = "relayed",
	    .status = status_make(&r->arena, STATUS_OK, 0, 0,
		"delivered; what the receiver said was lost when the mail system was killed"),
	};

	int rc = deferlog_append_blk(r->spool, QUEUE_TRACE, r->id, &e, 1);

	return rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

static int
mark_signed(struct replay *r)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->envelope.rcpt_count; i++) {
		struct recipient *rcpt = &r->envelope.rcpt[i];

		if (rcpt->done || rcpt->offset <= 0 || !is_signed(r->file, r->slot, rcpt->offset))
			continue;
		if (rcpt->notify & NOTIFY_SUCCESS)
			rc = note_success(r, rcpt);
		if (rc == 0)
			rc = deferlog_mark_done_blk(r->spool, r->at, r->id, &rcpt->offset, 1);
		rcpt->done = true;
	}
	return rc;
}

static int
load(struct replay *r)
{
	struct buf why;
	struct stat st;
	int rc;

	arena_fini(&r->arena);
	r->envelope = (struct envelope){0};
	r->id = r->slot->id;
	rc = spool_find_blk(r->spool, r->id, places, &r->at, &st);
	if (rc < 0)
		return rc;
	buf_init(&why, 512);
	rc = reader_load_blk(r->spool, r->at, r->id, &r->arena, &r->envelope, &st, &why);
	buf_fini(&why);
	if (rc < 0)
		r->envelope = (struct envelope){0};
	return rc;
}

static int
replay_slot(struct replay *r)
{
	bool some = false;
	int rc = 0;

	for (size_t i = 0; i < RECEIPTS_PLACES; i++)
		some |= r->slot->place[i].seal != 0;
	if (!some || !spool_id_valid(str_of(r->slot->id)))
		return 0;
	if (r->id == NULL || strcmp(r->id, r->slot->id) != 0)
		rc = load(r);
	if (rc == 0)
		rc = mark_signed(r);
	return rc == -EBADMSG || rc == -ENOENT ? 0 : rc; /* for the queue manager to judge */
}

/* Is it committed? Where that was not noted the message is there, unless the machine has gone down
 * meanwhile: then what lies there need not be whole. */
static bool
is_taken_in(const struct spool *s, const struct receipts_file *f, const struct intake *h,
    const struct idset *young)
{
	char boot[64];
	struct stat st;
	enum queue at;

	if (h->done == intake_seal(f->head.salt, h, INTAKE_DONE))
		return true;
	if (h->begun != intake_seal(f->head.salt, h, INTAKE_BEGUN))
		return false;
	receipts_boot_blk(boot);
	return boot[0] != '\0' && strncmp(boot, f->head.boot, sizeof(boot)) == 0 &&
	       ((young && idset_has(young, h->id)) ||
		   (spool_find_blk(s, h->id, places, &at, &st) == 0 && spool_ready(&st)));
}

static bool
is_its_file(const struct intake *h, const struct stat *st)
{
	if (h->mtime == INTAKE_HANDED)
		return st->st_uid == h->inode;
	return st->st_ino == h->inode &&
	       (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec == h->mtime;
}

static int
replay_intake(const struct spool *s, const struct receipts_file *f, struct intake *h,
    const struct idset *young)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int rc;

	h->file[SPOOL_ID_MAX - 1] = h->id[SPOOL_ID_MAX - 1] = '\0';
	if (h->begun == 0 || !spool_id_valid(str_of(h->file)) || !spool_id_valid(str_of(h->id)) ||
	    !is_taken_in(s, f, h, young))
		return 0;
	spool_path(s, QUEUE_MAILDROP, h->file, path);
	rc = fsio_stat(s->dirfd, path, &st);
	if (rc == -ENOENT && h->mtime == INTAKE_HANDED && s->intakes)
		s->intakes->of[s->intakes->n++] = *h;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	return is_its_file(h, &st) ? fsio_unlink(s->dirfd, path) : 0;
}

static int
replay_all(const struct spool *s, struct receipts_file *f, const struct idset *young)
{
	struct replay r = {.spool = s, .file = f};
	int rc = 0;

	if (s->intakes)
		s->intakes->n = 0;
	for (size_t i = 0; rc == 0 && i < RECEIPTS_INTAKES; i++)
		rc = replay_intake(s, f, &f->head.intake[i], young);

	counter_next(s->last_id, f->head.last_id.value + 1);
	for (size_t i = 0; rc == 0 && i < RECEIPTS_SLOTS && f->slot[i].id[0]; i++) {
		r.slot = &f->slot[i];
		rc = replay_slot(&r);
	}
	arena_fini(&r.arena);
	return rc;
}

int
receipts_read_blk(const struct spool *s, struct receipts_file **ret)
{
	struct receipts_file *f;
	int fd = fsio_open_read(s->dirfd, RECEIPTS_FILE);
	size_t used = 0;
	ssize_t n;

	*ret = NULL;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	f = MEM_NEW(struct receipts_file);
	n = fsio_pread(fd, (char *)f, sizeof(*f), 0);
	fsio_close(fd);
	if (n != (ssize_t)sizeof(*f) ||
	    memcmp(f->head.magic, RECEIPTS_MAGIC, sizeof(f->head.magic)) != 0) {
		mem_free(f);
		return n < 0 ? (int)n : 0;
	}
	for (size_t i = 0; i < RECEIPTS_SLOTS; i++) {
		f->slot[i].id[SPOOL_ID_MAX - 1] = '\0';
		if (f->slot[i].id[0] != '\0')
			f->slot[used++] = f->slot[i];
	}
	if (used < RECEIPTS_SLOTS)
		f->slot[used].id[0] = '\0';
	*ret = f;
	return 0;
}

enum { SIGNED = 1, OWES_NOTICE = 2 };

static unsigned
look_slot(const struct receipts_file *f, const struct receipts_slot *slot,
    const struct envelope *env, struct journal_left_entry *e, bool mark)
{
	unsigned found = 0;

	for (size_t i = 0; i < env->rcpt_count; i++) {
		size_t byte = 1 + i / JOURNAL_BITS;

		if (byte >= e->units || !is_signed(f, slot, env->rcpt[i].offset))
			continue;
		if (mark)
			e->map[byte] |= (char)(1u << i % JOURNAL_BITS);
		found |= SIGNED | (env->rcpt[i].notify & NOTIFY_SUCCESS ? OWES_NOTICE : 0);
	}
	return found;
}

static unsigned
look(const struct receipts_file *f, struct journal_left_entry *e, bool mark)
{
	struct arena a = {0};
	struct envelope env = {0};
	struct reader *reader = NULL;
	struct buf why;
	unsigned found = 0;

	buf_init(&why, 512);
	for (size_t i = 0; f && i < RECEIPTS_SLOTS && f->slot[i].id[0]; i++) {
		if (strcmp(f->slot[i].id, e->id) != 0)
			continue;
		if (reader == NULL) {
			reader = reader_open_bytes(e->file);
			if (reader_envelope(reader, READER_QUEUE, &a, &env, &why) < 0)
				break; /* for the queue manager to judge */
		}
		found |= look_slot(f, &f->slot[i], &env, e, mark);
	}
	if (reader)
		reader_close(reader);
	buf_fini(&why);
	arena_fini(&a);
	return found;
}

bool
receipts_mark(const struct receipts_file *f, struct journal_left_entry *e)
{
	return look(f, e, true) != 0;
}

bool
receipts_owe_notice(const struct receipts_file *f, struct journal_left_entry *e)
{
	return (look(f, e, false) & OWES_NOTICE) != 0;
}

int
receipts_replay_blk(const struct spool *s, const struct idset *young)
{
	struct receipts_file *f;
	int rc;

	if (!receipts_left_blk(s))
		return 0;
	rc = receipts_read_blk(s, &f);
	if (rc == 0 && f)
		rc = replay_all(s, f, young);
	mem_free(f);
	return rc == 0 ? fsio_unlink(s->dirfd, RECEIPTS_FILE) : rc;
}
