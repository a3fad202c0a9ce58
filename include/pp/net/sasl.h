/*
 * sasl.h - the client side of SASL, by libsasl2, on its own lane.
 * THREAD the loop that made it; libsasl2 itself is only ever called on the sasl lane (one thread).
 * OWNS   sasl_exchange_free also while a step runs (no callback comes then). Secrets are wiped.
 * ERRORS answer(ctx, rc, ...): 0, or -errno with a text: -ENOENT no usable mechanism (the text
 *        names what was offered and why each was passed over), -EPROTO the exchange failed.
 * SEE    RFC 4954: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256 only. The plugins are in
 *        Debian's libsasl2-modules. Names avoid libsasl2's own (sasl_client_*, sasl_done).
 */
#pragma once
#include "pp/runtime/lane.h"
#include "pp/base/buf.h"

/* Before the first exchange. The plugins are not loaded before somebody has to authenticate.
 * Blocks.
 */
int sasl_load_blk(struct buf *err);
/* At the end, when the lane is gone, if there was an exchange or not. */
void sasl_stop(void);

struct sasl_exchange;
struct sasl_options {
	const char *host;             /* of the server */
	const char *user, *password;  /* copied, wiped in _free */
	const char *offered;          /* "PLAIN LOGIN", as in EHLO */
	const char *filter;           /* smtp_sasl_mechanism_filter, "" = all */
	const char *security_options; /* "noplaintext, noanonymous" */
	bool tls;                     /* shapes the advice in the texts only */
};
/* The strings are valid during the callback. response: base64. For the first answer NULL means AUTH
 * without an initial response and "=" an empty one; for the next ones "" is an empty line. */
typedef void
sasl_answer(void *ctx, int rc, const char *mech, const char *response, const char *error);
struct sasl_exchange *sasl_exchange_new(struct lane *sasl, const struct sasl_options *o);
void sasl_exchange_first(struct sasl_exchange *c, sasl_answer *answer, void *ctx);
/* challenge: base64, as after "334 ". At most one step runs at a time. */
void
sasl_exchange_next(struct sasl_exchange *c, struct str challenge, sasl_answer *answer, void *ctx);
/* NULL is taken. */
void sasl_exchange_free(struct sasl_exchange *c);
/* 0, or -EINVAL with the unknown word in `err`: for the check of a configuration. */
int sasl_security_options_check(const char *options, struct buf *err);
