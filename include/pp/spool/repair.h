/*
 * repair.h - putting a spool in order: at start, and for postsuper -s -p.
 * THREAD *_blk: before the loops start, lanes, commands.
 * OWNS   nothing; what a note points to lives until the callback returns.
 * ERRORS 0 or -errno of what stopped the walk; what fails for one file is told in its note.
 */
#pragma once
#include "pp/spool/spool.h"

enum repair_what {
	REPAIR_REQUEUED,          /* left in active by a daemon that ended: now `to` in incoming */
	REPAIR_PURGED,            /* a half-written file that nobody finished */
	REPAIR_MOVED,             /* lay in another directory than its id is hashed to: now `to` */
	REPAIR_FINISHED,          /* a rename of an earlier repair was completed: now `to` */
	REPAIR_REMOVED,           /* no regular file */
	REPAIR_REMOVED_DIRECTORY, /* empty, and nothing is hashed to it */
	REPAIR_ORPHAN,            /* a log without a message: removed */
	REPAIR_BOGUS,             /* no id; left alone */
	REPAIR_CORRUPT,           /* now `to` in corrupt */
	REPAIR_MODE, /* a directory whose owner or mode is not what it should be: `to` says what */
};

/* One thing that was done, or could not be (rc < 0). */
struct repair_note {
	enum repair_what what;
	const char *path; /* below the queue directory */
	const char *to;   /* or NULL */
	int rc;
};
typedef void repair_tell(void *ctx, const struct repair_note *note);

/* All of active goes to incoming, modification time `now`. Before the first scan of a start. */
int repair_active_blk(const struct spool *s, int64_t now, repair_tell *tell, void *ctx);
/* Files of `q` that never got ready and were last touched more than 7 days before `now`. */
int
repair_purge_blk(const struct spool *s, enum queue q, int64_t now, repair_tell *tell, void *ctx);
/* One that spool_scan_any_blk has met, which so costs no walk of its own. True = it is gone. */
bool repair_purge_one_blk(
    const struct spool *s, const struct spool_entry *e, int64_t now, repair_tell *tell, void *ctx);
/* Files of `q` (a message queue or a log) to where their id is hashed; odd things out. */
int repair_structure_blk(const struct spool *s, enum queue q, repair_tell *tell, void *ctx);
/* Logs of `q` last written before `before` whose message is in no queue. */
int repair_orphans_blk(
    const struct spool *s, enum queue q, int64_t before, repair_tell *tell, void *ctx);
/* Owners and modes of the directories; changes nothing. */
int repair_check_blk(const struct spool *s, uid_t uid, gid_t gid, repair_tell *tell, void *ctx);
/* Moves a message to corrupt/; a name that is taken there gets .1, .2 ... behind it. */
int repair_corrupt_blk(
    const struct spool *s, enum queue q, const char *id, char ret_path[SPOOL_PATH_MAX]);
