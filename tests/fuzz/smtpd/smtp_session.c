/*
 * smtp_session.c - whole SMTP sessions: the real server, with spool and tables, hears any bytes.
 *
 * The first byte chooses one of the configurations, the rest is what the client says before it
 * closes its side. Where the bytes 0xff 0xfd stand, the client pauses until the server has read, so
 * that input can be cut anywhere.
 */
#include <stdint.h>
#define FIXTURE_LOG "%.0s/dev/null"
#include "smtpd_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const configurations[] = {
    "smtpd_forbid_unauth_pipelining = no\n",
    "smtpd_forbid_unauth_pipelining = no\nmessage_size_limit = 200\nsmtpd_recipient_limit = 3\n"
    "smtpd_hard_error_limit = 5\nsmtpd_junk_command_limit = 2\nline_length_limit = 512\n"
    "smtpd_forbid_bare_newline = note\nsmtpd_forbid_bare_newline_exclusions =\n"
    "soft_bounce = yes\n",
    "smtpd_forbid_unauth_pipelining = no\nmynetworks = 10.0.0.0/8\nsmtpd_helo_required = yes\n"
    "strict_rfc821_envelopes = yes\nstrict_smtputf8 = yes\nsmtpd_delay_reject = no\n"
    "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname\n"
    "smtpd_sender_restrictions = reject_non_fqdn_sender\n"
    "smtpd_recipient_restrictions = reject_non_fqdn_recipient, reject_unauth_destination\n"
    "smtpd_data_restrictions = reject_unauth_pipelining, reject_multi_recipient_bounce\n"
    "smtpd_forbid_bare_newline = reject\nsmtpd_forbid_bare_newline_exclusions =\n",
    /* A table in a file: answers come later, from a lane. */
    "smtpd_forbid_unauth_pipelining = no\nrecipient_delimiter = +\n"
    "relay_domains = a.b\nrelay_recipient_maps = texthash:$queue_directory/../access\n"
    "smtpd_restriction_classes = picky\npicky = reject_non_fqdn_sender, defer_if_permit\n"
    "smtpd_helo_restrictions = check_helo_access texthash:$queue_directory/../access\n"
    "smtpd_recipient_restrictions = check_sender_access texthash:$queue_directory/../access,\n"
    " check_recipient_access texthash:$queue_directory/../access, reject_unauth_destination\n"
    "smtpd_end_of_data_restrictions = check_sender_access "
    "texthash:$queue_directory/../access\n",
    "smtputf8_enable = no\nsmtpd_discard_ehlo_keywords = dsn, size\ndisable_vrfy_command = yes\n",
};

static const char access_table[] =
    "r@a.b REJECT no\nd@a.b DEFER 4.2.1 later\nh@a.b HOLD\nx@a.b DISCARD\nc@a.b picky\n"
    "w@a.b warn_if_reject, reject\nl@a.b reject_non_fqdn_sender, permit\nq@a.b 421 bye\n"
    "p@a.b DEFER_IF_PERMIT\nj@a.b DEFER_IF_REJECT\nn@a.b NONSENSE\n<> DUNNO\nevil INFO seen\n"
    "o@a.b 550 5.7.9 x\n1@a.b 123\nf@a.b FILTER smtp:x\n";

static struct fixture fixtures[PP_COUNT(configurations)];

static void
end_all(void)
{
	for (size_t i = 0; i < PP_COUNT(fixtures); i++)
		fixture_stop(&fixtures[i]);
}

static void
begin_all(void)
{
	for (size_t i = 0; i < PP_COUNT(fixtures); i++) {
		fixture_start(&fixtures[i], configurations[i]);
		fixture_write(&fixtures[i], "access", access_table);
	}
	atexit(end_all);
}

/* What the server says is taken as it comes, so that it is never kept waiting. False: it closed. */
static bool
listen_to(int fd, int wait_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	static char sink[65536];
	ssize_t n;
	int rc;

	while ((rc = poll(&pfd, 1, wait_ms)) != 0) {
		if (rc < 0 && errno == EINTR)
			continue; /* the fuzzer's own alarm */
		n = rc < 0 ? rc : read(fd, sink, sizeof(sink));
		if (n <= 0)
			return false;
		PP_ASSERT(sink[0] >= ' ');
	}
	/* A session that says nothing for so long hangs. */
	PP_ASSERT(wait_ms < FIXTURE_WAIT_MS);
	return true;
}

static void
say(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t did = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (did < 0 && errno != EAGAIN)
			return;
		if (did < 0 && !listen_to(fd, 1))
			return;
		p += did > 0 ? did : 0;
		n -= did > 0 ? (size_t)did : 0;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_begun;
	const uint8_t *end = data + size, *cut;
	int fd;

	if (!is_begun)
		begin_all();
	is_begun = true;
	if (size < 1)
		return 0;
	fd = fixture_connect(&fixtures[*data++ % PP_COUNT(fixtures)]);
	while ((cut = memmem(data, (size_t)(end - data), "\xff\xfd", 2)) != NULL) {
		say(fd, data, (size_t)(cut - data));
		data = cut + 2;
		if (!listen_to(fd, 0))
			break;
	}
	say(fd, data, (size_t)(end - data));
	shutdown(fd, SHUT_WR);
	while (listen_to(fd, FIXTURE_WAIT_MS))
		;
	close(fd);
	return 0;
}
