/*
 * content.h - what is done to the content on its way out: header and body checks, generic(5)
 *             addresses in headers, and the conversion of 8-bit text for a server that takes
 * only 7. THREAD the loop of its delivery. OWNS   itself until smtp_content_free; a table that is
 * being asked keeps it alive until it answers. ERRORS -EIO: a table cannot be used now,
 * smtp_content_error says which and why. SEE    header_checks(5), generic(5), RFC 2045, RFC 6152.
 */
#pragma once
#include "internal.h"

struct smtp_content;
/* NULL: nothing is to be done, the usual case. go_on(ctx) after -EAGAIN. */
struct smtp_content *
smtp_content_new(struct smtp_job *j, bool is_8bit_refused, void (*go_on)(void *ctx));
void smtp_content_free(struct smtp_content *c);
/* One piece, as body_next gives them: 1 = taken, -EAGAIN = a table is being asked, then push it
 * again; -ENOBUFS, -EIO. */
int smtp_content_push(struct smtp_content *c, struct str piece, bool last);
/* At the end of the content: 0, or as above. */
int smtp_content_finish(struct smtp_content *c);
const char *smtp_content_error(const struct smtp_content *c);
