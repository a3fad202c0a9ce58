/*
 * Addresses and domains in UTF-8, RFC 6531.
 *
 * DNS knows A-labels only, and a server without SMTPUTF8 can still be sent an address whose domain
 * alone is not ASCII. Both forms are made before the first look-up, on a lane, for the few mails
 * that have such a domain; what has none costs a look at its bytes. What cannot be converted stays
 * as it is: the name is not found then, or the server is told to have no SMTPUTF8.
 */
#include "internal.h"
#include "pp/mail/address.h"
#include "pp/mail/utf8.h"
#include "pp/net/idna.h"
#include "pp/runtime/lane.h"

/* The addresses of the envelope, then the hosts of the hops. The lane's while it runs. */
struct smtp_international {
	struct lane_job lane;
	struct smtp_job *owner; /* NULL: it has gone */
	struct arena arena;
	size_t n, addresses; /* the rest are hosts */
	const char **text,
	    **ascii; /* ascii: NULL where there is nothing to do, or it cannot be done */
	void (*done)(struct smtp_job *j);
	bool is_running;
};

const char *
smtp_envelope(const struct smtp_job *j, size_t i)
{
	if (j->mapped)
		return j->mapped[i];
	return i == 0 ? j->d->sender : j->d->rcpt[i - 1].rcpt.address;
}

const char *
smtp_envelope_for(const struct smtp_job *j, size_t i)
{
	const struct smtp_international *in = j->international;

	if (in && in->ascii[i] && !(j->session->ehlo.ext & ESMTP_SMTPUTF8))
		return in->ascii[i];
	return smtp_envelope(j, i);
}

bool
smtp_envelope_is_utf8(const struct smtp_job *j, size_t i)
{
	return utf8_has_8bit(str_of(smtp_envelope_for(j, i)));
}

static void
convert(struct smtp_international *in, size_t i, bool is_address)
{
	struct str local = {0}, domain = str_of(in->text[i]);
	struct buf to = {.max = 1024};

	if (is_address && !address_split(domain, &local, &domain))
		return;
	if (utf8_has_8bit(local) || !utf8_has_8bit(domain))
		return;
	if (is_address) {
		buf_add(&to, local);
		buf_addc(&to, '@');
	}
	if (idna_ascii_blk(arena_str(&in->arena, domain), &to) == 0)
		in->ascii[i] = arena_str(&in->arena, buf_str(&to));
	buf_fini(&to);
}

static void
work(struct lane_job *job)
{
	struct smtp_international *in = PP_CONTAINER(job, struct smtp_international, lane);
	for (size_t i = 0; i < in->n; i++)
		convert(in, i, i < in->addresses);
}

static void
done(struct lane_job *job)
{
	struct smtp_international *in = PP_CONTAINER(job, struct smtp_international, lane);
	struct smtp_job *j = in->owner;

	in->is_running = false;
	if (!j) {
		smtp_international_free(in);
		return;
	}
	for (size_t i = 0; i < j->hop_count; i++)
		if (in->ascii[j->d->rcpt_count + 1 + i])
			j->hops[i].host = in->ascii[j->d->rcpt_count + 1 + i];
	in->done(j);
}

static bool
is_needed(const struct smtp_job *j)
{
	if (!j->svc->p->smtputf8_enable)
		return false;
	for (size_t i = 0; i <= j->d->rcpt_count; i++)
		if (utf8_has_8bit(str_of(smtp_envelope(j, i))))
			return true;
	for (size_t i = 0; i < j->hop_count; i++)
		if (!j->hops[i].is_unix && utf8_has_8bit(str_of(j->hops[i].host)))
			return true;
	return false;
}

void
smtp_international_start(struct smtp_job *j, void (*go_on)(struct smtp_job *j))
{
	struct smtp_international *in;
	size_t n = j->d->rcpt_count + 1;

	if (!is_needed(j)) {
		go_on(j);
		return;
	}
	in = MEM_NEW(struct smtp_international);
	in->owner = j;
	in->done = go_on;
	in->n = n + j->hop_count;
	in->addresses = n;
	in->text = arena_alloc(&in->arena, in->n * sizeof *in->text);
	in->ascii = arena_alloc(&in->arena, in->n * sizeof *in->ascii);
	for (size_t i = 0; i < in->n; i++)
		in->text[i] =
		    arena_strdup(&in->arena, i < n ? smtp_envelope(j, i) : j->hops[i - n].host);
	j->international = in;
	in->is_running = true;
	lane_run(j->smtp->slow, lane_key(j->d->queue_id), &in->lane, work, done);
}

void
smtp_international_free(struct smtp_international *in)
{
	if (!in)
		return;
	in->owner = NULL;
	if (in->is_running)
		return;
	arena_fini(&in->arena);
	mem_free(in);
}

/* Without the client's word for it the mail goes as it came, as from Postfix: servers that are
 * clean to 8 bits take it. */
bool
smtp_international_refuses(struct smtp_job *j, size_t rcpt)
{
	struct status st;

	if (!(j->d->utf8 & UTF8_REQUESTED) || (j->session->ehlo.ext & ESMTP_SMTPUTF8) ||
	    (!smtp_envelope_is_utf8(j, 0) && !smtp_envelope_is_utf8(j, rcpt + 1)))
		return false;
	st = smtp_error_utf8(&j->arena, j->session->peer);
	smtp_job_decide(j, rcpt, &st);
	return true;
}
