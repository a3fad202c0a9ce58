/*
 * postconf.h - what the two halves of postconf share.
 */
#pragma once
#include "common.h"

enum edit_mode { EDIT_SET, EDIT_REMOVE, EDIT_COMMENT };

/* Rewrites dir/main.cf; `args` are name=value or names. Ends the process on errors. */
void postconf_edit(struct command *c, const char *dir, enum edit_mode mode, char **args);

/* -M, -F, -P over the rows of master.cf; `args` are patterns service[/type[/what]]. */
void postconf_services(struct command *c, int mode, bool is_folded, bool is_expanded, char **args);
/* Prints head and the words of value with single blanks between; folded when asked. */
void postconf_print(const char *head, const char *value, bool is_folded);
