/*
 * smtpd.h - the SMTP server: sessions on io loops.
 * THREAD smtpd_setup_new_blk: main, at start and reload. A session: the loop it was accepted on.
 * OWNS   setups are refcounted snapshots; a session frees itself.
 * ERRORS of set-up: texts in `err` naming parameter and value. Sessions answer by SMTP.
 * SEE    RFC 5321, shared spec smtp-server.md.
 */
#pragma once
#include "pp/cleanup/cleanup.h"
#include "pp/net/resolver.h"
#include "pp/net/stream.h"

/* Everything one listener (a master.cf row with its -o) needs, compiled: restrictions, networks. */
struct smtpd_setup;
int smtpd_setup_new_blk(struct config *cfg, const struct service *svc,
    const struct cleanup_setup *cleanup, struct smtpd_setup **ret, struct buf *err);
void smtpd_setup_ref(struct smtpd_setup *s);
void smtpd_setup_unref(struct smtpd_setup *s);

/* One per io loop: counts sessions (per client address too), stops them. */
struct smtpd;
struct smtpd *smtpd_new(struct loop *l, struct resolver *r, struct lane *slow);
/* A connected descriptor; a session begins. The counts per client are shared between loops by
 * `counts`: see smtpd_counts. */
void smtpd_accept(struct smtpd *d, struct smtpd_setup *setup, int fd);
/* New connections get 421; sessions in the middle of a message may finish it until the deadline,
 * all others get 421 now. stopped(ctx) when none is left. */
void smtpd_stop(struct smtpd *d, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx);
void smtpd_free(struct smtpd *d);
unsigned smtpd_sessions(const struct smtpd *d);

/* A session on descriptors 0 and 1 (sendmail -bs): see command/sendmail.c. */
