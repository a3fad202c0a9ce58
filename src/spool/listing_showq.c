/*
 * listing_showq.c - Postfix's wire form of a queue listing, both ways.
 *
 * It is made and taken message by message, so that neither side holds the queue. With a hundred
 * thousand of them every copy counts: a message is written in one piece, and read where it lies,
 * since each string comes with its NUL. Only a message that the end of a chunk cuts in two is
 * gathered first. What comes in is from a local socket but still bounded.
 */
#include <errno.h>
#include "pp/base/assert.h"
#include "pp/spool/listing.h"

#define PROTOCOL "mail_queue_list_protocol"

enum {
	NAME_MAX_BYTES = 63,
	VALUE_MAX = 64 * 1024,
	BLOCK_MAX = 512 * 1024 * 1024,
	GATHER_MIN = 4096,
	RCPT_MAX = 1000000,
	RCPT_FIRST = 16,
	DIGITS_MAX = 20,
	HEAD_MAX = 256, /* what encodes a message beside its strings */
};

/* A literal with its NUL. */
#define PUT(p, literal) ((char *)memcpy((p), (literal), sizeof(literal)) + sizeof(literal))

static char *
put_value(char *p, const char *value, size_t n)
{
	memcpy(p, value, n + 1);
	return p + n + 1;
}

static char *
put_number(char *p, int64_t value)
{
	char rev[DIGITS_MAX];
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	size_t n = 0;

	do
		rev[n++] = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (value < 0)
		*p++ = '-';
	while (n > 0)
		*p++ = rev[--n];
	*p++ = '\0';
	return p;
}

int
listing_encode_begin(struct buf *to)
{
	return buf_add(to, STR("protocol\0" PROTOCOL "\0\0"));
}

static int
encode_recipient(struct buf *to, const struct listing_recipient *r, bool extended)
{
	size_t address = strlen(r->address), reason = strlen(r->reason);
	size_t relay = extended ? strlen(r->relay) : 0, dsn = extended ? strlen(r->dsn) : 0;
	char *start = buf_reserve(to, HEAD_MAX + address + reason + relay + dsn), *p = start;

	if (p == NULL)
		return -ENOBUFS;
	p = put_value(PUT(p, "recipient"), r->address, address);
	p = put_value(PUT(p, "reason"), r->reason, reason);
	if (relay > 0)
		p = put_value(PUT(p, "relay"), r->relay, relay);
	if (dsn > 0)
		p = put_value(PUT(p, "dsn"), r->dsn, dsn);
	buf_commit(to, (size_t)(p - start));
	return 0;
}

int
listing_encode(struct buf *to, const struct listing *l, bool extended)
{
	const char *queue = spool_queue_name(l->queue);
	size_t id = strlen(l->id), sender = strlen(l->sender);
	char *start = buf_reserve(to, HEAD_MAX + id + sender), *p = start;

	if (p == NULL)
		return -ENOBUFS;
	p = put_value(PUT(p, "queue_name"), queue, strlen(queue));
	p = put_value(PUT(p, "queue_id"), l->id, id);
	p = put_number(PUT(p, "time"), l->arrival);
	p = put_number(PUT(p, "size"), l->size);
	p = put_number(PUT(p, "forced_expire"), l->forced_expire);
	p = put_value(PUT(p, "sender"), l->sender, sender);
	if (extended && l->queue == QUEUE_DEFERRED) {
		p = put_number(PUT(p, "next_attempt"), l->next_attempt);
		p = put_number(PUT(p, "attempts"), l->attempts);
	}
	buf_commit(to, (size_t)(p - start));
	for (size_t i = 0; i < l->rcpt_count; i++)
		encode_recipient(to, &l->rcpt[i], extended);
	buf_addc(to, '\0');
	return buf_overflowed(to) ? -ENOBUFS : 0;
}

int
listing_encode_end(struct buf *to)
{
	return buf_addc(to, '\0');
}

