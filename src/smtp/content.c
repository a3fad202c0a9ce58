/*
 * The content on its way out, where it does not just pass.
 *
 * mime_walk gives headers and text, one piece at a time; what is not taken is pushed again, so a
 * table may be asked in between without holding more than the one header. Everything is done in the
 * order of Postfix: checks first, then addresses. Whether a mail needs any of this is decided
 * before it begins: most need nothing, and never come here.
 */
#include "content.h"
#include <errno.h>
#include "pp/mail/address_list.h"
#include "pp/mail/mime_walk.h"
#include "pp/mail/quoted.h"
#include "pp/runtime/log.h"

enum step { STEP_NONE, STEP_CHECK, STEP_ADDRESSES };

struct smtp_content {
	struct smtp_job *job;
	void (*go_on)(void *ctx);
	struct mime_walk walk;
	bool is_converting;
	struct quoted_encoder quoted;
	enum mime_event event; /* of the walker, not yet dealt with */
	bool has_event;
	bool is_line_open; /* of the body: a piece of it went out */
	int64_t body_seen; /* bytes of this part that were looked at */
	/* The header or line that is worked on. */
	enum step step;
	struct buf text;
	struct buf mapped;
	struct arena arena;
	struct address_list list;
	struct address_mailbox box;
	size_t list_done;
	bool is_mapped, has_box;
	struct smtp_generic generic;
	/* The question to a table. */
	struct map_query query;
	struct map_key key;
	struct map *asked;
	bool is_asking, is_answered, is_dead;
	struct buf value;
	int answer;
	const char *table; /* parameter, for errors */
	struct buf error;
};

enum { TEXT_MAX = 256 << 10 };

static void on_generic(void *ctx);

static void
destroy(struct smtp_content *c)
{
	mime_walk_fini(&c->walk);
	buf_fini(&c->text);
	buf_fini(&c->mapped);
	buf_fini(&c->value);
	buf_fini(&c->error);
	arena_fini(&c->arena);
	mem_free(c);
}

void
smtp_content_free(struct smtp_content *c)
{
	if (!c)
		return;
	c->is_dead = true;
	if (!c->is_asking && !c->generic.is_asking)
		destroy(c);
}

struct smtp_content *
smtp_content_new(struct smtp_job *j, bool is_8bit_refused, void (*go_on)(void *ctx))
{
	const struct params *p = j->svc->p;
	bool is_converting =
	    is_8bit_refused && !p->disable_mime_output_conversion && j->d->encoding != BODY_7BIT;
	struct smtp_content *c;

	if (!is_converting && !j->svc->has_checks && !j->svc->generic)
		return NULL;
	c = MEM_NEW(struct smtp_content);
	c->job = j;
	c->go_on = go_on;
	c->generic = (struct smtp_generic){.job = j, .done = on_generic, .ctx = c};
	c->is_converting = is_converting;
	mime_walk_init(&c->walk, (size_t)p->header_size_limit,
	    (size_t)p->mime_boundary_length_limit, (size_t)p->mime_nesting_limit);
	buf_init(&c->text, TEXT_MAX);
	buf_init(&c->mapped, TEXT_MAX);
	buf_init(&c->value, MAP_VALUE_MAX);
	buf_init(&c->error, 512);
	return c;
}

const char *
smtp_content_error(const struct smtp_content *c)
{
	return buf_cstr((struct buf *)(uintptr_t)&c->error);
}

/* ---- out ---- */

static int
put(void *ctx, struct str line)
{
	struct smtp_content *c = ctx;

	return dot_encode(&c->job->t.encoder, smtp_transaction_out(c->job), line, true);
}

/* Lines joined by LF. */
static int
put_lines(struct smtp_content *c, struct str text)
{
	int rc = 0;

	while (rc == 0 && text.n > 0) {
		size_t lf = str_index(text, '\n');

		rc = put(c, str_head(text, lf));
		text = str_from(text, lf + 1);
	}
	return rc;
}

static int
put_text(struct smtp_content *c, struct str piece, bool last)
{
	struct smtp_transaction *t = &c->job->t;

	if (c->is_converting && c->walk.is_8bit && c->walk.type != MIME_MULTIPART)
		return quoted_encode(&c->quoted, piece, last, put, c);
	return dot_encode(&t->encoder, smtp_transaction_out(c->job), piece, last);
}

/* ---- tables ---- */

static void
on_answer(struct map_query *q)
{
	struct smtp_content *c = PP_CONTAINER(q, struct smtp_content, query);

	c->is_asking = false;
	c->is_answered = true;
	c->answer = q->result;
	buf_clear(&c->value);
	buf_add(&c->value, buf_str(&q->value));
	map_query_fini(q);
	if (c->is_dead)
		destroy(c);
	else
		c->go_on(c->job);
}

