/*
 * sendmail.c - the command that programs submit mail with; also mailq and newaliases.
 *
 * A submission is handed over to the daemon, or is a file in maildrop: that works while the daemon
 * is down. Neither needs a privilege but the right to write there, and the mail is safe when this
 * command exits with 0. Exit codes are those of sysexits.h, so that a program can tell "wrong" from
 * "try again".
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "common.h"
#include "pp/command/command.h"
#include "pp/control/client.h"
#include "pp/mail/address_list.h"
#include "pp/mail/utf8.h"
#include "pp/runtime/log.h"
#include "rights.h"
#include "sendmail.h"

extern char **environ;

enum { FULLNAME_MAX = 250, PASSWD_MIN = 1024, PASSWD_MAX = 64 * 1024 };

/* The directory of a -C, which may name main.cf itself as old scripts do. */
static const char *
option_dir(struct sendmail *sm)
{
	struct str dir = str_of(sm->o.config_dir);

	if (dir.n == 0)
		return NULL;
	if (str_ends(dir, STR("/main.cf")))
		dir.n -= 8;
	return arena_str(&sm->arena, dir);
}

static int
load(struct config_source *src, struct config **ret)
{
	struct config_report report;
	struct buf text;
	int rc;

	config_report_init(&report);
	rc = config_load(src, ret, &report);
	buf_init(&text, 16 * 1024);
	for (struct config_note *n = report.first; rc < 0 && n; n = n->next) {
		if (!n->is_error)
			continue;
		buf_clear(&text);
		config_note_text(n, &text);
		log_fatal("sendmail", "%s", buf_cstr(&text));
	}
	buf_fini(&text);
	config_report_fini(&report);
	return rc < 0 ? EX_CONFIG : 0;
}

static int
load_config(struct sendmail *sm)
{
	struct config_source src = {.environ = environ, .is_root = geteuid() == 0, .is_mute = true};
	const char *option = option_dir(sm);
	int rc;

	src.dir = config_dir(option, environ, &src.is_dir_required);
	if (option && !command_dir_allowed("sendmail", option))
		return EX_NOPERM;
	rc = load(&src, &sm->config);
	if (rc == 0) {
		sm->params = sm->config->params;
		log_setup(&(struct log_options){
		    .syslog_name = sm->params->syslog_name,
		    .host = sm->params->myhostname,
		    .to_stderr = 1,
		});
	}
	return rc;
}

/* The login name of the real user and what the password file calls it. */
static void
find_user(struct sendmail *sm, struct str *ret_gecos)
{
	struct passwd pw, *found = NULL;
	size_t n = PASSWD_MIN;
	int rc;

	*ret_gecos = STR("");
	do { /* most need little, and clearing 64 KiB is felt */
		rc = getpwuid_r(getuid(), &pw, arena_alloc(&sm->arena, n), n, &found);
		n *= 4;
	} while (rc == ERANGE && n <= PASSWD_MAX);
	if (rc != 0 || found == NULL) {
		/* A container's arbitrary uid: mail has to have a sender all the same. */
		sm->login = arena_printf(&sm->arena, "uid-%ld", (long)getuid());
		return;
	}
	sm->login = pw.pw_name;
	if (pw.pw_gecos)
		*ret_gecos = str_head(str_of(pw.pw_gecos), str_index(str_of(pw.pw_gecos), ','));
}

/* -F, NAME, or the password file, where & stands for the login name. */
static const char *
fullname(struct sendmail *sm, const char *name_variable, struct str gecos)
{
	struct buf b;
	char *name;

	if (sm->o.fullname)
		return sm->o.fullname;
	if (name_variable)
		return name_variable;
	buf_init(&b, FULLNAME_MAX);
	for (size_t i = 0; i < gecos.n; i++) {
		if (gecos.p[i] != '&') {
			buf_addc(&b, gecos.p[i]);
			continue;
		}
		buf_addc(&b, sm->login[0] >= 'a' && sm->login[0] <= 'z'
				 ? (char)(sm->login[0] - ('a' - 'A'))
				 : sm->login[0]);
		buf_adds(&b, sm->login + (sm->login[0] != '\0'));
	}
	name = arena_str(&sm->arena, buf_str(&b));
	buf_fini(&b);
	return name;
}

