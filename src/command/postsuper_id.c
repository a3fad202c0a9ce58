/*
 * postsuper_id.c - postsuper: single messages, by their ids.
 *
 * Only files that are ready are mail; a half-written one is left to its writer. The queue manager
 * may move a file while it is looked for, so whoever is not found is looked for again, the last
 * time also where another hash depth would have put him.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "postsuper.h"
#include "pp/runtime/log.h"

enum {
	TRIES = 3,
	MODE_EXPIRED = 0010,
};

/* The execute bit of the group. -ENOENT also when there is nothing to do. */
static int
expire(const struct spool *s, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;
	int fd, rc = -ENOENT;

	spool_path(s, q, id, path);
	fd = fsio_open_read(spool_dirfd(s), path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && spool_ready(&st) && (st.st_mode & MODE_EXPIRED) == 0)
		rc = fsio_chmod(fd, (st.st_mode & 07777) | MODE_EXPIRED);
	fsio_close(fd);
	return rc;
}

static void
say_removed(const struct postsuper *ps, enum queue q, const char *id)
{
	char path[SPOOL_PATH_MAX];
	struct stat st;

	spool_path(ps->command.spool, q, id, path);
	if (ps->verbose && fsio_stat(spool_dirfd(ps->command.spool), path, &st) == 0)
		log_info(ps->command.name, "removed file %s", path);
}

static int
delete_message(const struct postsuper *ps, enum queue q, const char *id)
{
	say_removed(ps, QUEUE_BOUNCE, id);
	say_removed(ps, QUEUE_DEFER, id);
	say_removed(ps, QUEUE_TRACE, id);
	say_removed(ps, q, id);
	return spool_remove_blk(ps->command.spool, q, id);
}

static int
move(const struct postsuper *ps, enum queue from, enum queue to, const char *id)
{
	const struct spool *s = ps->command.spool;
	char old[SPOOL_PATH_MAX], new[SPOOL_PATH_MAX];
	int rc = spool_move_blk(s, id, from, to, -1);

	if (rc == 0 && ps->verbose) {
		spool_path(s, from, id, old);
		spool_path(s, to, id, new);
		log_info(ps->command.name, "renamed file %s as %s", old, new);
	}
	return rc;
}

/* The time comes last: in deferred/ it would ask the daemon to try it now, before it is moved. */
static int
requeue(const struct postsuper *ps, enum queue q, const char *id)
{
	const struct spool *s = ps->command.spool;
	char path[SPOOL_PATH_MAX];
	int rc = move(ps, q, QUEUE_MAILDROP, id);

	spool_path(s, QUEUE_MAILDROP, id, path);
	if (rc == 0)
		fsio_set_mtime(spool_dirfd(s), path, (int64_t)time(NULL)); /* if it is there yet */
	return rc;
}

static int
act(const struct postsuper *ps, enum action a, enum queue q, const char *id)
{
	switch (a) {
	case REQUEUE:
		return requeue(ps, q, id);
	case DELETE:
		return delete_message(ps, q, id);
	case EXPIRE:
		return expire(ps->command.spool, q, id);
	case HOLD:
		return move(ps, q, QUEUE_HOLD, id);
	case RELEASE:
		return move(ps, q, QUEUE_DEFERRED, id);
	default:
		return -EINVAL;
	}
}

/* By whoever may: the daemon, or we while none can start, or, when one runs that takes no orders,
 * we all the same. Only what is being delivered is never requeued: it would arrive twice. */
static int
act_on_active(struct postsuper *ps, enum action a, const char *id)
{
	int64_t n = postsuper_order(ps, a, id);
	int rc = -ENOENT;

	if (n != -ENOSYS)
		return n > 0 ? 0 : -ENOENT;
	if (postsuper_hold_back(ps) || a != REQUEUE)
		rc = act(ps, a, QUEUE_ACTIVE, id);
	postsuper_let_go(ps);
	return rc;
}

static bool
is_here(const struct spool *s, enum queue q, const char *id, bool anywhere)
{
	const enum queue only[] = {q, QUEUE_COUNT};
	char path[SPOOL_PATH_MAX];
	enum queue found;
	struct stat st;

	spool_path(s, q, id, path);
	if (fsio_stat(spool_dirfd(s), path, &st) < 0 &&
	    (!anywhere || spool_find_blk(s, id, only, &found, &st) < 0))
		return false;
	return spool_ready(&st);
}

static void
act_on_id(struct postsuper *ps, enum action a, const char *id)
{
	const unsigned queues = postsuper_actions[a].queues & ps->queues;
	int rc = -ENOENT;

	for (int tries = 1; tries <= TRIES && rc == -ENOENT; tries++) {
		for (unsigned q = 0; q <= QUEUE_HOLD && rc == -ENOENT; q++) {
			if ((queues & IN(q)) == 0 ||
			    !is_here(ps->command.spool, (enum queue)q, id, tries == TRIES))
				continue;
			rc = q == QUEUE_ACTIVE ? act_on_active(ps, a, id)
					       : act(ps, a, (enum queue)q, id);
		}
		/* It has just come, and has no file yet. */
		if (rc == -ENOENT && tries == 1 && (queues & IN(QUEUE_ACTIVE)) &&
		    postsuper_order(ps, a, id) > 0)
			rc = 0;
	}
	if (rc == -ENOENT)
		return;
	if (rc < 0) {
		postsuper_complain(ps, a, id, rc);
		return;
	}
	ps->done[a]++;
	log_info(ps->command.name, "%s: %s", id, postsuper_actions[a].word);
	postsuper_changed(ps, id);
}

static void
one_id(struct postsuper *ps, const enum action *a, size_t n, const char *id)
{
	if (!spool_id_valid(str_of(id))) {
		log_warn(ps->command.name, "invalid mail queue id: %s", id);
		return;
	}
	postsuper_share(ps);
	for (size_t i = 0; i < n; i++)
		act_on_id(ps, a[i], id);
	postsuper_done(ps);
}

void
postsuper_ids(struct postsuper *ps, const enum action *a, size_t n, const char *what)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	if (strcmp(what, "-") != 0) {
		one_id(ps, a, n, what);
		return;
	}
	/* As Postfix takes it: a line is an id, with every blank in it. */
	while ((len = getline(&line, &room, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		one_id(ps, a, n, line);
	}
	free(line);
}
