/*
 * pair.h - messages with two names: what a move by link(2) and unlink(2) is in the middle of.
 * THREAD *_blk: lanes and commands. A lock is of the descriptor, whoever closes it.
 * OWNS   nothing but the descriptor of the lock: pair_unlock closes it.
 * ERRORS -errno.
 *
 * Who moves whole queues that way holds the lock alone, who moves single messages shares it, and
 * the kernel gives it back after a kill. A pair is a file of another queue that is, by its id and
 * its inode, in hold as well. Only who has the lock alone may end one, and hold is where it ends:
 * mail that is held too much can be released, mail that is sent cannot be called back. A backup
 * made of hard links is no pair.
 */
#pragma once
#include "pp/spool/spool.h"

/* The descriptor, or -errno: -EWOULDBLOCK when somebody has it and wait is false. */
int pair_lock_blk(const struct spool *s, bool alone, bool wait);
void pair_unlock(int lock);

/* Around moves that make pairs: what is begun and not ended was killed. */
int pair_begin_blk(const struct spool *s);
void pair_end_blk(const struct spool *s);
/* Was one begun? It may be at work. */
bool pair_is_begun_blk(const struct spool *s);

/* Is the file of this id in q the second name of one in hold? 0 = no. 1 = it was: that name is
 * removed. -EWOULDBLOCK = yes, and somebody is at work on it. */
int pair_settle_blk(const struct spool *s, enum queue q, const char *id);
/* All of them, telling which names were removed, and the end of what was begun. How many, or
 * -EWOULDBLOCK as for the lock. */
int pair_settle_all_blk(
    const struct spool *s, bool wait, void (*tell)(void *ctx, const char *path), void *ctx);