static const char *
clean_fullname(struct sendmail *sm, const char *name)
{
	char *clean = arena_str(&sm->arena, str_head(str_trim(str_of(name)), FULLNAME_MAX));

	utf8_clean(clean, strlen(clean));
	return clean;
}

/* The sender of -f, which may be a whole From header. */
static const char *
sender(struct sendmail *sm)
{
	const char *arg = sm->o.sender;
	struct address_mailbox first, second;
	struct address_list list;

	if (arg == NULL)
		return sm->login;
	if (str_trim(str_of(arg)).n == 0)
		return "";
	address_list_init(&list, str_of(arg));
	if (address_list_next(&list, &sm->arena, &first) > 0 &&
	    address_list_next(&list, &sm->arena, &second) == 0 &&
	    (first.address[0] == '\0' || address_valid(str_of(first.address))))
		return first.address;
	log_warn("sendmail", "-f option specified malformed sender: %s", arg);
	return sm->login;
}

/* Writes the recipients of the command line. What cannot be read as an address is still one that
 * somebody wants mail sent to: it comes back as a bounce instead of getting lost here. */
static void
put_recipients(struct sendmail *sm, struct sendmail_drop *d)
{
	for (size_t i = 0; i < sm->rcpt_count; i++)
		sendmail_drop_rcpt(d, sm->o.notify, NULL, sm->rcpt[i]);
}

static int
parse_recipients(struct sendmail *sm, char **words, size_t n)
{
	char **list = mem_alloc((n + 1) * sizeof(*list));
	size_t count = 0, cap = n + 1;

	for (size_t i = 0; i < n; i++) {
		struct address_list it;
		struct address_mailbox m;
		bool any = false;

		address_list_init(&it, str_of(words[i]));
		while (address_list_next(&it, &sm->arena, &m) > 0) {
			if (count == cap)
				list = mem_realloc(list, (cap *= 2) * sizeof(*list));
			any = true;
			if (m.address[0] != '\0')
				list[count++] = (char *)(uintptr_t)m.address;
		}
		if (count == cap)
			list = mem_realloc(list, (cap *= 2) * sizeof(*list));
		if (it.bad.n > 0)
			list[count++] = arena_str(&sm->arena, it.bad);
		else if (!any && str_trim(str_of(words[i])).n > 0)
			list[count++] = words[i];
	}
	sm->rcpt = list;
	sm->rcpt_count = count;
	if (count > 0 || sm->o.extract)
		return 0;
	log_fatal("sendmail",
	    "%s(%ld): Recipient addresses must be specified on the command line "
	    "or via the -t option",
	    sm->login, (long)getuid());
	return EX_USAGE;
}

static int
check_allowed(struct sendmail *sm)
{
	struct buf err;
	int rc;

	buf_init(&err, 2048);
	rc = rights_check(sm->params, "authorized_submit_users",
	    sm->params->authorized_submit_users, "submit mail", &err);
	if (rc != 1)
		log_fatal("sendmail", "%s", buf_cstr(&err));
	buf_fini(&err);
	return rc < 0 ? EX_TEMPFAIL : rc == 0 ? EX_NOPERM : 0;
}

int
sendmail_spool(struct sendmail *sm)
{
	const struct params *p = sm->params;
	struct spool_options o = {
	    .directory = p->queue_directory,
	    .hash_queue_names = p->hash_queue_names,
	    .hash_queue_depth = (int)p->hash_queue_depth,
	    .long_ids = p->enable_long_queue_ids,
	};
	struct buf err;
	int rc;

	if (sm->spool)
		return 0;
	buf_init(&err, 1024);
	rc = spool_open(&o, false, (uid_t)-1, (gid_t)-1, &sm->spool, &err);
	if (rc < 0)
		log_fatal("sendmail", "%s", buf_cstr(&err));
	buf_fini(&err);
	return rc < 0 ? EX_TEMPFAIL : 0;
}

/* The mail is safe already; whoever does not hear this looks into maildrop once a minute. */
void
sendmail_wake(const struct sendmail *sm)
{
	int fd = control_connect(sm->params->queue_directory, CONTROL_SOCKET, 1000);

	if (fd >= 0)
		fsio_write(fd, STR("wakeup-pickup\n"));
	fsio_close(fd);
}

