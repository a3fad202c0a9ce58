/*
 * hash.h - the one home of <uthash.h>: hash tables whose handle lies in the element.
 * THREAD one at a time.  OWNS its buckets; the elements are the caller's.
 * ERRORS none: out of memory ends the process, as in mem.h.
 * SEE    https://troydhanson.github.io/uthash/userguide.html
 */
#pragma once
#include <stdlib.h>
#include "pp/base/mem.h"

#define uthash_malloc(sz) mem_alloc(sz)
#define uthash_free(p, sz) mem_free(p)
#include <uthash.h>
