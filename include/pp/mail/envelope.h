/*
 * envelope.h - what is known of a message beside its content.
 * THREAD the owner's.  OWNS nothing: all strings live in the arena it was built in.
 * ERRORS none.
 * SEE    RFC 5321 2.3.1, RFC 3461 (DSN parameters), pennypost-internals(7) for the records.
 */
#pragma once
#include <sys/types.h>
#include "pp/base/str.h"

/* Values as in queue files (notify_flags, ret_flags). */
enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum { RET_FULL = 1, RET_HDRS = 2 };
enum body_encoding { BODY_UNKNOWN, BODY_7BIT, BODY_8BIT };
/* SMTPUTF8 bits, field 6 of the size record. */
enum { UTF8_REQUESTED = 1, UTF8_HEADER = 2, UTF8_SENDER = 4 };

struct recipient {
	const char *address; /* internal (unquoted) form */
	const char *orig;    /* before aliasing; never NULL */
	const char *orcpt;   /* "rfc822;addr", decoded; NULL when unknown */
	unsigned notify;     /* NOTIFY_ bits, 0 = not given */
	off_t offset;        /* of its R record in the queue file; -1 = none */
	bool done;           /* a D record */
};

/* Where it came from: log_* and client attributes of the queue file. NULL = not known. */
struct origin {
	const char *client_name, *reverse_name, *client_address, *client_port;
	const char *server_address, *server_port;
	const char *helo, *protocol, *ident;
	int address_family; /* AF_INET, AF_INET6, 0 */
	bool local;         /* rewrite_context=local: headers are completed */
};

struct envelope {
	const char *sender;   /* internal form, "" = null sender; NULL = not given yet */
	const char *fullname; /* NULL = none */
	const char *envid;    /* RFC 3461 ENVID, decoded; or NULL */
	unsigned ret;         /* RET_, 0 = not given */
	enum body_encoding encoding;
	unsigned utf8;       /* UTF8_ bits */
	int64_t arrival_us;  /* T record, wall clock microseconds */
	int64_t create_time; /* seconds: base of backoff and expiry */
	int64_t warn_time;   /* W record: seconds, 0 = none, -1 = sent */
	off_t warn_offset;   /* of the W record, -1 = none */
	unsigned trace_flags;
	const char *sasl_method, *sasl_username, *sasl_sender;
	const char *filter, *redirect; /* L and > records */
	const char *verp;              /* V record: its two delimiters; NULL = none */
	struct origin origin;
	struct recipient *rcpt;
	size_t rcpt_count;
	/* Of the content, from the size record. */
	off_t data_offset;
	int64_t data_size;      /* bytes with framing, field 1 */
	int64_t content_length; /* field 5: the size that is logged and announced */
};