/* 1 found, 0 not, -EAGAIN, -EIO. The value is in c->value. */
static int
ask(struct smtp_content *c, struct map *m, const char *table, struct str key)
{
	if (!c->is_answered) {
		buf_clear(&c->value);
		c->key = (struct map_key){.text = key};
		if (!map_is_static(m)) {
			c->is_asking = true;
			map_find(m, c->job->smtp->slow, &c->query, &c->key, 1, on_answer);
			return -EAGAIN;
		}
		c->answer = map_find_keys_blk(m, &c->key, 1, &c->value, NULL);
	}
	c->is_answered = false;
	if (c->answer >= 0)
		return c->answer;
	buf_clear(&c->error);
	buf_printf(&c->error, "%s lookup error: %s", table, buf_cstr(&c->value));
	return -EIO;
}

/* ---- checks ---- */

enum verdict { PASS, DROP };

static void
log_action(struct smtp_content *c, const char *action, const char *where, struct str rest)
{
	struct str text = str_head(buf_str(&c->text), 60);

	log_info(c->job->svc->program, "%s: %s: %s %.*s%s%.*s", c->job->d->queue_id, action, where,
	    STR_FMT(text), rest.n ? ": " : "", STR_FMT(rest));
}

static bool
is_action(struct str word, const char *name)
{
	return str_caseeq(word, str_of(name));
}

/* Does what a check says; what may be put before the text is put. */
static int
act(struct smtp_content *c, const char *where, enum verdict *ret)
{
	struct str rest = str_trim(buf_str(&c->value)), word = {0};
	bool is_header = *where == 'h';
	int rc = 0;

	str_token(&rest, " \t", &word);
	rest = str_trim(rest);
	*ret = PASS;
	if (is_action(word, "IGNORE") || is_action(word, "STRIP")) {
		if (is_action(word, "STRIP"))
			log_action(c, "strip", where, rest);
		*ret = DROP;
	} else if (is_action(word, "WARN")) {
		log_action(c, "warning", where, rest);
	} else if (is_action(word, "INFO")) {
		log_action(c, "info", where, rest);
	} else if (is_action(word, "REPLACE") || is_action(word, "PREPEND")) {
		bool is_replaced = is_action(word, "REPLACE");

		if (rest.n == 0 || (is_header && !header_parse(rest, NULL))) {
			log_warn(c->job->svc->program, "%s: %s: \"%.*s\" needs a %s", c->table,
			    is_replaced ? "REPLACE" : "PREPEND", STR_FMT(rest),
			    is_header ? "header: Name: value" : "text");
			return 0;
		}
		log_action(c, is_replaced ? "replace" : "prepend", where, rest);
		if (is_replaced) {
			buf_clear(&c->text);
			buf_add(&c->text, rest);
		} else {
			rc = put_lines(c, rest);
		}
	} else if (word.n > 0 && !is_action(word, "DUNNO") && !is_action(word, "OK")) {
		log_warn(c->job->svc->program, "%s: unsupported action: \"%.*s\"", c->table,
		    STR_FMT(buf_str(&c->value)));
	}
	return rc;
}

static enum smtp_check
check_of(const struct smtp_content *c, const struct header *h)
{
	if ((header_flags(h->id) & HDR_IS_MIME) || str_casestarts(h->name, STR("Content-")) ||
	    c->walk.cls == MIME_PART)
		return SMTP_CHECK_MIME;
	return c->walk.cls == MIME_NESTED ? SMTP_CHECK_NESTED : SMTP_CHECK_HEADER;
}

static int
run_check(struct smtp_content *c, enum smtp_check which, const char *where, enum verdict *ret)
{
	struct map *m = c->job->svc->checks[which];
	int rc;

	*ret = PASS;
	if (!m || map_is_empty(m))
		return 0;
	c->table = smtp_check_name[which];
	rc = ask(c, m, c->table, buf_str(&c->text));
	return rc <= 0 ? rc : act(c, where, ret);
}

/* ---- headers ---- */

static void
on_generic(void *ctx)
{
	struct smtp_content *c = ctx;

	if (c->is_dead)
		destroy(c);
	else
		c->go_on(c->job);
}

/* The addresses of the header in c->text become their public form. */
static int
map_addresses(struct smtp_content *c, const struct header *h)
{
	if (c->step != STEP_ADDRESSES) {
		c->step = STEP_ADDRESSES;
		buf_clear(&c->mapped);
		buf_add(&c->mapped, h->name);
		buf_addc(&c->mapped, ':');
		address_list_init(&c->list, h->value);
		c->list_done = 0;
		c->is_mapped = c->has_box = false;
	}
	for (;;) {
		struct str value = c->list.text;
		const char *found = NULL;
		int rc = 0;

		if (!c->has_box && address_list_next(&c->list, &c->arena, &c->box) <= 0)
			break;
		c->has_box = true;
		if (*c->box.address)
			rc = smtp_generic_ask(
			    &c->generic, &c->arena, c->box.address, &found, &c->error);
		if (rc < 0)
			return rc;
		c->has_box = false;
		if (!found)
			continue;
		c->is_mapped = true;
		buf_add(&c->mapped, str_from(str_head(value, c->box.from), c->list_done));
		if (address_quote(&c->mapped, str_of(found)) < 0)
			buf_adds(&c->mapped, c->box.address);
		c->list_done = c->box.to;
	}
	buf_add(&c->mapped, str_from(c->list.text, c->list_done));
	if (c->is_mapped && !buf_overflowed(&c->mapped)) {
		buf_clear(&c->text);
		buf_add(&c->text, buf_str(&c->mapped));
	}
	arena_fini(&c->arena);
	return 0;
}

