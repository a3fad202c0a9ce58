/*
 * What queue manager and delivery agents have in common: settling recipients, their log lines, and
 * the way of a request back to the loop it came from.
 *
 * A recipient is logged at the moment it is settled, not at the end of the delivery: rejects show
 * up when the server says so, and what a crash leaves behind is a log that tells how far it came.
 */
#include "line.h"
#include "pp/mail/address.h"
#include "pp/runtime/log.h"
#include "pp/runtime/loop.h"
#include <inttypes.h>
#include <stdio.h>

void
delivery_format_delay(char *to, size_t size, int64_t us, unsigned resolution)
{
	int64_t unit = 1000000, floor = us < 0 ? 0 : us;
	unsigned decimals = 0, significant = 2;

	PP_ASSERT(size >= 24 && resolution <= 6);
	/* Whole seconds use up significant digits; below a second, leading zeros do not. */
	for (int64_t s = floor / 1000000; s > 0 && significant > 0; s /= 10)
		significant--;
	while (decimals < resolution && significant > 0) {
		decimals++;
		unit /= 10;
		if (floor >= unit)
			significant--;
	}
	int64_t n = (floor + unit / 2) / unit, scale = 1000000 / unit;
	while (decimals > 0 && n % 10 == 0) {
		n /= 10;
		scale /= 10;
		decimals--;
	}
	if (decimals == 0)
		snprintf(to, size, "%" PRId64, n);
	else
		snprintf(to, size, "%" PRId64 ".%0*" PRId64, n / scale, (int)decimals, n % scale);
}

static void
add_delay(struct buf *to, const char *before, int64_t us)
{
	char text[24];

	delivery_format_delay(text, sizeof text, us, DELIVERY_RESOLUTION);
	buf_adds(to, before);
	buf_adds(to, text);
}

/* delays=a/b/c/d: before the active queue, in it, connection set-up, transmission. */
static void
add_delays(const struct delivery *d, int64_t now, struct buf *to)
{
	int64_t active = d->active_us ? d->active_us : now;
	int64_t start = d->start_us ? d->start_us : now;
	int64_t ready = d->connect_us ? d->connect_us : start;

	add_delay(to, ", delay=", now - d->arrival_us);
	add_delay(to, ", delays=", active - d->arrival_us);
	add_delay(to, "/", start - active);
	add_delay(to, "/", ready - start);
	add_delay(to, "/", now - ready);
}

/* The external form; an address that has none (controls) is shown raw, the log cleans it. */
static void
add_address(struct buf *to, const char *address)
{
	if (*address && address_quote(to, str_of(address)) < 0)
		buf_adds(to, address);
}

static const char *
status_word(const struct status *st)
{
	switch (st->cls) {
	case STATUS_OK:
		return "sent";
	case STATUS_PERM:
		return "bounced";
	case STATUS_TEMP:
	case STATUS_NONE:
		break;
	}
	return "deferred";
}

void
delivery_line(
    const struct delivery *d, const struct delivery_rcpt *r, int64_t now_us, struct buf *to)
{
	const char *orig = r->rcpt.orig;

	buf_printf(to, "%s: to=<", d->queue_id);
	add_address(to, r->rcpt.address);
	if (orig && *orig && !str_caseeq(str_of(orig), str_of(r->rcpt.address))) {
		buf_adds(to, ">, orig_to=<");
		add_address(to, orig);
	}
	buf_printf(to, ">, relay=%s", d->relay ? d->relay : "none");
	if (d->conn_use > 1)
		buf_printf(to, ", conn_use=%u", d->conn_use);
	add_delays(d, d->transmit_us ? d->transmit_us : now_us, to);
	buf_printf(
	    to, ", dsn=%s, status=%s (", status_dsn(&r->status).text, status_word(&r->status));
	buf_adds(to, r->status.text ? r->status.text : "");
	buf_addc(to, ')');
}

void
delivery_log(const struct delivery *d, const struct delivery_rcpt *r, const char *program)
{
	struct buf line;

	buf_init(&line, DELIVERY_LINE_MAX);
	delivery_line(d, r, loop_wall_us(), &line);
	log_info(program, "%s", buf_cstr(&line));
	buf_fini(&line);
}

void
delivery_taken(const struct delivery *d, const struct delivery_rcpt *r)
{
	if (d->sign)
		d->sign(d->receipt, (size_t)(r - d->rcpt));
}

void
delivery_settle(struct delivery *d, struct delivery_rcpt *r, const struct status *st)
{
	PP_ASSERT(r->status.cls == STATUS_NONE && st->cls != STATUS_NONE);
	if (st->cls == STATUS_OK)
		delivery_taken(d, r);
	r->status = status_copy(&d->arena, st);
	if (d->filter)
		delivery_filter(d, r);
	else
		delivery_settled(d, r);
}

void
delivery_settled(struct delivery *d, struct delivery_rcpt *r)
{
	delivery_log(d, r, d->program ? d->program : d->transport);
	r->logged = true;
}

void
delivery_settle_rest(struct delivery *d, const struct status *st)
{
	for (size_t i = 0; i < d->rcpt_count; i++)
		if (d->rcpt[i].status.cls == STATUS_NONE)
			delivery_settle(d, &d->rcpt[i], st);
}

static void
arrive_home(struct post *p)
{
	struct delivery *d = PP_CONTAINER(p, struct delivery, post);

	d->done(d);
}

void
delivery_done(struct delivery *d)
{
	for (size_t i = 0; i < d->rcpt_count; i++)
		PP_ASSERT(d->rcpt[i].status.cls != STATUS_NONE);
	d->is_done = true;
	if (d->filtering > 0)
		return;
	post_to(d->home, &d->post, arrive_home);
}
