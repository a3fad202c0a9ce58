/*
 * index_test.c - the index of deferred mail against a plain model, and what a message costs in it.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "pp/base/assert.h"
#include "pp/base/mem.h"
#include "qmgr/index.h"

enum { MODEL = 20000, STEPS = 100000, MANY = 200000 };

struct model {
	bool there, kept;
	int64_t when;
	unsigned attempts;
};

static uint32_t seed = 12345;

static uint32_t
random_number(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

/* Every seventh is a long id with a large inode. */
static const char *
id_of(uint32_t i, char id[SPOOL_ID_MAX])
{
	if (i % 7 == 0)
		snprintf(id, SPOOL_ID_MAX, "3vY7zG1Zp7z%07uGmwr", i);
	else
		snprintf(id, SPOOL_ID_MAX, "%05X6B025C%u", i, i % 10);
	return id;
}

struct sample {
	char sender[64], rcpt[64], reason[200];
	struct listing_recipient r;
	struct listing l;
};

static const struct listing *
sample(struct sample *s, uint32_t i)
{
	snprintf(s->sender, sizeof(s->sender), "sender%u@app%u.example.com", i % 300, i % 7);
	snprintf(s->rcpt, sizeof(s->rcpt), "user%u@domain%u.example.net", i, i % 200);
	snprintf(s->reason, sizeof(s->reason),
	    "host mx%u.example.net[192.0.2.1] said: 450 4.2.0 <%s>: try later (in reply to RCPT)",
	    i % 200, s->rcpt);
	s->r = (struct listing_recipient){s->rcpt, s->reason, "mx.example.net", "4.2.0"};
	s->l = (struct listing){.queue = QUEUE_DEFERRED,
	    .arrival = 1790000000 + i,
	    .size = 1000 + i % 5000,
	    .sender = s->sender,
	    .rcpt = &s->r,
	    .rcpt_count = 1,
	    .attempts = i % 30};
	return &s->l;
}

static void
same(const struct listing *a, const struct listing *b)
{
	assert_int_equal(a->queue, b->queue);
	assert_int_equal(a->arrival, b->arrival);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->attempts, b->attempts);
	assert_int_equal(a->forced_expire, b->forced_expire);
	assert_string_equal(a->sender, b->sender);
	assert_int_equal(a->rcpt_count, b->rcpt_count);
	for (size_t i = 0; i < a->rcpt_count; i++) {
		assert_string_equal(a->rcpt[i].address, b->rcpt[i].address);
		assert_string_equal(a->rcpt[i].reason, b->rcpt[i].reason);
		assert_string_equal(a->rcpt[i].relay, b->rcpt[i].relay);
		assert_string_equal(a->rcpt[i].dsn, b->rcpt[i].dsn);
	}
}

static void
step(struct index *ix, struct model *m, uint32_t i)
{
	char id[SPOOL_ID_MAX];
	struct qmgr_deferred *d = index_find(ix, id_of(i, id));
	int64_t when = 1000 + random_number(5000);
	struct sample s;

	assert_int_equal(d != NULL, m->there);
	if (d == NULL) {
		d = index_add(ix, id, when);
		*m = (struct model){.there = true, .when = when};
	} else if (random_number(3) == 0) {
		index_drop(ix, d);
		*m = (struct model){0};
		assert_null(index_find(ix, id));
		return;
	} else if (random_number(2) == 0) {
		index_move(ix, d, when);
		m->when = when;
	} else if (random_number(2) == 0) {
		index_keep(ix, d, sample(&s, i));
		m->kept = true;
	} else {
		index_unkeep(ix, d);
		m->kept = false;
	}
	assert_string_equal(index_id(d), id);
	assert_int_equal(d->when, m->when);
	assert_ptr_equal(index_at(ix, index_slot(ix, d)), d);
}

static void
check(struct index *ix, const struct model *m)
{
	struct arena a = {0};
	struct listing got;
	struct sample s;
	uint32_t n = 0, slots = 0;
	int64_t last = 0;

	for (uint32_t i = 0; i < MODEL; i++) {
		char id[SPOOL_ID_MAX];
		struct qmgr_deferred *d = index_find(ix, id_of(i, id));

		assert_int_equal(d != NULL, m[i].there);
		if (d == NULL)
			continue;
		n++;
		assert_int_equal(d->details != NULL, m[i].kept);
		if (!m[i].kept)
			continue;
		index_listing(ix, d, &a, &got);
		assert_string_equal(got.id, id);
		assert_int_equal(got.next_attempt, m[i].when);
		same(&got, sample(&s, i));
		arena_fini(&a);
	}
	assert_int_equal(ix->count, n);
	for (uint32_t i = 0; i < index_slots(ix); i++)
		slots += index_at(ix, i) != NULL;
	assert_int_equal(slots, n);
	/* Empty it in the order of time. */
	while (ix->count > 0) {
		struct qmgr_deferred *d = index_first(ix);

		assert_true(d->when >= last);
		last = d->when;
		index_drop(ix, d);
	}
	assert_null(index_first(ix));
	assert_int_equal(ix->strings.table.n, 0);
	assert_int_equal(ix->strings.bytes, 0);
	assert_int_equal(ix->details_bytes, 0);
}