enum expect { EXPECT_PROTOCOL, EXPECT_MESSAGES, EXPECT_NOTHING };

/* Places of strings in a block, which may still move; 0, where the first name is, = none. */
struct places {
	uint32_t address, reason, relay, dsn;
};

struct listing_decoder {
	listing_each *each;
	void *ctx;
	enum expect expect;
	struct buf gathered; /* a block whose beginning came in an earlier chunk */
	/* Of the block. */
	size_t at; /* where its next pair begins */
	uint32_t id, sender;
	struct listing l;
	struct places *places;
	struct listing_recipient *rcpt;
	size_t rcpt_cap;
};

struct listing_decoder *
listing_decoder_new(listing_each *each, void *ctx)
{
	struct listing_decoder *d = MEM_NEW(struct listing_decoder);

	d->each = each;
	d->ctx = ctx;
	buf_init(&d->gathered, BLOCK_MAX);
	return d;
}

void
listing_decoder_free(struct listing_decoder *d)
{
	if (d == NULL)
		return;
	buf_fini(&d->gathered);
	mem_free(d->places);
	mem_free(d->rcpt);
	mem_free(d);
}

bool
listing_decoder_complete(const struct listing_decoder *d)
{
	return d->expect == EXPECT_NOTHING;
}

static int
add_recipient(struct listing_decoder *d, uint32_t address)
{
	if (d->l.rcpt_count == RCPT_MAX)
		return -EBADMSG;
	if (d->l.rcpt_count == d->rcpt_cap) {
		d->rcpt_cap = d->rcpt_cap ? d->rcpt_cap * 2 : RCPT_FIRST;
		d->places = mem_realloc(d->places, d->rcpt_cap * sizeof(*d->places));
		d->rcpt = mem_realloc(d->rcpt, d->rcpt_cap * sizeof(*d->rcpt));
	}
	d->places[d->l.rcpt_count++] = (struct places){.address = address};
	return 0;
}

/* What is said of the last recipient. */
static int
take_of_recipient(struct listing_decoder *d, struct str name, uint32_t place)
{
	struct places *last;

	if (d->l.rcpt_count == 0)
		return -EBADMSG;
	last = &d->places[d->l.rcpt_count - 1];
	if (name.n == 6)
		last->reason = place;
	else if (name.n == 5)
		last->relay = place;
	else
		last->dsn = place;
	return 0;
}

static int
take_number(struct listing_decoder *d, struct str name, struct str value)
{
	struct listing *l = &d->l;
	int64_t n;

	if (str_number(value, 0, INT64_MAX, &n) < 0)
		return -EBADMSG;
	if (str_eq(name, STR("time")))
		l->arrival = n;
	else if (str_eq(name, STR("size")))
		l->size = n;
	else if (str_eq(name, STR("forced_expire")))
		l->forced_expire = n != 0;
	else if (str_eq(name, STR("next_attempt")))
		l->next_attempt = n;
	else if (str_eq(name, STR("attempts")) && n <= UINT32_MAX)
		l->attempts = (unsigned)n;
	else
		return -EBADMSG;
	return 0;
}

static int
take_pair(struct listing_decoder *d, struct str name, struct str value, uint32_t place)
{
	if (d->expect == EXPECT_PROTOCOL)
		return str_eq(name, STR("protocol")) && str_eq(value, STR(PROTOCOL)) ? 0 : -EBADMSG;
	if (str_eq(name, STR("recipient")))
		return add_recipient(d, place);
	if (str_eq(name, STR("reason")) || str_eq(name, STR("relay")) || str_eq(name, STR("dsn")))
		return take_of_recipient(d, name, place);
	if (str_eq(name, STR("queue_name"))) {
		d->l.queue = spool_queue_find(value);
		return d->l.queue == QUEUE_COUNT ? -EBADMSG : 0;
	}
	if (str_eq(name, STR("queue_id"))) {
		d->id = place;
		return spool_id_valid(value) ? 0 : -EBADMSG;
	}
	if (str_eq(name, STR("sender"))) {
		d->sender = place;
		return 0;
	}
	return take_number(d, name, value);
}

