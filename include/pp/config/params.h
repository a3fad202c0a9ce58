/*
 * params.h - every parameter of main.cf as a typed field, made from the rows of tbl/params_*.def.
 * THREAD any: immutable, part of a configuration snapshot.
 * OWNS   nothing: the strings belong to the snapshot and are never NULL.
 * SEE    a row is TYPE(name, default, range.., level, doc); adding a parameter is adding a row.
 *
 *   TEXT  const char *  expanded text
 *   RAW   const char *  text whose $name are expanded when it is used, not here
 *   BOOL  bool          yes or no
 *   INT   int64_t       a number within min..max
 *   SIZE  int64_t       bytes
 *   TIME  int64_t       MILLISECONDS; in text: a number with ms s m h d w, without a unit the
 *                       unit that the default ends in
 *   ENUM  const char *  one of the words of its row, in the row's spelling
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define PARAMS_TEXT(name, def, level, doc) const char *name;
#define PARAMS_RAW(name, def, level, doc) const char *name;
#define PARAMS_BOOL(name, def, level, doc) bool name;
#define PARAMS_INT(name, def, min, max, level, doc) int64_t name;
#define PARAMS_SIZE(name, def, min, level, doc) int64_t name;
#define PARAMS_TIME(name, def, min, level, doc) int64_t name;
#define PARAMS_ENUM(name, def, words, level, doc) const char *name;

/* A field cannot begin with a digit: 2bounce_notice_recipient is the field _2bounce_... */
struct params {
#pragma push_macro("STR") /* base/str.h has one as well */
#undef TEXT
#define TEXT PARAMS_TEXT
#define RAW PARAMS_RAW
#define BOOL PARAMS_BOOL
#define INT PARAMS_INT
#define SIZE PARAMS_SIZE
#define TIME PARAMS_TIME
#define ENUM PARAMS_ENUM
#include "pp/tbl/params_all.def"
#undef TEXT
#pragma pop_macro("STR")
#undef RAW
#undef BOOL
#undef INT
#undef SIZE
#undef TIME
#undef ENUM
};