static void
as_the_model(void **state)
{
	struct model *m = mem_alloc(MODEL * sizeof(*m));
	struct index ix;

	index_init(&ix);
	for (int round = 0; round < 2; round++) {
		memset(m, 0, MODEL * sizeof(*m));
		for (uint32_t i = 0; i < STEPS; i++) {
			uint32_t k = random_number(MODEL);

			step(&ix, &m[k], k);
		}
		check(&ix, m);
	}
	index_fini(&ix);
	mem_free(m);
}

/* A walk in parts meets all that stay, once, whatever comes and goes between them. */
static void
walk_in_parts(void **state)
{
	static unsigned met[2000];
	char id[SPOOL_ID_MAX];
	struct index ix;

	index_init(&ix);
	for (uint32_t i = 0; i < 4000; i++)
		index_add(&ix, id_of(i, id), i);
	for (uint32_t at = 0, part = 0; at < index_slots(&ix); at++) {
		struct qmgr_deferred *d = index_at(&ix, at);

		for (uint32_t i = 0; d && i < 2000; i++)
			met[i] += strcmp(index_id(d), id_of(i * 2, id)) == 0;
		if (at % 100 > 0)
			continue;
		for (uint32_t i = 0; i < 2000; i += 16) {
			d = index_find(&ix, id_of(i * 2 + 1, id));
			if (d)
				index_drop(&ix, d);
			else
				index_add(&ix, id, part++);
		}
	}
	for (uint32_t i = 0; i < 2000; i++)
		assert_int_equal(met[i], 1);
	index_fini(&ix);
}

static void
all_due(void **state)
{
	char id[SPOOL_ID_MAX];
	struct index ix;

	index_init(&ix);
	for (uint32_t i = 0; i < 1000; i++)
		index_add(&ix, id_of(i, id), i);
	index_all_due(&ix, 500);
	for (uint32_t i = 0; i < 1000; i++) {
		struct qmgr_deferred *d = index_first(&ix);

		assert_int_equal(d->when, i < 500 ? i : 500);
		index_drop(&ix, d);
	}
	/* No time is too far. */
	index_add(&ix, "FAR", INT64_MAX);
	index_add(&ix, "LONGAGO", INT64_MIN);
	assert_string_equal(index_id(index_first(&ix)), "LONGAGO");
	assert_true(index_find(&ix, "FAR")->when > 60000000000);
	index_fini(&ix);
}

/* What a message may be made of, packed and unpacked. */
static void
shapes(void **state)
{
	static const struct listing_recipient odd[] = {
	    {"plain@example.com", "", "", ""},
	    {"\"a@b\"@Example.COM", "said <\"a@b\"@Example.COM> twice \"a@b\"@Example.COM",
		"r[1]:25", "4.0.0"},
	    {"nodomain", "nodomain", "none", "5.1.1"},
	    {"\"at@inside\"", "x", "", ""},
	    {"@", "reason", "none", "4.4.1"},
	    {"", "MAILER-DAEMON and plain@example.com", "none", "4.4.1"},
	    {"trailing@", "of s@x.test, to trailing@", "none", ""},
	};
	static const char *const senders[] = {"MAILER-DAEMON", "s@x.test", "", "a@b@c", "ab"};
	static const int64_t numbers[] = {0, 1, 127, 128, 1790000000, INT64_MAX, -1};
	struct arena a = {0};
	struct listing got;
	struct index ix;

	index_init(&ix);
	for (size_t i = 0; i < PP_COUNT(senders); i++) {
		struct qmgr_deferred *d = index_add(&ix, "ABC", 5);
		struct listing l = {.queue = QUEUE_DEFERRED,
		    .sender = senders[i],
		    .rcpt = odd,
		    .rcpt_count = i % 2 ? PP_COUNT(odd) : i,
		    .arrival = numbers[i],
		    .size = numbers[i + 2],
		    .attempts = i == 2 ? 99999 : 0,
		    .forced_expire = i % 2 > 0};

		index_keep(&ix, d, &l);
		assert_non_null(d->details);
		index_listing(&ix, d, &a, &got);
		same(&got, &l);
		arena_fini(&a);
		index_drop(&ix, d);
	}
	assert_int_equal(ix.strings.bytes, 0);
	index_fini(&ix);
}

