/*
 * listing_showq.c - Postfix's wire form of a queue listing, both ways.
 *
 * It is made and taken message by message, so that neither side holds the queue. What comes in is
 * from a local socket but still bounded: a value, a message, and the number of recipients.
 */
#include <errno.h>
#include <stdio.h>
#include "pp/base/assert.h"
#include "pp/spool/listing.h"

#define PROTOCOL "mail_queue_list_protocol"

enum {
	VALUE_MAX = 64 * 1024,
	RCPT_MAX = 1000000,
	RCPT_FIRST = 4,
};

static void
put(struct buf *to, const char *name, const char *value)
{
	buf_add(to, (struct str){name, strlen(name) + 1});
	buf_add(to, (struct str){value, strlen(value) + 1});
}

static void
put_number(struct buf *to, const char *name, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	put(to, name, text);
}

int
listing_encode_begin(struct buf *to)
{
	put(to, "protocol", PROTOCOL);
	return buf_addc(to, '\0');
}

int
listing_encode(struct buf *to, const struct listing *l)
{
	put(to, "queue_name", spool_queue_name(l->queue));
	put(to, "queue_id", l->id);
	put_number(to, "time", l->arrival);
	put_number(to, "size", l->size);
	put_number(to, "forced_expire", l->forced_expire);
	put(to, "sender", l->sender);
	for (size_t i = 0; i < l->rcpt_count; i++) {
		put(to, "recipient", l->rcpt[i].address);
		put(to, "reason", l->rcpt[i].reason);
	}
	buf_addc(to, '\0');
	return buf_overflowed(to) ? -ENOBUFS : 0;
}

int
listing_encode_end(struct buf *to)
{
	return buf_addc(to, '\0');
}

enum expect { EXPECT_PROTOCOL, EXPECT_MESSAGES, EXPECT_NOTHING };

struct listing_decoder {
	listing_each *each;
	void *ctx;
	enum expect expect;
	struct buf text;     /* the string being received */
	bool have_name, any; /* a name without its value; something in this block */
	char name[64];
	struct arena arena; /* of the message */
	struct listing l;
	struct listing_recipient *rcpt;
	size_t rcpt_cap;
};

struct listing_decoder *
listing_decoder_new(listing_each *each, void *ctx)
{
	struct listing_decoder *d = MEM_NEW(struct listing_decoder);

	d->each = each;
	d->ctx = ctx;
	buf_init(&d->text, VALUE_MAX);
	return d;
}

void
listing_decoder_free(struct listing_decoder *d)
{
	if (d == NULL)
		return;
	buf_fini(&d->text);
	arena_fini(&d->arena);
	mem_free(d);
}

bool
listing_decoder_complete(const struct listing_decoder *d)
{
	return d->expect == EXPECT_NOTHING;
}

static int
add_recipient(struct listing_decoder *d, struct str address)
{
	struct listing_recipient *bigger;

	if (d->l.rcpt_count == RCPT_MAX)
		return -EBADMSG;
	if (d->l.rcpt_count == d->rcpt_cap) {
		d->rcpt_cap = d->rcpt_cap ? d->rcpt_cap * 2 : RCPT_FIRST;
		bigger = arena_alloc(&d->arena, d->rcpt_cap * sizeof(*bigger));
		if (d->l.rcpt_count > 0)
			memcpy(bigger, d->rcpt, d->l.rcpt_count * sizeof(*bigger));
		d->l.rcpt = d->rcpt = bigger;
	}
	d->rcpt[d->l.rcpt_count++] =
	    (struct listing_recipient){.address = arena_str(&d->arena, address), .reason = ""};
	return 0;
}

static int
take_pair(struct listing_decoder *d, struct str name, struct str value)
{
	struct listing *l = &d->l;
	int64_t n;

	if (d->expect == EXPECT_PROTOCOL)
		return str_eq(name, STR("protocol")) && str_eq(value, STR(PROTOCOL)) ? 0 : -EBADMSG;
	if (str_eq(name, STR("queue_name"))) {
		l->queue = spool_queue_find(value);
		return l->queue == QUEUE_COUNT ? -EBADMSG : 0;
	}
	if (str_eq(name, STR("queue_id"))) {
		if (!spool_id_valid(value))
			return -EBADMSG;
		l->id = arena_str(&d->arena, value);
		return 0;
	}
	if (str_eq(name, STR("sender"))) {
		l->sender = arena_str(&d->arena, value);
		return 0;
	}
	if (str_eq(name, STR("recipient")))
		return add_recipient(d, value);
	if (str_eq(name, STR("reason"))) {
		if (l->rcpt_count == 0)
			return -EBADMSG;
		d->rcpt[l->rcpt_count - 1].reason = arena_str(&d->arena, value);
		return 0;
	}
	if (str_number(value, 0, INT64_MAX, &n) < 0)
		return -EBADMSG;
	if (str_eq(name, STR("time")))
		l->arrival = n;
	else if (str_eq(name, STR("size")))
		l->size = n;
	else if (str_eq(name, STR("forced_expire")))
		l->forced_expire = n != 0;
	else
		return -EBADMSG;
	return 0;
}

static int
end_block(struct listing_decoder *d)
{
	int rc = 0;

	if (d->expect == EXPECT_PROTOCOL) {
		if (!d->any)
			return -EBADMSG;
		d->expect = EXPECT_MESSAGES;
	} else if (!d->any) {
		d->expect = EXPECT_NOTHING;
	} else if (d->l.id == NULL || d->l.sender == NULL) {
		return -EBADMSG;
	} else {
		rc = d->each(d->ctx, &d->l);
	}
	arena_fini(&d->arena);
	d->l = (struct listing){0};
	d->rcpt = NULL;
	d->rcpt_cap = 0;
	d->any = false;
	return rc;
}

/* One string has ended. */
static int
take_string(struct listing_decoder *d)
{
	struct str s = buf_str(&d->text);

	if (d->have_name) {
		d->have_name = false;
		d->any = true;
		return take_pair(d, str_of(d->name), s);
	}
	if (s.n == 0)
		return end_block(d);
	if (s.n >= sizeof(d->name))
		return -EBADMSG;
	memcpy(d->name, s.p, s.n);
	d->name[s.n] = '\0';
	d->have_name = true;
	return 0;
}

int
listing_decode(struct listing_decoder *d, struct str bytes)
{
	while (bytes.n > 0) {
		size_t end = str_index(bytes, '\0');
		int rc;

		if (d->expect == EXPECT_NOTHING || buf_add(&d->text, str_head(bytes, end)) < 0)
			return -EBADMSG;
		if (end == bytes.n)
			return 0;
		bytes = str_from(bytes, end + 1);
		rc = take_string(d);
		buf_clear(&d->text);
		if (rc != 0)
			return rc;
	}
	return 0;
}
