/*
 * userlist.c - authorized_flush_users and its like.
 *
 * A list of whole names with its own idea of a key: the login name of a uid, for which the password
 * file (or whatever NSS asks instead of it) has to be read. That may take its time, so only a list
 * that lets everybody in answers without a lane, which is nearly every list there is.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include "pp/base/mem.h"
#include "pp/map/userlist.h"
#include "pp/runtime/snap.h"

enum { PASSWD_MAX = 64 * 1024 };

struct userlist {
	struct snap snap;
	struct domainlist *names;
	bool is_everybody;
};

static void
destroy(struct snap *snap)
{
	struct userlist *l = PP_CONTAINER(snap, struct userlist, snap);

	domainlist_unref(l->names);
	mem_free(l);
}

int
userlist_new_blk(const char *text, struct userlist **ret, struct buf *err)
{
	struct userlist *l = MEM_NEW(struct userlist);
	int rc;

	snap_init(&l->snap, destroy);
	l->is_everybody = str_starts(str_trim(str_of(text)), STR("static:"));
	rc = domainlist_new_blk(text, DOMAINLIST_WHOLE, &l->names, err);
	if (rc < 0)
		userlist_unref(l);
	else
		*ret = l;
	return rc;
}

void
userlist_ref(struct userlist *l)
{
	snap_ref(&l->snap);
}

void
userlist_unref(struct userlist *l)
{
	snap_unref(l ? &l->snap : NULL);
}

bool
userlist_is_everybody(const struct userlist *l)
{
	return l->is_everybody;
}

static int
name_of(uid_t uid, char name[USERLIST_NAME_MAX])
{
	char *memory = mem_alloc(PASSWD_MAX);
	struct passwd pw, *found = NULL;
	int rc = getpwuid_r(uid, &pw, memory, PASSWD_MAX, &found);

	snprintf(name, USERLIST_NAME_MAX, "%s", found ? pw.pw_name : "unknown");
	mem_free(memory);
	/* getpwnam(3): not being there is reported in several ways. */
	return found || rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM ? 0 : -rc;
}

int
userlist_match_blk(struct userlist *l, uid_t uid, char name[USERLIST_NAME_MAX])
{
	int rc = name_of(uid, name);

	if (l->is_everybody)
		return 1;
	return rc < 0 ? rc : domainlist_match_blk(l->names, str_of(name), NULL);
}

static void
query_work(struct lane_job *job)
{
	struct userlist_query *q = PP_CONTAINER(job, struct userlist_query, job);

	q->result = userlist_match_blk(q->list, q->uid, q->name);
}

static void
query_done(struct lane_job *job)
{
	struct userlist_query *q = PP_CONTAINER(job, struct userlist_query, job);
	struct userlist *l = q->list;

	q->list = NULL;
	q->done(q);
	userlist_unref(l);
}

void
userlist_find(struct userlist *l, struct lane *lane, struct userlist_query *q, uid_t uid,
    void (*done)(struct userlist_query *))
{
	userlist_ref(l);
	q->list = l;
	q->uid = uid;
	q->done = done;
	lane_run(lane, domainlist_lane_key(l->names), &q->job, query_work, query_done);
}
