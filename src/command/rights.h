/*
 * rights.h - whether the user of a command may do what it is for, in Postfix's words.
 */
#pragma once
#include "pp/config/config.h"

/* root and mail_owner may; others when the list (authorized_..._users) has their login name.
 * 1; 0 with the refusal in err: "User bob(1001) is not allowed to " and `what`; -errno of a list
 * that cannot be read, told in err. */
int rights_check(const struct params *p, const char *parameter, const char *list, const char *what,
    struct buf *err);
