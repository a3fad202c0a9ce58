/*
 * postmap_edit.c - postmap -i, -r and -d: the text itself is changed.
 *
 * Only the lines of the entry change; comments, order, mode and owner stay, and what is written is
 * whole before it takes the old one's place. Two of these commands wait for each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "postmap.h"
#include "pp/base/fsio.h"
#include "pp/map/map.h"
#include "pp/runtime/log.h"

enum { LOCK_TRIES = 100 };

struct edit {
	struct postmap *pm;
	const struct postmap_table *table;
	char path[PATH_MAX]; /* where links lead to */
	int fd;              /* holds the lock */
	struct stat st;
	struct postmap_text text;
	struct buf appended;
	bool is_changed;
};

bool
postmap_input(struct buf *line)
{
	int c = EOF;

	buf_clear(line);
	while (!buf_overflowed(line) && (c = getc(stdin)) != EOF && c != '\n')
		buf_addc(line, (char)c);
	line->overflow = false;
	return c != EOF || buf_str(line).n > 0;
}

/* Somebody may have put another file in its place while we waited for the lock. */
static int
lock(struct edit *e, int flags)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		struct stat now;
		int rc;

		e->fd = open(e->table->name, flags | O_RDONLY | O_CLOEXEC | O_NOCTTY, 0644);
		if (e->fd < 0)
			return -errno;
		rc = fsio_lock(e->fd, true);
		if (rc == 0 && fstat(e->fd, &e->st) == 0 && stat(e->table->name, &now) == 0 &&
		    now.st_ino == e->st.st_ino && now.st_dev == e->st.st_dev)
			return 0;
		fsio_close(e->fd);
		if (rc < 0)
			return rc;
	}
	return -EBUSY;
}

static void
begin(struct edit *e, struct postmap *pm, const struct postmap_table *table, int flags)
{
	int rc;

	*e = (struct edit){.pm = pm, .table = table};
	rc = lock(e, flags);
	if (rc == 0 && realpath(table->name, e->path) == NULL)
		rc = -errno;
	if (rc < 0)
		command_fatal(&pm->command, "open %s: %s", table->name, strerror(-rc));
	postmap_text_init(&e->text);
	buf_init(&e->appended, MAP_FILE_MAX);
	postmap_text_read(pm, table, &e->text, TELL_NOTHING);
}

static bool
is_comment(struct str line)
{
	line = str_trim(line);
	return line.n == 0 || line.p[0] == '#';
}

/* An entry's own lines among the comments around them. */
static void
own_lines(struct str all, const struct postmap_entry *entry, size_t *ret_from, size_t *ret_to)
{
	size_t from = entry->to, to = entry->from;

	for (size_t at = entry->from; at < entry->to;) {
		struct str line = str_head(str_from(all, at), entry->to - at);
		size_t end = at + str_index(line, '\n');

		end += end < all.n;
		if (!is_comment(str_head(str_from(all, at), end - at))) {
			from = from < at ? from : at;
			to = end;
		}
		at = end;
	}
	*ret_from = from;
	*ret_to = to;
}

static void
put_entry(const struct edit *e, struct buf *to, struct str key, struct str value)
{
	buf_printf(to, "%.*s%s\t%.*s\n", STR_FMT(key), e->pm->is_alias ? ":" : "", STR_FMT(value));
}

static void
new_text(const struct edit *e, struct buf *to)
{
	struct str all = buf_str(&e->text.bytes);
	size_t at = 0;

	for (const struct postmap_entry *p = e->text.first; p; p = p->next) {
		size_t from, end;

		if (!p->is_gone && p->new_value.p == NULL)
			continue;
		own_lines(all, p, &from, &end);
		buf_add(to, str_head(str_from(all, at), from - at));
		if (!p->is_gone)
			put_entry(e, to, p->raw, p->new_value);
		at = end;
	}
	buf_add(to, str_from(all, at));
	if (e->appended.n > 0 && to->n > 0 && !str_ends(buf_str(to), STR("\n")))
		buf_addc(to, '\n');
	buf_add(to, buf_str(&e->appended));
}

