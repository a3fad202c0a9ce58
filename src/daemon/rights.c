/*
 * rights.c - who may flush and list the queue: authorized_flush_users, authorized_mailq_users.
 *
 * Postfix's commands ask themselves, with the rights of a set-gid program. Here the daemon asks,
 * with the uid that the kernel gives it, since anybody can write a command. A list that needs the
 * login name, or a table, is asked on the slow lane: the password file may be a directory server.
 */
#include <stdio.h>
#include "internal.h"
#include "pp/base/mem.h"
#include "pp/map/userlist.h"

/* In the order of enum right. */
static const struct {
	const char *parameter, *refusal; /* none: its protocol has no words for it */
} rights[RIGHT_COUNT] = {
    {"authorized_mailq_users", "view the mail queue"},
    {"authorized_mailq_users", NULL},
    {"authorized_flush_users", "flush the mail queue"},
    {"authorized_submit_users", NULL},
};

struct right_ask {
	struct userlist_query query;
	struct daemon *daemon;
	struct control_request *request;
	enum right right;
	right_run *run;
	char *argument;
};

static void
refuse(struct right_ask *ask)
{
	const struct userlist_query *q = &ask->query;
	const char *refusal = rights[ask->right].refusal;

	if (q->result < 0)
		log_warn("master", "%s: look up uid %ld: %s", rights[ask->right].parameter,
		    (long)q->uid, strerror(-q->result));
	if (refusal)
		control_line(ask->request, "error User %s(%ld) is not allowed to %s", q->name,
		    (long)q->uid, refusal);
	control_end(ask->request);
}

static void
answered(struct userlist_query *q)
{
	struct right_ask *ask = PP_CONTAINER(q, struct right_ask, query);

	if (q->result == 1 && !ask->daemon->stopping)
		ask->run(ask->daemon, ask->request, ask->argument);
	else if (q->result == 1)
		control_end(ask->request);
	else
		refuse(ask);
	mem_free(ask->argument);
	mem_free(ask);
}

void
rights_ask(
    struct daemon *d, struct control_request *r, enum right right, const char *arg, right_run *run)
{
	struct userlist *list = d->gen->users[right];
	uid_t uid = control_uid(r);
	struct right_ask *ask;

	if (uid == 0 || uid == d->uid || userlist_is_everybody(list)) {
		run(d, r, arg);
		return;
	}
	ask = MEM_NEW(struct right_ask);
	ask->daemon = d;
	ask->request = r;
	ask->right = right;
	ask->run = run;
	ask->argument = mem_strdup(arg);
	userlist_find(list, d->slow, &ask->query, uid, answered);
}

int
rights_compile(struct generation *g, struct buf *err)
{
	const struct params *p = g->cleanup.config->params;
	const char *const texts[RIGHT_COUNT] = {
	    p->authorized_mailq_users,
	    p->authorized_mailq_users,
	    p->authorized_flush_users,
	    p->authorized_submit_users,
	};
	struct buf why = {.max = 1024};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < RIGHT_COUNT; i++) {
		rc = userlist_new_blk(texts[i], &g->users[i], &why);
		if (rc < 0)
			buf_printf(err, "%s: %s", rights[i].parameter, buf_cstr(&why));
	}
	buf_fini(&why);
	return rc;
}

void
rights_free(struct generation *g)
{
	for (size_t i = 0; i < RIGHT_COUNT; i++)
		userlist_unref(g->users[i]);
}
