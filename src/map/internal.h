/*
 * internal.h - what the files of map/ share: the table types and addresses with masks.
 * THREAD see map.h.  OWNS a table owns what its type puts into it.
 */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include "pp/base/hash.h"
#include "pp/map/map.h"

/* An address with the length of its network; an IPv4 one inside IPv6 is made IPv4. */
struct netaddr {
	unsigned char bytes[16];
	unsigned char bits; /* of the network; 32 or 128 for a host */
	bool is_v6;
};

/* "1.2.3.4", "1.2.3.0/24", "[::1]", "[::]/0", "::1/128". -EINVAL and a text. */
int netaddr_parse(struct str s, struct netaddr *ret, struct buf *err);
/* A host in the forms of netlist_match_text. */
int netaddr_parse_host(struct str s, struct netaddr *ret);
int netaddr_of(const struct sockaddr *sa, struct netaddr *ret);
bool netaddr_contains(const struct netaddr *net, const struct netaddr *host);

struct table;

struct table_type {
	const char *name;
	bool is_pattern; /* not asked for partial keys */
	bool is_file;    /* arg is a path, read by load */
	/* Checks arg and keeps what is needed; may be NULL. -EINVAL and a text. */
	int (*open)(struct table *t, struct buf *err);
	/* Files: takes the content in. Only a text that cannot be meant is an error. */
	int (*load)(struct table *t, struct str text, struct buf *err);
	/* 1 and the value, 0, or -errno and a text in value. */
	int (*find)(struct table *t, struct str key, struct buf *value);
	/* Gives back what load took outside of the arena; may be NULL. */
	void (*clear)(struct table *t);
};

struct table_entry {
	const char *key, *value;
	UT_hash_handle hh;
};

struct table {
	const struct table_type *type;
	char *arg;
	struct table *next;
	/* Content: the arena of what was loaded, a hash or a list of rules in it. */
	struct arena arena;
	struct table_entry *hash;
	struct cidr_rule *rules;
	struct pattern_rule *patterns;
	/* Tables made of tables. */
	struct map **subs;
	size_t sub_count;
	/* The file as it was when it was read. */
	bool is_loaded, is_fresh;
	uint64_t device, inode;
	int64_t size, mtime_ns;
};

/* The first of equal keys stays. Both are copied into the table's arena, the key lower-cased. */
void table_put(struct table *t, struct str key, struct str value);
int table_find_hash(struct table *t, struct str key, struct buf *value);
void table_clear(struct table *t);

extern const struct table_type map_type_text[], map_type_cidr, map_type_inline, map_type_static,
    map_type_environ, map_type_fail, map_type_regexp, map_type_pcre, map_type_union, map_type_pipe,
    map_type_rand;
/* Whether partial keys are not asked for in any of its tables. */
bool map_is_pattern(const struct map *m);
const struct table_type *map_type_find(struct str name);
const struct table_type *map_type_at(unsigned i);

/* Gives each logical line of a list's "/file" to `add`, one level deeper. 0, or -errno and a text.
 */
typedef int listfile_add(void *list, struct str text, int depth, struct buf *err);
int listfile_read(struct str path, int depth, listfile_add *add, void *list, struct buf *err);
