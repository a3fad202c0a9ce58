/*
 * smtp_reply_filter: lines of a server's replies, changed by a table before anybody reads them.
 *
 * Each line is asked about by itself, without its end. Meanwhile nothing is read, so that a server
 * which says its last word and closes is heard out. A line that is longer than any reply passes as
 * it is.
 */
#include "internal.h"
#include "pp/runtime/log.h"

static void
use(struct smtp_session *ss, struct str value)
{
	buf_clear(&ss->line);
	for (size_t i = 0; i < value.n; i++)
		buf_addc(&ss->line, value.p[i] == '\n' || value.p[i] == '\r' ? ' ' : value.p[i]);
	buf_adds(&ss->line, "\r\n");
}

static void
answered(struct map_query *q)
{
	struct smtp_session *ss = PP_CONTAINER(q, struct smtp_session, filter);

	if (q->result > 0)
		use(ss, buf_str(&q->value));
	else if (q->result < 0)
		log_warn(ss->o.svc->program, "smtp_reply_filter: %s", buf_cstr(&q->value));
	map_query_fini(q);
	ss->is_filtering = false;
	smtp_session_enter(ss);
	if (ss->state != SMTP_DEAD) {
		stream_resume(ss->stream);
		smtp_session_read(ss);
	}
	smtp_session_leave(ss);
}

struct str
smtp_session_filter(struct smtp_session *ss)
{
	struct str in = stream_in(ss->stream);
	size_t lf = str_index(in, '\n');

	if (ss->line.n > 0 || ss->is_filtering || in.n == 0 ||
	    (lf == in.n && in.n < REPLY_LINE_MAX))
		return ss->is_filtering ? (struct str){0} : buf_str(&ss->line);
	buf_add(
	    &ss->line, lf < REPLY_LINE_MAX ? str_head(in, lf + 1) : str_head(in, REPLY_LINE_MAX));
	stream_consume(ss->stream, buf_str(&ss->line).n);
	if (lf >= REPLY_LINE_MAX)
		return buf_str(&ss->line);
	buf_clear(&ss->asked);
	buf_add(&ss->asked, str_trim(buf_str(&ss->line)));
	ss->filter_key.text = buf_str(&ss->asked);
	ss->is_filtering = true;
	stream_pause(ss->stream);
	map_find(
	    ss->o.svc->reply_filter, ss->smtp->slow, &ss->filter, &ss->filter_key, 1, answered);
	return (struct str){0};
}