/* The directory is synced too, so that the new name is there after a crash. */
static int
sync_directory(const char *path)
{
	char dir[PATH_MAX];
	int fd, rc;

	snprintf(dir, sizeof(dir), "%.*s", (int)str_rindex(str_of(path), '/'), path);
	fd = fsio_open_dir(AT_FDCWD, *dir ? dir : "/");
	if (fd < 0)
		return fd;
	rc = fsio_sync(fd);
	fsio_close(fd);
	return rc;
}

static int
replace(const struct edit *e, struct str bytes)
{
	char tmp[PATH_MAX + 32];
	int fd, rc;

	snprintf(tmp, sizeof(tmp), "%s.%ld.tmp", e->path, (long)getpid());
	fd = fsio_create(AT_FDCWD, tmp, 0600);
	if (fd < 0)
		return fd;
	rc = fsio_write(fd, bytes);
	if (rc == 0 && (e->st.st_uid != geteuid() || e->st.st_gid != getegid()))
		rc = fsio_chown(fd, e->st.st_uid, e->st.st_gid);
	if (rc == 0)
		rc = fsio_chmod(fd, e->st.st_mode & 07777);
	if (rc == 0)
		rc = fsio_sync(fd);
	fsio_close(fd);
	if (rc == 0 && rename(tmp, e->path) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(tmp);
	return rc < 0 ? rc : sync_directory(e->path);
}

static void
end(struct edit *e)
{
	struct buf text;
	int rc = 0;

	buf_init(&text, MAP_FILE_MAX);
	if (e->is_changed) {
		new_text(e, &text);
		rc = buf_overflowed(&text) ? -EFBIG : replace(e, buf_str(&text));
	}
	buf_fini(&text);
	buf_fini(&e->appended);
	postmap_text_fini(&e->text);
	fsio_close(e->fd);
	if (rc < 0)
		command_fatal(&e->pm->command, "table %s:%s: write error: %s", e->table->type,
		    e->table->name, strerror(-rc));
}

static void
insert_one(struct edit *e, const struct postmap_entry *n, struct postmap_text *added)
{
	struct postmap_entry *old = postmap_text_find(e->pm, &e->text, n->key), *first;

	HASH_FIND(hh, added->hash, n->key.p, n->key.n, first);
	if (old == NULL && first == n) {
		put_entry(e, &e->appended, n->raw, n->value);
		e->is_changed = true;
	} else if (old != NULL && e->pm->does_replace) {
		old->new_value = n->value;
		e->is_changed = true;
	} else if (!e->pm->is_silent && !e->pm->does_replace)
		log_warn(e->pm->command.name, "%s.db: duplicate entry: \"%.*s\"", e->table->name,
		    STR_FMT(n->key));
}

void
postmap_insert(struct postmap *pm, const struct postmap_table *table)
{
	struct postmap_text in;
	struct buf line;
	struct edit e;

	postmap_text_init(&in);
	buf_init(&line, MAP_VALUE_MAX);
	while (postmap_input(&line)) {
		buf_add(&in.bytes, buf_str(&line));
		buf_addc(&in.bytes, '\n');
	}
	buf_fini(&line);
	postmap_text_parse(pm, table, "stdin", &in, TELL_INPUT);
	begin(&e, pm, table, O_CREAT);
	for (const struct postmap_entry *n = in.first; n; n = n->next)
		insert_one(&e, n, &in);
	end(&e);
	postmap_text_fini(&in);
}

static bool
delete_one(struct edit *e, struct str key)
{
	const struct postmap_entry *first = postmap_text_find(e->pm, &e->text, key);
	struct postmap_entry *p = e->text.first;
	bool found = false;

	/* All that have this key: the next of them would come to light otherwise. */
	for (; first && p; p = p->next)
		if (str_eq(p->key, first->key) && !p->is_gone)
			p->is_gone = found = e->is_changed = true;
	return found;
}

bool
postmap_delete(struct postmap *pm, const struct postmap_table *table, const char *key)
{
	bool found = false;
	struct buf line;
	struct edit e;

	begin(&e, pm, table, 0);
	if (strcmp(key, "-") != 0) {
		found = delete_one(&e, str_of(key));
	} else {
		buf_init(&line, MAP_VALUE_MAX);
		while (postmap_input(&line))
			found |= delete_one(&e, buf_str(&line));
		buf_fini(&line);
	}
	end(&e);
	return found;
}
