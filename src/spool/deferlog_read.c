/*
 * deferlog_read.c - the logs of a message, read.
 *
 * A block is read into views of the text, without a copy: a listing asks three fields of a hundred
 * thousand logs, a bounce asks all of one. Unknown names are skipped, and the only line that logs
 * had before Postfix 2.0 is understood. Of a damaged block what is there is taken, as Postfix does.
 */
#include <errno.h>
#include "deferlog_read.h"
#include "pp/mail/address.h"

enum {
	LOG_MAX = 64 * 1024 * 1024,
	ENTRIES_MAX = 1000000,
};

static const struct str no_recipient = {"(recipient address unavailable)", 31};
static const struct str no_reason = {"(description unavailable)", 25};

const char *
deferlog_address(struct arena *a, struct str text)
{
	const char *address;

	if (str_eq(text, STR("<>")) || text.n == 0)
		return "";
	if (address_parse(a, text, ADDRESS_UTF8, &address) == ADDRESS_OK)
		return address;
	return arena_str(a, text); /* shown as it stands; it was never a valid one */
}

static void
take_field(struct deferlog_block *b, struct str name, struct str value)
{
	static const struct {
		struct str name;
		size_t at;
	} known[] = {
	    {{"recipient", 9}, offsetof(struct deferlog_block, recipient)},
	    {{"original_recipient", 18}, offsetof(struct deferlog_block, orig)},
	    {{"offset", 6}, offsetof(struct deferlog_block, offset)},
	    {{"dsn_orig_rcpt", 13}, offsetof(struct deferlog_block, orcpt)},
	    {{"notify_flags", 12}, offsetof(struct deferlog_block, notify)},
	    {{"status", 6}, offsetof(struct deferlog_block, status)},
	    {{"action", 6}, offsetof(struct deferlog_block, action)},
	    {{"diag_text", 9}, offsetof(struct deferlog_block, diagnostic)},
	    {{"mta_mname", 9}, offsetof(struct deferlog_block, remote)},
	    {{"reason", 6}, offsetof(struct deferlog_block, reason)},
	};

	for (size_t i = 0; i < PP_COUNT(known); i++) {
		if (known[i].name.n != name.n || memcmp(known[i].name.p, name.p, name.n) != 0)
			continue;
		*(struct str *)(void *)((char *)b + known[i].at) = value;
		if (b->reason.n == 0)
			b->reason = no_reason;
		return;
	}
}

/* "<address>: reason": all that logs before 2.0 had. What comes later overrules it. */
static void
take_old_line(struct deferlog_block *b, struct str line)
{
	size_t end = 1;

	while (end < line.n && !str_starts(str_from(line, end), STR(">: ")))
		end += 1 + str_index(str_from(line, end + 1), '>');
	if (end >= line.n)
		return;
	b->recipient = str_head(str_from(line, 1), end - 1);
	line = str_from(line, end + 3);
	while (line.n > 0 && line.p[0] == ' ')
		line = str_from(line, 1);
	if (line.n > 0)
		b->reason = line; /* blanks at its end stay, as in Postfix */
}

/* Of blanks: a control, which was written for damage only, is shown. */
static struct str
trimmed(struct str s)
{
	while (s.n > 0 && s.p[0] == ' ')
		s = str_from(s, 1);
	while (s.n > 0 && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

static void
take_line(struct deferlog_block *b, struct str line)
{
	size_t eq = str_index(line, '=');

	if (line.p[0] == '<')
		take_old_line(b, line);
	else if (str_isalnum(line.p[0]) && eq < line.n)
		take_field(b, trimmed(str_head(line, eq)), trimmed(str_from(line, eq + 1)));
}

bool
deferlog_next(struct str *text, struct deferlog_block *ret)
{
	bool any = false;

	*ret = (struct deferlog_block){.recipient = no_recipient, .reason = no_reason};
	while (text->n > 0) {
		size_t end = str_index(*text, '\n');
		struct str line = str_head(*text, end);

		*text = str_from(*text, end + 1);
		line = str_head(line, str_index(line, '\0'));
		if (line.n > 0)
			take_line(ret, line);
		else if (any)
			return true;
		any |= line.n > 0;
	}
	return false; /* one that is not ended was not written to its end */
}

static const char *
copy(struct arena *a, struct str s)
{
	return s.p ? arena_str(a, s) : NULL;
}

static void
make_entry(struct arena *a, const struct deferlog_block *b, struct deferlog_entry *e)
{
	int64_t n;

	*e = (struct deferlog_entry){.recipient = deferlog_address(a, b->recipient),
	    .orig = b->orig.p ? deferlog_address(a, b->orig) : NULL,
	    .orcpt = copy(a, b->orcpt),
	    .action = copy(a, b->action)};
	if (str_number(b->offset, 1, INT64_MAX, &n) == 0)
		e->offset = (off_t)n;
	if (str_number(b->notify, 0, 15, &n) == 0)
		e->notify = (unsigned)n;
	status_parse_dsn(b->status, &e->status);
	e->status.text = copy(a, b->reason);
	e->status.remote = copy(a, b->remote);
	e->status.diagnostic = copy(a, b->diagnostic);
}

void
deferlog_parse(struct str text, struct arena *a, struct deferlog_entry **ret, size_t *ret_n)
{
	struct deferlog_entry *list = NULL, *bigger;
	struct deferlog_block b;
	size_t n = 0, cap = 0;

	while (n < ENTRIES_MAX && deferlog_next(&text, &b)) {
		if (n == cap) {
			cap = cap ? cap * 2 : 4;
			bigger = arena_alloc(a, cap * sizeof(*bigger));
			if (n > 0)
				memcpy(bigger, list, n * sizeof(*bigger));
			list = bigger;
		}
		make_entry(a, &b, &list[n++]);
	}
	*ret = list;
	*ret_n = n;
}

int
deferlog_text_blk(const struct spool *s, enum queue q, const char *id, struct buf *to)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int rc;

	to->max = LOG_MAX;
	spool_path(s, q, id, path);
	rc = fsio_read_all(s->dirfd, path, to);
	if (rc == -ENOENT && spool_locate(s, q, id, path, &st) == 0)
		rc = fsio_read_all(s->dirfd, path, to);
	/* One that is too long is read as far as it goes. */
	return rc == -EFBIG ? 0 : rc;
}

int
deferlog_read_blk(const struct spool *s, enum queue q, const char *id, struct arena *a,
    struct deferlog_entry **ret, size_t *ret_n)
{
	struct buf text;
	int rc;

	buf_init(&text, LOG_MAX);
	rc = deferlog_text_blk(s, q, id, &text);
	if (rc == 0)
		deferlog_parse(buf_str(&text), a, ret, ret_n);
	for (size_t i = 0; rc == 0 && i < *ret_n; i++) {
		struct deferlog_entry *e = &(*ret)[i];

		if (e->status.cls == 0)
			e->status.cls = q == QUEUE_DEFER ? STATUS_TEMP : STATUS_PERM;
		if (e->action == NULL)
			e->action = q == QUEUE_DEFER ? "delayed" : "failed";
	}
	buf_fini(&text);
	return rc;
}
