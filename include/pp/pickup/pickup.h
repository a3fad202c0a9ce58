/*
 * pickup.h - maildrop/ and public/submit -> cleanup. Everything that comes is hostile input.
 * THREAD the loop it was made on (main).
 * OWNS   frees itself in pickup_free.
 * ERRORS logged; a malformed submission is removed with a warning, as Postfix does.
 * SEE    tests/corpus, cases drop-* and requeued-*.
 */
#pragma once
#include "pp/cleanup/cleanup.h"

struct pickup;
struct userlist;
struct pickup *pickup_new(struct loop *l, struct lane *disk, const struct cleanup_setup *setup);
/* Look now; any number of calls during a scan are one more scan. Also looks at once after
 * pickup_new and every 60 s by itself; sendmail asks for more through the control socket. */
void pickup_wake(struct pickup *p);
/* Who may submit, by the owner of the file; nobody else's is taken in: it is set aside in corrupt.
 * Takes a reference. root and the daemon's own user always may, and everybody before this is told.
 */
void pickup_submitters(struct pickup *p, struct userlist *users);
/* Takes submissions from a listening socket as well (src/pickup/handover.c). Once; fd stays the
 * caller's. */
void pickup_listen(struct pickup *p, int fd);
void pickup_reload(struct pickup *p, const struct cleanup_setup *setup);
/* stopped(ctx) when no submission is being taken in. */
void pickup_stop(struct pickup *p, void (*stopped)(void *ctx), void *ctx);
void pickup_free(struct pickup *p);
