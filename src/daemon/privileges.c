/*
 * privileges.c - root only until everything is bound and opened, and then never again.
 *
 * The change happens before the first thread, so no thread can keep what the others gave up, and
 * it is checked by trying to take it back.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "internal.h"
#include "pp/base/mem.h"

enum { DB_LINE_MAX = 64 * 1024 };

static bool
user_find(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	char *line = mem_alloc(DB_LINE_MAX);
	struct passwd pw, *found = NULL;
	bool is_there = getpwnam_r(name, &pw, line, DB_LINE_MAX, &found) == 0 && found != NULL;

	if (is_there) {
		*ret_uid = pw.pw_uid;
		*ret_gid = pw.pw_gid;
	}
	mem_free(line);
	return is_there;
}

static bool
group_find(const char *name, gid_t *ret)
{
	char *line = mem_alloc(DB_LINE_MAX);
	struct group gr, *found = NULL;
	bool is_there = getgrnam_r(name, &gr, line, DB_LINE_MAX, &found) == 0 && found != NULL;

	if (is_there)
		*ret = gr.gr_gid;
	mem_free(line);
	return is_there;
}

static void say(const struct say *s, bool is_error, const char *fmt, ...) PP_PRINTF(3, 4);
/* maildrop/ and public/ are closed to all but a group only where our binary is set-gid to it, as
 * Postfix's postdrop is. Otherwise nobody but root could submit mail: they are open then, maildrop/
 * sticky and unreadable, and pickup trusts nothing that lies there. */
static bool
is_setgid_to(gid_t group)
{
	struct stat st;

	return stat("/proc/self/exe", &st) == 0 && (st.st_mode & S_ISGID) && st.st_gid == group;
}

static void
say(const struct say *s, bool is_error, const char *fmt, ...)
{
	struct buf b = {.max = 4096};
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	s->line(s->ctx, is_error, buf_cstr(&b));
	buf_fini(&b);
}

int
privileges_find_owner(const struct config *cfg, uid_t *ret_uid, gid_t *ret_gid,
    gid_t *ret_setgid_group, const struct say *s)
{
	static const char *const others[] = {"pennypost", "nobody"};
	const char *owner = cfg->params->mail_owner, *group = cfg->params->setgid_group;
	bool has_group;

	*ret_setgid_group = (gid_t)-1;
	if (geteuid() != 0) {
		*ret_uid = geteuid();
		*ret_gid = getegid();
		return 0;
	}
	has_group = group_find(group, ret_setgid_group);
	/* The default's group comes with Postfix, and is not missed without it. */
	if (!has_group && strcmp(config_origin(cfg, "setgid_group"), "default") != 0) {
		say(s, true,
		    "%s: setgid_group = %s: no such group: create it (groupadd --system %s) or "
		    "name another",
		    config_origin(cfg, "setgid_group"), group, group);
		return -EINVAL;
	}
	if (!has_group || !is_setgid_to(*ret_setgid_group))
		*ret_setgid_group = (gid_t)-1;
	if (user_find(owner, ret_uid, ret_gid)) {
		if (*ret_uid != 0)
			return 0;
		say(s, true, "%s: mail_owner = %s is root: name a user of its own",
		    config_origin(cfg, "mail_owner"), owner);
		return -EINVAL;
	}
	if (strcmp(config_origin(cfg, "mail_owner"), "default") != 0) {
		say(s, true,
		    "%s: mail_owner = %s: no such user: create it (useradd --system "
		    "--no-create-home "
		    "--shell /usr/sbin/nologin %s) or name another",
		    config_origin(cfg, "mail_owner"), owner, owner);
		return -EINVAL;
	}
	for (size_t i = 0; i < PP_COUNT(others); i++)
		if (user_find(others[i], ret_uid, ret_gid)) {
			say(s, false, "no user \"%s\" (mail_owner): running as \"%s\"", owner,
			    others[i]);
			return 0;
		}
	say(s, true, "no user \"%s\" (mail_owner), and none to take instead: create it", owner);
	return -EINVAL;
}

int
privileges_drop(uid_t uid, gid_t gid, struct buf *err)
{
	/* Never may a mail system's memory, with its passwords, end up in a core file. */
	prctl(PR_SET_DUMPABLE, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		goto fail;
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		goto fail;
	PP_ASSERT(setuid(0) < 0 && geteuid() == uid);
	/* After a change of user the kernel forbids reading /proc/self again; the commands' status
	 * and the tests need nothing of it. */
	return 0;
fail:
	buf_printf(err, "giving up root for uid %ld: %s", (long)uid, strerror(errno));
	return -EPERM;
}
