/*
 * userlist.h - authorized_*_users: which users of this machine may do something.
 * THREAD userlist_is_everybody any. userlist_match_blk: on the lane under the list's key (which
 *        userlist_find sees to), or in a command. userlist_find on a loop, always on the same lane.
 * OWNS   _new_blk gives one reference, _ref and _unref count them.
 * ERRORS -EINVAL or the errno of a /file; err says which element is wrong.
 */
#pragma once
#include <sys/types.h>
#include "pp/map/matchlist.h"

struct userlist;

enum { USERLIST_NAME_MAX = 256 };

/* Login names, !name, /file, !/file, type:table; the first match decides, case does not. */
int userlist_new_blk(const char *text, struct userlist **ret, struct buf *err);
void userlist_ref(struct userlist *l);
void userlist_unref(struct userlist *l);
/* It begins with a table static: as the default does, so nobody has to be looked up. */
bool userlist_is_everybody(const struct userlist *l);
/* 1, 0, -errno. The name is that of the password file, "unknown" for who is not in it. */
int userlist_match_blk(struct userlist *l, uid_t uid, char name[USERLIST_NAME_MAX]);

struct userlist_query {
	struct lane_job job;
	struct userlist *list;
	uid_t uid;
	char name[USERLIST_NAME_MAX]; /* of the user, when done */
	int result;                   /* 1, 0, -errno */
	void (*done)(struct userlist_query *q);
};

/* done comes once, on this loop, never inside. */
void userlist_find(struct userlist *l, struct lane *lane, struct userlist_query *q, uid_t uid,
    void (*done)(struct userlist_query *));
