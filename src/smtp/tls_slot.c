/*
 * TLS contexts of one loop and the TLS sessions that can be resumed.
 *
 * A context is made from files, so making one blocks: the slow lane does it, and while a changed
 * certificate is read the old context goes on working. Each loop keeps its own slots, so that a
 * swap needs no lock.
 */
#include "internal.h"
#include "pp/base/hash.h"
#include "pp/runtime/log.h"

enum {
	CHECK_MS = 5000, /* files are looked at this often at most */
	RESUMABLE_MAX = 512,
	MORE_MAX = 32, /* contexts for trust anchors of policies */
};

struct smtp_tls_slot {
	struct smtp_tls_slot *next; /* of smtp->more */
	struct smtp *smtp;
	size_t index;
	char *anchors; /* NULL: as the configuration says */
	struct tls_context *context;
	int64_t checked;      /* loop_now */
	struct slot_job *job; /* under way */
	struct smtp_tls_wait *waiting;
};

/* Lives on its own: its answer may come after the slot has gone. */
struct slot_job {
	struct lane_job job;
	struct smtp_tls_slot *slot; /* NULL: gone */
	struct smtp_setup *setup;
	size_t index;
	char *anchors;
	struct tls_context *old, *made;
	struct buf error;
};

struct smtp_resumable {
	UT_hash_handle hh;
	struct tls_session *session;
	char key[];
};

static void
work(struct lane_job *job)
{
	struct slot_job *sj = PP_CONTAINER(job, struct slot_job, job);
	struct tls_options o = sj->setup->tls[sj->index].options;

	if (sj->old && !tls_context_stale_blk(sj->old))
		return;
	if (sj->anchors)
		o.trust_anchors = sj->anchors;
	if (tls_context_new_blk(&o, &sj->made, &sj->error) < 0 && buf_str(&sj->error).n == 0)
		buf_adds(&sj->error, "unknown error");
}

static void
resumable_clear(struct smtp *s)
{
	struct smtp_resumable *r, *next;

	HASH_ITER (hh, s->resumable, r, next) {
		HASH_DEL(s->resumable, r);
		tls_session_unref(r->session);
		mem_free(r);
	}
}

static void
install(struct smtp_tls_slot *slot, struct slot_job *sj)
{
	struct smtp_tls_wait *w;

	slot->job = NULL;
	slot->checked = loop_now(slot->smtp->loop);
	if (sj->made) {
		if (slot->context) {
			log_info("smtp", "TLS certificates or keys have changed: read again");
			tls_context_unref(slot->context);
		}
		slot->context = sj->made;
		sj->made = NULL;
		/* What was proved under the old CAs is proved again. */
		resumable_clear(slot->smtp);
	} else if (buf_str(&sj->error).n > 0) {
		log_warn("smtp", "TLS is not available: %s", buf_cstr(&sj->error));
	}
	while ((w = slot->waiting) != NULL) {
		slot->waiting = w->next;
		w->slot = NULL;
		w->done(w, slot->context, buf_cstr(&sj->error));
	}
}

static void
done(struct lane_job *job)
{
	struct slot_job *sj = PP_CONTAINER(job, struct slot_job, job);

	if (sj->slot)
		install(sj->slot, sj);
	if (sj->old)
		tls_context_unref(sj->old);
	if (sj->made)
		tls_context_unref(sj->made);
	smtp_setup_unref(sj->setup);
	buf_fini(&sj->error);
	mem_free(sj->anchors);
	mem_free(sj);
}

static void
start(struct smtp_tls_slot *slot)
{
	struct slot_job *sj = MEM_NEW(struct slot_job);

	sj->slot = slot;
	sj->setup = slot->smtp->setup;
	smtp_setup_ref(sj->setup);
	sj->index = slot->index;
	sj->anchors = slot->anchors ? mem_strdup(slot->anchors) : NULL;
	sj->old = slot->context;
	if (sj->old)
		tls_context_ref(sj->old);
	buf_init(&sj->error, 1024);
	slot->job = sj;
	slot->checked = loop_now(slot->smtp->loop);
	lane_run(slot->smtp->slow, lane_key("smtp tls"), &sj->job, work, done);
}

void
smtp_tls_slots_new(struct smtp *s)
{
	s->slots = mem_alloc((s->setup->tls_count + 1) * sizeof *s->slots);
	for (size_t i = 0; i < s->setup->tls_count; i++) {
		struct smtp_tls_slot *slot = &s->slots[i];

		slot->smtp = s;
		slot->index = i;
		slot->context = s->setup->tls[i].context;
		if (slot->context)
			tls_context_ref(slot->context);
		slot->checked = loop_now(s->loop);
	}
}

