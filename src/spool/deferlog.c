/*
 * deferlog.c - what happened to the recipients of a message, and the marks in its queue file.
 *
 * The text is Postfix's, the old first line included, because its tools read it. Everything in an
 * entry may come from a remote server: a control character would let it write lines of its own, so
 * none is let through. An append is one write; when it fails half way the file is cut back.
 */
#include <errno.h>
#include "internal.h"
#include "pp/mail/address.h"
#include "pp/spool/deferlog.h"

enum { PRINT_MAX = 16 * 1024 * 1024 };

static void
put_clean(struct buf *to, const char *value)
{
	char *p;
	size_t n = strlen(value);

	p = buf_reserve(to, n);
	if (p == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)value[i];

		p[i] = c == '\n' || c == '\r' || c == '\t' ? ' '
		       : c < ' ' || c == 0x7f              ? '?'
							   : (char)c;
	}
	buf_commit(to, n);
}

static void
put_field(struct buf *to, const char *name, const char *value)
{
	buf_adds(to, name);
	buf_addc(to, '=');
	put_clean(to, value);
	buf_addc(to, '\n');
}

static void
put_address(struct buf *to, const char *name, const char *address)
{
	buf_adds(to, name);
	buf_addc(to, '=');
	if (*address == '\0')
		buf_adds(to, "<>");
	else if (address_quote(to, str_of(address)) < 0)
		put_clean(to, address);
	buf_addc(to, '\n');
}

int
deferlog_print(struct buf *to, const struct deferlog_entry *e)
{
	const struct status *st = &e->status;
	const char *reason = st->text ? st->text : "";

	buf_adds(to, "\n<");
	if (address_quote(to, str_of(e->recipient)) < 0)
		put_clean(to, e->recipient);
	buf_adds(to, ">: ");
	put_clean(to, reason);
	buf_addc(to, '\n');
	put_address(to, "recipient", e->recipient);
	if (e->orig && *e->orig && !str_caseeq(str_of(e->orig), str_of(e->recipient)))
		put_address(to, "original_recipient", e->orig);
	if (e->offset > 0)
		buf_printf(to, "offset=%lld\n", (long long)e->offset);
	if (e->orcpt && *e->orcpt)
		put_field(to, "dsn_orig_rcpt", e->orcpt);
	if (e->notify)
		buf_printf(to, "notify_flags=%u\n", e->notify);
	buf_printf(to, "status=%s\n", status_dsn(st).text);
	put_field(to, "action", e->action ? e->action : "delayed");
	if (st->diagnostic && *st->diagnostic) {
		put_field(to, "diag_type", "smtp");
		put_field(to, "diag_text", st->diagnostic);
	}
	if (st->remote && *st->remote) {
		put_field(to, "mta_type", "dns");
		put_field(to, "mta_mname", st->remote);
	}
	put_field(to, "reason", reason);
	buf_addc(to, '\n');
	return buf_overflowed(to) ? -ENOBUFS : 0;
}

static int
append(const struct spool *s, enum queue q, const char *path, int fd, struct str text)
{
	struct stat st;
	int rc = fsio_lock(fd, true);

	if (rc == 0 && fstat(fd, &st) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	rc = fsio_write(fd, text);
	/* Nothing is forgotten for the sake of a log of deferral: a loss of power may take the
	 * reason, and the next attempt finds another. */
	if (rc == 0 && q == QUEUE_DEFER)
		return 0;
	if (rc == 0)
		rc = fsio_sync(fd);
	if (rc < 0) {
		fsio_truncate(fd, st.st_size);
		return rc;
	}
	return st.st_size == 0 ? spool_sync_parent(s, q, path) : 0;
}

int
deferlog_append_blk(
    const struct spool *s, enum queue q, const char *id, const struct deferlog_entry *e, size_t n)
{
	char path[SPOOL_PATH_MAX];
	struct buf text;
	int fd, rc = 0;

	PP_ASSERT(q == QUEUE_DEFER || q == QUEUE_BOUNCE || q == QUEUE_TRACE);
	buf_init(&text, PRINT_MAX);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = deferlog_print(&text, &e[i]);
	if (rc < 0)
		goto out;
	spool_path(s, q, id, path);
	fd = fsio_open_append(s->dirfd, path, 0600);
	if (fd == -ENOENT) {
		rc = spool_make_parents(s, path);
		if (rc < 0)
			goto out;
		fd = fsio_open_append(s->dirfd, path, 0600);
	}
	if (fd < 0) {
		rc = fd;
		goto out;
	}
	rc = append(s, q, path, fd, buf_str(&text));
	fsio_close(fd);
out:
	buf_fini(&text);
	return rc;
}

bool
deferlog_exists_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;

	spool_path(s, q, id, path);
	return fsio_stat(s->dirfd, path, &st) == 0 && st.st_size > 0;
}

int
deferlog_remove_blk(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];

	spool_path(s, q, id, path);
	return fsio_unlink(s->dirfd, path);
}
