/*
 * smtp.h - the SMTP client: a delivery agent with its sessions and idle connections, one per loop.
 * THREAD smtp_setup_new_blk: main, at start and reload. The rest, smtp_free too: its io loop.
 * OWNS   setups are refcounted snapshots.
 * ERRORS of set-up: texts in `err`; of deliveries: a status per recipient.
 * SEE    RFC 5321, RFC 3207, RFC 4954.
 */
#pragma once
#include "pp/delivery/delivery.h"
#include "pp/net/resolver.h"
#include "pp/net/stream.h"
#include "pp/config/config.h"

struct spool;
struct lane;

/* Everything one transport (a master.cf row with its -o) needs, compiled: TLS contexts, maps. */
struct smtp_setup;

struct smtp;
struct smtp *smtp_new(
    struct loop *l, struct spool *spool, struct resolver *r, struct lane *slow, struct lane *sasl);
/* Checks and compiles all smtp/lmtp services of a configuration. */
int smtp_setup_new_blk(struct config *cfg, struct smtp_setup **ret, struct buf *err);
/* Warns, one per line, about password files that this user cannot read or that everybody can. */
void smtp_setup_check_blk(const struct smtp_setup *s, struct buf *warn);
void smtp_setup_ref(struct smtp_setup *s);
void smtp_setup_unref(struct smtp_setup *s);
/* Its loop: idle connections of the old set-up are closed. */
void smtp_use(struct smtp *s, struct smtp_setup *setup);
/* The agent's deliver: ctx = struct smtp *. */
void smtp_deliver(void *ctx, struct delivery *d);
/* Closes idle connections (QUIT); stopped(ctx) when no delivery runs, or at the deadline, when what
 * runs is broken off and deferred. */
void smtp_stop(struct smtp *s, int64_t deadline_ms, void (*stopped)(void *ctx), void *ctx);
void smtp_free(struct smtp *s);