static bool
is_replaced_later(const struct smtp_content *c, const struct header *h)
{
	return c->is_converting && c->walk.is_8bit && h->id == HDR_CONTENT_TRANSFER_ENCODING;
}

static bool
has_addresses(const struct smtp_content *c, const struct header *h)
{
	return c->job->svc->generic && c->walk.cls == MIME_PRIMARY &&
	       (header_flags(h->id) & (HDR_IS_SENDER | HDR_IS_RECIPIENT));
}

static int
do_header(struct smtp_content *c)
{
	enum verdict verdict = PASS;
	struct header h;
	int rc = 0;

	if (c->step == STEP_NONE) {
		buf_clear(&c->text);
		buf_add(&c->text, buf_str(&c->walk.header.text));
		c->step = STEP_CHECK;
	}
	if (c->step == STEP_CHECK && header_parse(buf_str(&c->text), &h))
		rc = run_check(c, check_of(c, &h), "header", &verdict);
	if (rc < 0)
		return rc;
	if (header_parse(buf_str(&c->text), &h)) {
		if (is_replaced_later(c, &h))
			verdict = DROP;
		else if (verdict == PASS && has_addresses(c, &h))
			rc = map_addresses(c, &h);
	}
	if (rc < 0)
		return rc;
	c->step = STEP_NONE;
	return verdict == DROP ? 0 : put_lines(c, buf_str(&c->text));
}

/* RFC 2045 6.4: no encoding may be named for composite entities. Parts of a multipart have their
 * own; other kinds of message, which ought to be 7-bit from the start, leave as 7-bit text all the
 * same. */
static int
do_head_end(struct smtp_content *c)
{
	c->body_seen = 0;
	if (!c->is_converting || !c->walk.is_8bit)
		return 0;
	if (c->walk.type == MIME_LEAF)
		return put(c, STR("Content-Transfer-Encoding: quoted-printable"));
	return put(c, STR("Content-Transfer-Encoding: 7bit"));
}

/* ---- the body ---- */

/* A piece is checked as it stands in the queue file. */
static int
do_body(struct smtp_content *c, struct str piece, bool last)
{
	enum verdict verdict = PASS;
	bool is_checked = c->job->svc->checks[SMTP_CHECK_BODY] &&
			  c->body_seen < c->job->svc->p->body_checks_size_limit;

	if (is_checked) {
		buf_clear(&c->text);
		buf_add(&c->text, piece);
		int rc = run_check(c, SMTP_CHECK_BODY, "body", &verdict);

		if (rc < 0)
			return rc;
		c->body_seen += (int64_t)piece.n;
		piece = buf_str(&c->text);
	}
	if (verdict == DROP && !(last && c->is_line_open))
		return 0;
	c->is_line_open = !last;
	return put_text(c, verdict == DROP ? (struct str){0} : piece, last);
}

static int
do_event(struct smtp_content *c, struct str piece, bool last)
{
	switch (c->event) {
	case MIME_HEADER:
		return do_header(c);
	case MIME_HEAD_END:
		return do_head_end(c);
	case MIME_LINE:
		return dot_encode(&c->job->t.encoder, smtp_transaction_out(c->job), piece, last);
	case MIME_TEXT:
		return do_body(c, piece, last);
	case MIME_MORE:
		break;
	}
	return 0;
}

int
smtp_content_push(struct smtp_content *c, struct str piece, bool last)
{
	for (;;) {
		int rc;

		if (!c->has_event)
			c->event = mime_walk_push(&c->walk, piece, last);
		c->has_event = true;
		rc = do_event(c, piece, last);
		if (rc < 0)
			return rc;
		c->has_event = false;
		if (c->event != MIME_HEADER && c->event != MIME_HEAD_END)
			return 1;
	}
}

int
smtp_content_finish(struct smtp_content *c)
{
	for (;;) {
		int rc;

		if (!c->has_event)
			c->event = mime_walk_finish(&c->walk);
		c->has_event = c->event != MIME_MORE;
		if (!c->has_event)
			return 0;
		rc = do_event(c, (struct str){0}, true);
		if (rc < 0)
			return rc;
		c->has_event = false;
	}
}
