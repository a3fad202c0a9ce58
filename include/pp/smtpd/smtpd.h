/*
 * smtpd.h - the SMTP server: sessions on io loops.
 * THREAD smtpd_setup_new_blk: main, at start and reload. A session: the loop it was accepted on.
 * OWNS   setups are refcounted snapshots; a session frees itself.
 * ERRORS of set-up: texts in `err` naming parameter and value. Sessions answer by SMTP.
 * SEE    RFC 5321, access(5).
 */
#pragma once
#include "pp/cleanup/cleanup.h"
#include "pp/net/resolver.h"
#include "pp/net/stream.h"

/* Everything one listener (a master.cf row with its -o) needs, compiled: restrictions, networks.
 * References to the configuration and the route of `cleanup` are taken; its spool must outlive
 * the setup. */
struct smtpd_setup;
int smtpd_setup_new_blk(struct config *cfg, const struct service *svc,
    const struct cleanup_setup *cleanup, struct smtpd_setup **ret, struct buf *err);
void smtpd_setup_ref(struct smtpd_setup *s);
void smtpd_setup_unref(struct smtpd_setup *s);

/* Sessions and connections per client address, counted for all io loops on one loop (main's, or
 * the first io loop's). It is asked only about clients outside
 * smtpd_client_event_limit_exceptions. Free it when every struct smtpd is gone and no post is on
 * its way: on its loop, or after that loop has ended. */
struct smtpd_counts;
struct smtpd_counts *smtpd_counts_new(struct loop *l);
void smtpd_counts_free(struct smtpd_counts *c);

/* One per io loop: holds its sessions, stops them. `r` NULL: clients have no names; `counts` NULL:
 * no limits per client. `slow`: tables; `disk`: free space. */
struct smtpd;
struct smtpd *smtpd_new(struct loop *l, struct resolver *r, struct lane *slow, struct lane *disk,
    struct smtpd_counts *counts);
/* A connected descriptor; a session begins. */
void smtpd_accept(struct smtpd *d, struct smtpd_setup *setup, int fd);
/* New connections get 421; sessions in the middle of a message may finish it until the deadline
 * (milliseconds from now), all others get 421 now. stopped(ctx) comes when none is left. */
void smtpd_stop(struct smtpd *d, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx);
/* After stopped. */
void smtpd_free(struct smtpd *d);
unsigned smtpd_sessions(const struct smtpd *d);
