/*
 * bulk_logs.c - takes away the logs of deleted messages.
 *
 * By the id of each message that was deleted, never by what is in a log directory: the logs of mail
 * that lives on are being appended to at this moment. Directories without any file (bounce and
 * trace, mostly) are not asked at all.
 */
#include <errno.h>
#include "bulk_internal.h"

enum { LOGS = 3 };
static const enum queue log_queues[LOGS] = {QUEUE_BOUNCE, QUEUE_DEFER, QUEUE_TRACE};

unsigned
bulk_logs_present(const struct spool *s)
{
	unsigned present = 0;

	for (unsigned i = 0; i < LOGS; i++) {
		struct names names;
		struct name n;

		if (names_open(&names, s, log_queues[i]) == 0 && names_next(&names, &n) == 1)
			present |= 1u << log_queues[i];
		names_close(&names);
	}
	return present;
}

int
bulk_logs_unlink(const struct spool *s, unsigned present, const char *id)
{
	char path[SPOOL_PATH_MAX];
	int rc = 0;

	for (unsigned i = 0; i < LOGS; i++) {
		int one;

		if ((present & 1u << log_queues[i]) == 0)
			continue;
		spool_path(s, log_queues[i], id, path);
		one = fsio_unlink(s->dirfd, path);
		if (one < 0 && one != -ENOENT && rc == 0)
			rc = one;
	}
	return rc;
}
