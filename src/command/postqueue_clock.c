/*
 * postqueue_clock.c - local time of a hundred thousand messages, without asking for each.
 *
 * The zones of this century change their clocks at full quarters of an hour of UTC. That is not
 * believed but asked: a quarter counts as uniform when its first and its last second have the same
 * offset from UTC, and the date that this offset gives is the library's. Any other is asked for
 * message by message. So it is right across changes of the clocks, and for zones with odd offsets
 * or leap seconds.
 */
#include <stdio.h>
#include <string.h>
#include "postqueue.h"

enum { SPAN = 15 * 60, HOUR = 3600, DAY = 24 * HOUR };

void
local_clock_init(struct local_clock *c)
{
	for (size_t i = 0; i < CLOCK_SPANS; i++)
		c->spans[i].start = -1;
	for (size_t i = 0; i < CLOCK_DAYS; i++)
		c->days[i].day = -1;
}

static bool
local_offset(int64_t when, int64_t *ret)
{
	time_t t = (time_t)when;
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL)
		return false;
	*ret = tm.tm_gmtoff;
	return when + tm.tm_gmtoff >= 0 &&
	       (when + tm.tm_gmtoff) % DAY == tm.tm_hour * HOUR + tm.tm_min * 60 + tm.tm_sec;
}

static void
text_asked_for(int64_t when, char to[CLOCK_TEXT])
{
	time_t t = (time_t)when;
	char text[32];

	memset(to, ' ', CLOCK_TEXT);
	if (ctime_r(&t, text) == NULL)
		to[0] = '?';
	else
		memcpy(to, text, CLOCK_TEXT);
}

/* "Sat Nov 21 " */
static const char *
day_text(struct local_clock *c, int64_t day)
{
	size_t i = (size_t)day % CLOCK_DAYS;
	time_t t = (time_t)(day * DAY);
	struct tm tm;
	char text[32];

	if (c->days[i].day == day)
		return c->days[i].text;
	if (gmtime_r(&t, &tm) == NULL || asctime_r(&tm, text) == NULL)
		return NULL;
	memcpy(c->days[i].text, text, 11);
	c->days[i].day = day;
	return c->days[i].text;
}

static char *
two_digits(char *to, int64_t n)
{
	to[0] = (char)('0' + n / 10);
	to[1] = (char)('0' + n % 10);
	return to + 2;
}

void
local_clock_text(struct local_clock *c, int64_t when, char to[CLOCK_TEXT])
{
	int64_t start = when - when % SPAN, last, local, second;
	size_t i = (size_t)(start / SPAN) % CLOCK_SPANS;
	const char *day;

	if (when < 0) {
		text_asked_for(when, to);
		return;
	}
	if (c->spans[i].start != start) {
		c->spans[i].start = start;
		c->spans[i].is_uniform = local_offset(start, &c->spans[i].offset) &&
					 local_offset(start + SPAN - 1, &last) &&
					 last == c->spans[i].offset;
	}
	local = when + c->spans[i].offset;
	day = c->spans[i].is_uniform ? day_text(c, local / DAY) : NULL;
	if (day == NULL) {
		text_asked_for(when, to);
		return;
	}
	second = local % DAY;
	memcpy(to, day, 11);
	two_digits(to + 11, second / HOUR)[0] = ':';
	two_digits(to + 14, second / 60 % 60)[0] = ':';
	two_digits(to + 17, second % 60)[0] = ' ';
}
