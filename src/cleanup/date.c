/*
 * date.c - the time as mail writes it (RFC 5322 3.3).
 *
 * With the name of the zone as a comment behind the offset, and the day of the month padded with a
 * blank, so that our headers look like Postfix's to whatever parses them.
 */
#include <stdio.h>
#include <time.h>
#include "pp/cleanup/cleanup.h"

struct cleanup_date
cleanup_date(int64_t seconds)
{
	struct cleanup_date d;
	time_t t = (time_t)seconds;
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL ||
	    strftime(d.text, sizeof(d.text), "%a, %e %b %Y %H:%M:%S %z (%Z)", &tm) == 0)
		snprintf(d.text, sizeof(d.text), "Thu,  1 Jan 1970 00:00:00 +0000");
	return d;
}
