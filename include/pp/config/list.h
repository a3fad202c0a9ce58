/*
 * list.h - lists in main.cf: elements between commas and blanks, `{ ... }` groups.
 * THREAD any; pure.  OWNS nothing: elements are views of the text.
 */
#pragma once
#include "pp/base/str.h"

/* Cuts the next element off *rest; braces stay around a group ({a b}, inline:{a=b, c=d}).
 * 1, 0 at the end, -EINVAL for a brace without its partner. */
int list_next(struct str *rest, struct str *ret);
/* Without the braces around it and the blanks inside them; unchanged when there are none. */
struct str list_unbrace(struct str s);
