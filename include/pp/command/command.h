/*
 * command.h - the commands, each a main of its own, made from the rows of tbl/commands.def.
 * THREAD the process's only one.
 * OWNS   nothing.
 * ERRORS the exit code; texts go to stderr as "NAME: fatal: TEXT".
 * SEE    `-c DIR` before the command's word becomes MAIL_CONFIG in the environment.
 */
#pragma once

#define COMMAND(word, function, link, summary) int function(int argc, char **argv);
#include "pp/tbl/commands.def"
#undef COMMAND
