/*
 * postqueue_print.c - one message of a listing as text or as JSON, to the byte as Postfix has it.
 *
 * A queue may hold a hundred thousand, so nothing here asks the C library to format: text that is
 * plain ASCII, as nearly all is, is looked through eight bytes at a time and copied; only other
 * text is looked at byte by byte.
 */
#include <errno.h>
#include <unistd.h>
#include "pp/mail/utf8.h"
#include "postqueue.h"

enum {
	OUTPUT_PIECE = 64 * 1024,
	REASON_COLUMN = 76,
	NUMBER_MAX = 20,
	LINE_MAX = 256, /* of the fixed parts of a message */
};

static const struct layout {
	const char *header;
	size_t id_width, size_width, time_width;
} short_layout = {"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n", 11, 7,
    20},
  long_layout = {
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n", 17, 8, 19};

static const char blanks[] =
    "                                                                            ";
_Static_assert(sizeof(blanks) == REASON_COLUMN + 1, "blanks for every column");

void
output_init(struct output *o, int fd)
{
	*o = (struct output){.fd = fd, .p = mem_alloc(OUTPUT_PIECE)};
}

void
output_fini(struct output *o)
{
	mem_free(o->p);
}

static void
output_write(struct output *o, const char *p, size_t n)
{
	while (n > 0 && o->error == 0) {
		ssize_t done = write(o->fd, p, n);

		if (done < 0 && errno != EINTR)
			o->error = errno;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
}

static void
output_full(struct output *o, const char *p, size_t n)
{
	size_t room = OUTPUT_PIECE - o->n;

	memcpy(o->p + o->n, p, room);
	output_write(o, o->p, OUTPUT_PIECE);
	p += room;
	n -= room;
	while (n >= OUTPUT_PIECE) {
		output_write(o, p, OUTPUT_PIECE);
		p += OUTPUT_PIECE;
		n -= OUTPUT_PIECE;
	}
	memcpy(o->p, p, n);
	o->n = n;
}

void
output_put(struct output *o, const char *p, size_t n)
{
	if (n >= OUTPUT_PIECE - o->n) {
		output_full(o, p, n);
		return;
	}
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

int
output_end(struct output *o)
{
	output_write(o, o->p, o->n);
	o->n = 0;
	return o->error == EPIPE ? 0 : -o->error;
}

#define PUT(o, literal) output_put((o), (literal), sizeof(literal) - 1)

static void
put_string(struct output *o, const char *s)
{
	output_put(o, s, strlen(s));
}

static char *
number_text(int64_t value, char *end)
{
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;

	do
		*--end = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (value < 0)
		*--end = '-';
	return end;
}

static void
put_number(struct output *o, int64_t value, size_t width)
{
	char text[NUMBER_MAX + 1], *end = text + sizeof(text), *p = number_text(value, end);
	size_t n = (size_t)(end - p);

	if (n < width)
		output_put(o, blanks, width - n);
	output_put(o, p, n);
}

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))
#define HAS_ZERO(word) (((word)-EACH(0x01)) & ~(word)&EACH(0x80))

/* Nothing but printable ASCII; for JSON also without what must be escaped. */
static bool
is_plain(const char *p, size_t n, bool json)
{
	uint64_t word, bad = 0;

	for (size_t i = 0; i < n; i += sizeof(word)) {
		if (n - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
		} else {
			word = EACH(' ');
			memcpy(&word, p + i, n - i);
		}
		bad |= word | HAS_ZERO(word ^ EACH(0x7f)) | (word - EACH(' '));
		if (json)
			bad |= HAS_ZERO(word ^ EACH('"')) | HAS_ZERO(word ^ EACH('\\'));
	}
	return (bad & EACH(0x80)) == 0;
}

/* What would not print becomes `?`. */
static void
put_clean(struct output *o, const char *text, size_t n)
{
	struct str rest = {text, n};

	if (is_plain(text, n, false)) {
		output_put(o, text, n);
		return;
	}
	while (rest.n > 0) {
		size_t len = utf8_sequence(rest);

		if (len == 0 || utf8_iscontrol(rest.p[0]))
			PUT(o, "?");
		else
			output_put(o, rest.p, len);
		rest = str_from(rest, len ? len : 1);
	}
}

static void
print_recipients(struct output *o, const struct layout *lay, const struct listing *l)
{
	size_t indent = lay->id_width + lay->size_width + lay->time_width + 3;
	const char *last = "";

	for (size_t i = 0; i < l->rcpt_count; i++) {
		const struct listing_recipient *r = &l->rcpt[i];

		if (strcmp(r->reason, last) != 0) {
			const char *text = *r->reason ? r->reason : "reason unavailable";
			size_t n = strlen(text);

			if (n < REASON_COLUMN)
				output_put(o, blanks, REASON_COLUMN - n);
			PUT(o, "(");
			put_clean(o, text, n);
			PUT(o, ")\n");
		}
		last = r->reason;
		output_put(o, blanks, indent);
		put_clean(o, r->address, strlen(r->address));
		PUT(o, "\n");
	}
}

int
postqueue_print_entry(void *printer, const struct listing *l)
{
	struct printer *p = printer;
	struct output *o = &p->out;
	const struct layout *lay = p->long_ids ? &long_layout : &short_layout;
	char id[SPOOL_ID_MAX + 2], when[CLOCK_TEXT];
	size_t n = strnlen(l->id, SPOOL_ID_MAX);

	if (p->count++ == 0)
		put_string(o, lay->header);
	else
		PUT(o, "\n");
	p->bytes += l->size;
	memcpy(id, l->id, n);
	if (l->queue == QUEUE_ACTIVE || l->queue == QUEUE_HOLD)
		id[n++] = l->queue == QUEUE_ACTIVE ? '*' : '!';
	if (l->forced_expire)
		id[n++] = '#';
	output_put(o, id, n);
	if (n < lay->id_width)
		output_put(o, blanks, lay->id_width - n);
	PUT(o, " ");
	put_number(o, l->size, lay->size_width);
	PUT(o, " ");
	local_clock_text(&p->clock, l->arrival, when);
	output_put(o, when, lay->time_width);
	PUT(o, " ");
	put_clean(o, l->sender, strlen(l->sender));
	PUT(o, "\n");
	print_recipients(o, lay, l);
	return o->error != 0;
}

void
postqueue_print_end(struct printer *p)
{
	struct output *o = &p->out;

	if (p->count == 0) {
		PUT(o, "Mail queue is empty\n");
		return;
	}
	PUT(o, "\n-- ");
	put_number(o, p->bytes / 1024, 0);
	PUT(o, " Kbytes in ");
	put_number(o, p->count, 0);
	put_string(o, p->count == 1 ? " Request.\n" : " Requests.\n");
}

/* The letter behind the backslash, or 0. */
static char
json_escape(char c)
{
	switch (c) {
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '"':
	case '\\':
		return c;
	default:
		return '\0';
	}
}

static void
put_json_byte(struct output *o, char c)
{
	static const char hex[] = "0123456789ABCDEF";
	char escaped[2] = {'\\', json_escape(c)};
	char control[6] = {'\\', 'u', '0', '0', hex[(c >> 4) & 15], hex[c & 15]};

	if (escaped[1])
		output_put(o, escaped, sizeof(escaped));
	else if ((unsigned char)c < ' ')
		output_put(o, control, sizeof(control));
	else
		output_put(o, &c, 1);
}

static void
put_json(struct output *o, const char *text)
{
	struct str rest = str_of(text);

	PUT(o, "\"");
	if (is_plain(rest.p, rest.n, true)) {
		output_put(o, rest.p, rest.n);
		rest.n = 0;
	}
	while (rest.n > 0) {
		size_t n = utf8_sequence(rest);

		if (n == 0 || rest.p[0] == 0x7f)
			PUT(o, "?");
		else if (n == 1)
			put_json_byte(o, rest.p[0]);
		else
			output_put(o, rest.p, n);
		rest = str_from(rest, n ? n : 1);
	}
	PUT(o, "\"");
}

static void
print_json_recipient(struct output *o, const struct listing *l, const struct listing_recipient *r)
{
	PUT(o, "{\"address\": ");
	put_json(o, r->address);
	if (*r->reason) {
		PUT(o, ", \"delay_reason\": ");
		put_json(o, r->reason);
	}
	if (l->queue == QUEUE_DEFERRED && l->next_attempt != 0) {
		PUT(o, ", \"next_attempt\": ");
		put_number(o, l->next_attempt, 0);
		PUT(o, ", \"attempts\": ");
		put_number(o, l->attempts, 0);
	}
	if (*r->relay) {
		PUT(o, ", \"relay\": ");
		put_json(o, r->relay);
	}
	if (*r->dsn) {
		PUT(o, ", \"dsn\": ");
		put_json(o, r->dsn);
	}
	PUT(o, "}");
}

int
postqueue_print_json(void *printer, const struct listing *l)
{
	struct output *o = &((struct printer *)printer)->out;

	PUT(o, "{\"queue_name\": \"");
	put_string(o, spool_queue_name(l->queue));
	PUT(o, "\", \"queue_id\": ");
	put_json(o, l->id);
	PUT(o, ", \"arrival_time\": ");
	put_number(o, l->arrival, 0);
	PUT(o, ", \"message_size\": ");
	put_number(o, l->size, 0);
	if (l->forced_expire)
		PUT(o, ", \"forced_expire\": true, \"sender\": ");
	else
		PUT(o, ", \"forced_expire\": false, \"sender\": ");
	put_json(o, l->sender);
	PUT(o, ", \"recipients\": [");
	for (size_t i = 0; i < l->rcpt_count; i++) {
		if (i > 0)
			PUT(o, ", ");
		print_json_recipient(o, l, &l->rcpt[i]);
	}
	PUT(o, "]}\n");
	return o->error != 0;
}