/* What would be too much is not kept; its file is. */
static void
bounds(void **state)
{
	static struct listing_recipient r[DETAILS_RCPT_MAX + 1];
	static char reason[DETAILS_REASON_MAX + 2], address[DETAILS_MAX + 100];
	struct listing l = {.sender = "a@b.test", .rcpt = r, .queue = QUEUE_DEFERRED};
	char id[SPOOL_ID_MAX];
	struct qmgr_deferred *d;
	struct index ix;

	index_init(&ix);
	d = index_add(&ix, "ABC", 5);
	for (size_t i = 0; i < PP_COUNT(r); i++)
		r[i] = (struct listing_recipient){"u@x.test", "why", "none", "4.0.0"};
	l.rcpt_count = PP_COUNT(r);
	index_keep(&ix, d, &l);
	assert_null(d->details);
	l.rcpt_count--;
	index_keep(&ix, d, &l);
	assert_non_null(d->details);
	l.rcpt_count = 2;
	memset(reason, 'r', sizeof(reason) - 1);
	r[1].reason = reason;
	index_keep(&ix, d, &l);
	assert_null(d->details);
	r[1].reason = "a control \1 of ours";
	index_keep(&ix, d, &l);
	assert_null(d->details);
	r[1].reason = "";
	memset(address, 'a', sizeof(address) - 1);
	r[1].address = address;
	index_keep(&ix, d, &l);
	assert_null(d->details);
	assert_int_equal(ix.strings.bytes, 0);
	/* In all. */
	index_drop(&ix, d);
	ix.details_max = 50000;
	for (uint32_t i = 0; i < 2000; i++) {
		struct sample s;

		index_keep(&ix, index_add(&ix, id_of(i, id), i), sample(&s, i));
	}
	assert_true(ix.details_bytes + ix.strings.bytes <= 50000);
	assert_non_null(index_find(&ix, id_of(0, id))->details);
	assert_null(index_find(&ix, id_of(1999, id))->details);
	index_fini(&ix);
}

static void
sites(void **state)
{
	static const struct listing_recipient r[] = {
	    {"u@Here.Test", "", "", ""}, {"v@there.test", "", "", ""}, {"nodomain", "", "", ""}};
	const struct listing l = {.sender = "s@sender.test", .rcpt = r, .rcpt_count = 3};
	struct qmgr_deferred *d;
	struct index ix;

	index_init(&ix);
	d = index_add(&ix, "ABC", 5);
	index_keep(&ix, d, &l);
	assert_true(details_at_site(&ix.strings, d->details, STR("here.test")));
	assert_true(details_at_site(&ix.strings, d->details, STR("THERE.test")));
	assert_false(details_at_site(&ix.strings, d->details, STR("sender.test")));
	assert_false(details_at_site(&ix.strings, d->details, STR("test")));
	assert_false(details_at_site(&ix.strings, d->details, STR("nodomain")));
	assert_false(details_at_site(&ix.strings, d->details, STR("")));
	index_fini(&ix);
}

/* gcc tells it by a macro, clang by a feature. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#endif

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A million must fit in 150 MiB with the process around it. */
static void
memory(void **state)
{
	struct arena a = {0};
	struct buf out = {.max = 1 << 20};
	char id[SPOOL_ID_MAX];
	struct listing l;
	struct index ix;
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, each;
	double t0, t1, t2;

	index_init(&ix);
	t0 = now();
	for (uint32_t i = 0; i < MANY; i++) {
		struct sample s;

		snprintf(id, sizeof(id), "%05X6B025CAA", i);
		index_keep(&ix, index_add(&ix, id, 1000 + i % 977), sample(&s, i));
	}
	t1 = now();
	each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / MANY;
	for (uint32_t i = 0; i < index_slots(&ix); i++) {
		index_listing(&ix, index_at(&ix, i), &a, &l);
		listing_encode(&out, &l, true);
		if (out.n > 60000)
			buf_clear(&out);
		if (a.used > 32768)
			arena_fini(&a);
	}
	t2 = now();
	print_message("%zu bytes a message; %.2f us to add, %.2f us to list\n", each,
	    (t1 - t0) / MANY * 1e6, (t2 - t1) / MANY * 1e6);
	if (!SANITIZED)
		assert_in_range(each, 60, 128);
	index_fini(&ix);
	buf_fini(&out);
	arena_fini(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(as_the_model),
	    cmocka_unit_test(walk_in_parts),
	    cmocka_unit_test(all_due),
	    cmocka_unit_test(shapes),
	    cmocka_unit_test(bounds),
	    cmocka_unit_test(sites),
	    cmocka_unit_test(memory),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