/* Gives up what a slot holds; who waits for it is added to the list. */
static void
slot_fini(struct smtp_tls_slot *slot, struct smtp_tls_wait **all)
{
	struct smtp_tls_wait *w;

	if (slot->job)
		slot->job->slot = NULL;
	while ((w = slot->waiting) != NULL) {
		slot->waiting = w->next;
		w->slot = NULL;
		w->next = *all;
		*all = w;
	}
	if (slot->context)
		tls_context_unref(slot->context);
	mem_free(slot->anchors);
}

struct smtp_tls_wait *
smtp_tls_slots_free(struct smtp *s)
{
	struct smtp_tls_wait *all = NULL;
	struct smtp_tls_slot *slot;

	for (size_t i = 0; s->slots && i < s->setup->tls_count; i++)
		slot_fini(&s->slots[i], &all);
	while ((slot = s->more) != NULL) {
		s->more = slot->next;
		slot_fini(slot, &all);
		mem_free(slot);
	}
	mem_free(s->slots);
	s->slots = NULL;
	resumable_clear(s);
	return all;
}

/* The last of the list that nobody waits for makes room. */
static void
drop_oldest(struct smtp *s)
{
	struct smtp_tls_slot **at, **oldest = NULL, *slot;
	struct smtp_tls_wait *none = NULL;

	for (at = &s->more; *at; at = &(*at)->next)
		if (!(*at)->job && !(*at)->waiting)
			oldest = at;
	if (!oldest)
		return;
	slot = *oldest;
	*oldest = slot->next;
	slot_fini(slot, &none);
	mem_free(slot);
}

static struct smtp_tls_slot *
find_slot(struct smtp *s, size_t index, const char *anchors)
{
	struct smtp_tls_slot **at, *slot;
	size_t n = 0;

	if (!anchors)
		return &s->slots[index];
	for (at = &s->more; *at; at = &(*at)->next, n++) {
		slot = *at;
		if (slot->index != index || strcmp(slot->anchors, anchors) != 0)
			continue;
		*at = slot->next; /* to the front */
		slot->next = s->more;
		s->more = slot;
		return slot;
	}
	if (n >= MORE_MAX)
		drop_oldest(s);
	slot = MEM_NEW(struct smtp_tls_slot);
	slot->smtp = s;
	slot->index = index;
	slot->anchors = mem_strdup(anchors);
	slot->next = s->more;
	s->more = slot;
	return slot;
}

struct tls_context *
smtp_tls_slot_get(struct smtp *s, size_t index, const char *anchors, struct smtp_tls_wait *w)
{
	struct smtp_tls_slot *slot = find_slot(s, index, anchors);

	if (!slot->job && (!slot->context || loop_now(s->loop) - slot->checked >= CHECK_MS))
		start(slot);
	if (slot->context)
		return slot->context;
	w->slot = slot;
	w->next = slot->waiting;
	slot->waiting = w;
	return NULL;
}

void
smtp_tls_slot_cancel(struct smtp_tls_wait *w)
{
	struct smtp_tls_wait **at;

	if (!w->slot)
		return;
	for (at = &w->slot->waiting; *at != w; at = &(*at)->next)
		;
	*at = w->next;
	w->slot = NULL;
}

struct tls_session *
smtp_tls_resume(struct smtp *s, const char *key)
{
	struct smtp_resumable *r;

	HASH_FIND_STR(s->resumable, key, r);
	return r ? r->session : NULL;
}

void
smtp_tls_remember(struct smtp *s, const char *key, struct tls_session *ts)
{
	struct smtp_resumable *r;
	size_t n = strlen(key);

	HASH_FIND_STR(s->resumable, key, r);
	if (r) {
		tls_session_unref(r->session);
		r->session = ts;
		return;
	}
	if (HASH_COUNT(s->resumable) >= RESUMABLE_MAX) {
		r = s->resumable; /* the oldest */
		HASH_DEL(s->resumable, r);
		tls_session_unref(r->session);
		mem_free(r);
	}
	r = mem_alloc(sizeof *r + n + 1);
	memcpy(r->key, key, n);
	r->session = ts;
	HASH_ADD_KEYPTR(hh, s->resumable, r->key, n, r);
}