static void
resolve(struct listing_decoder *d, const char *block)
{
	for (size_t i = 0; i < d->l.rcpt_count; i++) {
		const struct places *at = &d->places[i];

		d->rcpt[i] = (struct listing_recipient){
		    .address = block + at->address,
		    .reason = at->reason ? block + at->reason : "",
		    .relay = at->relay ? block + at->relay : "",
		    .dsn = at->dsn ? block + at->dsn : "",
		};
	}
	d->l.rcpt = d->rcpt;
	d->l.id = block + d->id;
	d->l.sender = block + d->sender;
}

static int
end_block(struct listing_decoder *d, const char *block)
{
	int rc = 0;

	if (d->expect == EXPECT_PROTOCOL) {
		if (d->at == 0)
			return -EBADMSG;
		d->expect = EXPECT_MESSAGES;
	} else if (d->at == 0) {
		d->expect = EXPECT_NOTHING;
	} else if (d->id == 0 || d->sender == 0) {
		return -EBADMSG;
	} else {
		resolve(d, block);
		rc = d->each(d->ctx, &d->l);
	}
	d->l = (struct listing){0};
	d->id = d->sender = 0;
	d->at = 0;
	return rc;
}

/* A string that begins at `at`, without its NUL. False: its end has not come yet. */
static bool
string_at(struct str block, size_t at, struct str *ret)
{
	struct str rest = str_from(block, at);
	const char *nul = rest.n ? memchr(rest.p, '\0', rest.n) : NULL;

	*ret = nul ? (struct str){rest.p, (size_t)(nul - rest.p)} : rest;
	return nul != NULL;
}

/* Goes on in the block at the start of `in`; its length when it is whole, 0 when more must come. */
static int
read_block(struct listing_decoder *d, struct str in, size_t *ret_length)
{
	*ret_length = 0;
	for (;;) {
		struct str name, value = {"", 0};
		bool whole = string_at(in, d->at, &name);
		int rc;

		if (whole && name.n == 0) {
			*ret_length = d->at + 1;
			return end_block(d, in.p);
		}
		whole = whole && string_at(in, d->at + name.n + 1, &value);
		if (name.n > NAME_MAX_BYTES || value.n > VALUE_MAX || d->at > BLOCK_MAX)
			return -EBADMSG;
		if (!whole)
			return 0;
		rc = take_pair(d, name, value, (uint32_t)(value.p - in.p));
		if (rc < 0)
			return rc;
		d->at += name.n + value.n + 2;
	}
}

/* A block that began earlier: takes no more of `in` than its end may need, so that the blocks
 * behind it are read where they lie. */
static int
read_gathered(struct listing_decoder *d, struct str *in)
{
	size_t before = buf_str(&d->gathered).n, length;
	struct str more = str_head(*in, before > GATHER_MIN ? before : GATHER_MIN);
	int rc;

	if (buf_add(&d->gathered, more) < 0)
		return -EBADMSG;
	rc = read_block(d, buf_str(&d->gathered), &length);
	*in = str_from(*in, length > 0 ? length - before : more.n);
	if (length > 0)
		buf_clear(&d->gathered);
	return rc;
}

int
listing_decode(struct listing_decoder *d, struct str bytes)
{
	int rc = 0;

	while (rc == 0 && bytes.n > 0) {
		size_t length;

		if (d->expect == EXPECT_NOTHING)
			return -EBADMSG;
		if (buf_str(&d->gathered).n > 0) {
			rc = read_gathered(d, &bytes);
			continue;
		}
		rc = read_block(d, bytes, &length);
		if (rc == 0 && length == 0)
			return buf_add(&d->gathered, bytes) < 0 ? -EBADMSG : 0;
		bytes = str_from(bytes, length);
	}
	return rc;
}
