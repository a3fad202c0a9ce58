/*
 * How long a server may take: for what is due next, and for all of a message together.
 *
 * Every wait of a session is a deadline of its stream, which traffic does not extend. Each is cut
 * to what is left of the whole, so the whole needs no timer of its own.
 */
#include "internal.h"

void
smtp_session_expect(struct smtp_session *ss, int64_t timeout_ms)
{
	ss->timeout = timeout_ms;
	smtp_session_deadline(ss, timeout_ms);
}

void
smtp_session_deadline(struct smtp_session *ss, int64_t timeout_ms)
{
	int64_t left = ss->until - loop_now(ss->smtp->loop);

	if (ss->until > 0 && ss->job && left < timeout_ms)
		timeout_ms = left > 0 ? left : 1;
	stream_deadline(ss->stream, timeout_ms);
}

/* A server that answers each command just in time would have a place among our deliveries for
 * hours. A long message has the time that its bytes take at the lowest rate besides. */
void
smtp_session_begin(struct smtp_session *ss)
{
	const struct params *p = ss->o.svc->p;
	int64_t rate = p->smtp_min_data_rate > 0 ? p->smtp_min_data_rate : 1;

	ss->until = 0;
	if (p->smtp_transaction_time_limit > 0)
		ss->until = loop_now(ss->smtp->loop) + p->smtp_transaction_time_limit +
			    ss->job->d->content_length * 1000 / rate;
}
