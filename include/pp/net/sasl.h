/*
 * sasl.h - the client side of SASL, by libsasl2, on its own lane.
 * THREAD the loop that made it; libsasl2 itself is only ever called on the sasl lane (one thread).
 * OWNS   sasl_client_free also while a step runs (no callback comes then). Secrets are wiped.
 * ERRORS done(ctx, rc, ...): 0, or -errno with a text: -ENOENT no usable mechanism (the text names
 *        what was offered and why each was passed over), -EPROTO the exchange failed.
 * SEE    RFC 4954, shared security.md 2 row 9: PLAIN, LOGIN, CRAM-MD5, SCRAM only.
 */
#pragma once
#include "pp/runtime/lane.h"
#include "pp/base/buf.h"

int sasl_start(void);  /* once, before threads */
void sasl_stop(void);

struct sasl_client;
struct sasl_client_options {
	const char *host;             /* of the server */
	const char *user, *password;  /* copied, wiped in _free */
	const char *offered;          /* "PLAIN LOGIN", as in EHLO */
	const char *filter;           /* smtp_sasl_mechanism_filter, "" = all */
	const char *security_options; /* "noplaintext, noanonymous" */
	bool tls;
};
/* done's strings are valid during the callback. mech is set for the first answer. response:
 * base64; NULL = send AUTH without an initial response. */
typedef void sasl_done(void *ctx, int rc, const char *mech, const char *response, const char *error);
struct sasl_client *sasl_client_new(struct lane *sasl, const struct sasl_client_options *o);
void sasl_client_first(struct sasl_client *c, sasl_done *done, void *ctx);
/* challenge: base64, as after "334 ". */
void sasl_client_next(struct sasl_client *c, struct str challenge, sasl_done *done, void *ctx);
void sasl_client_free(struct sasl_client *c);
