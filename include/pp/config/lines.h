/*
 * lines.h - logical lines of main.cf, master.cf and the texts of lookup tables.
 * THREAD any; pure.  OWNS nothing.
 * ERRORS none here: what a line means is the caller's business.
 */
#pragma once
#include "pp/base/buf.h"

/* Takes the next logical line off *text into the cleared buffer: comments and empty lines are left
 * out, lines that begin with a blank continue the one before, newlines go and blanks stay. *line
 * counts physical lines from 0; *ret_first (from 1) is where this one begins.
 * 1, 0 at the end, -ENOBUFS when it is longer than the buffer may be (it is skipped then). */
int lines_next(struct str *text, int *line, int *ret_first, struct buf *to);
