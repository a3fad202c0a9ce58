/*
 * details.h - what a listing says of one message, packed.
 * THREAD the owner's of the strings.  OWNS the packed bytes, until details_free.
 * ERRORS -ENOBUFS: too much to be kept; nothing is then.
 */
#pragma once
#include "intern.h"
#include "pp/spool/listing.h"

enum { DETAILS_MAX = 2047, DETAILS_RCPT_MAX = 100, DETAILS_REASON_MAX = 2000 };

/* Id, queue and next attempt are not packed. */
int details_pack(struct intern *in, const struct listing *l, char **ret, size_t *ret_n);
/* Sets the rest; strings live in the arena or among the interned. */
void
details_unpack(const struct intern *in, const char *packed, struct arena *a, struct listing *l);
void details_free(struct intern *in, char *packed);
/* Is one of its recipients there? Domains compare without case. */
bool details_at_site(const struct intern *in, const char *packed, struct str site);