static int
submit(struct sendmail *sm, const char *name)
{
	const char *verp = sm->o.verp;
	struct sendmail_drop d;
	struct envelope e = {
	    .sender = sender(sm),
	    .fullname = clean_fullname(sm, name),
	    .envid = sm->o.envid,
	    .ret = sm->o.ret,
	    .trace_flags = sm->o.trace_flags,
	    .encoding = sm->o.encoding,
	    .verp = verp && verp[0] == '\0' ? sm->params->default_verp_delimiters : verp,
	    .origin.local = !sm->o.gateway,
	};
	int rc;

	sendmail_drop_open(&d, sm);
	sendmail_drop_envelope(&d, &e);
	put_recipients(sm, &d);
	rc = sendmail_input(sm, &d);
	if (rc != 0) {
		sendmail_drop_abort(&d);
		return rc;
	}
	return sendmail_drop_end(&d);
}

static int
run_submission(struct sendmail *sm, char **words, size_t n, const char *name_variable)
{
	struct str gecos;
	const char *name;
	int rc;

	find_user(sm, &gecos);
	name = fullname(sm, name_variable, gecos);
	rc = check_allowed(sm);
	if (rc == 0 && sm->o.mode != 's')
		rc = parse_recipients(sm, words, n);
	if (rc != 0)
		return rc;
	sendmail_drop_signals();
	return sm->o.mode == 's' ? sendmail_smtp(sm) : submit(sm, name);
}

/* -bp, -q: postqueue does it. */
static int
run_postqueue(struct sendmail *sm)
{
	const char *args[6] = {"postqueue"}, *dir = option_dir(sm);
	int n = 1;

	if (dir) {
		args[n++] = "-c";
		args[n++] = dir;
	}
	args[n++] = sm->o.mode == 'p'  ? "-p"
		    : sm->o.flush_id   ? "-i"
		    : sm->o.flush_site ? "-s"
				       : "-f";
	if (sm->o.flush_id || sm->o.flush_site)
		args[n++] = sm->o.flush_id ? sm->o.flush_id : sm->o.flush_site;
	return postqueue_main(n, (char **)(uintptr_t)args);
}

/* What makes no sense while no mail is submitted. */
static int
check_unused(const struct sendmail *sm, size_t words)
{
	if (sm->o.extract)
		log_fatal("sendmail", "-t can be used only in delivery mode");
	else if (words > 0)
		log_fatal("sendmail", "%s queue mode requires no recipient",
		    sm->o.mode == 'p' ? "display" : "flush");
	return sm->o.extract || words > 0 ? EX_USAGE : 0;
}

static int
run_newaliases(struct sendmail *sm, size_t words)
{
	if (words == 0)
		return command_newaliases(option_dir(sm));
	log_fatal("sendmail", "alias initialization mode requires no recipient");
	return EX_USAGE;
}

static int
run(struct sendmail *sm, char **words, size_t n, const char *name_variable)
{
	int rc;

	switch (sm->o.mode) {
	case 'p':
	case 'q':
		rc = check_unused(sm, n);
		return rc != 0 ? rc : run_postqueue(sm);
	case 'i':
		return run_newaliases(sm, n);
	case 'n':
		if (n == 0 && !sm->o.extract)
			return 0;
		break;
	default:
		break;
	}
	rc = load_config(sm);
	return rc != 0 ? rc : run_submission(sm, words, n, name_variable);
}

static char
mode_of_name(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return strcmp(name, "mailq") == 0 ? 'p' : strcmp(name, "newaliases") == 0 ? 'i' : 'm';
}

int
sendmail_main(int argc, char **argv)
{
	struct sendmail sm = {.o.mode = mode_of_name(argc > 0 ? argv[0] : "")};
	const char *name_variable = getenv("NAME");
	int first, rc;

	/* Before anything of the environment could matter. */
	command_environment();
	log_setup(&(struct log_options){.syslog_name = "postfix", .to_stderr = 1});
	rc = sendmail_options(argc, argv, &sm.o, &first);
	if (rc == 0)
		rc = run(&sm, argv + first, (size_t)(argc - first), name_variable);
	mem_free((void *)(uintptr_t)sm.rcpt);
	if (sm.spool)
		spool_close(sm.spool);
	if (sm.config)
		snap_unref(&sm.config->snap);
	arena_fini(&sm.arena);
	return rc;
}
