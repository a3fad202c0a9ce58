/*
 * map_text.c - fuzzes the texts of tables and lists: key-value, cidr, patterns, inline, networks,
 * key forms.
 */
#include <stdlib.h>
#include "map/internal.h"
#include "pp/map/key.h"
#include "pp/map/matchlist.h"
#include "pp/map/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
text_table(struct str text)
{
	struct str rest = text;
	struct buf logical, key, value;
	struct map_line l;
	int count = 0, before = 0, rc;

	buf_init(&logical, 1000);
	buf_init(&key, 1000);
	buf_init(&value, 1000);
	while ((rc = map_line_next(&rest, &count, &logical, &l)) != 0) {
		PP_ASSERT(l.line > before && count >= l.line);
		PP_ASSERT(rc < 0 || (l.key.n > 0 && l.value.n > 0));
		before = l.line;
	}
	count = before = 0;
	while ((rc = map_alias_next(&text, &count, &logical, &key, &value, &l)) != 0) {
		PP_ASSERT(l.line > before && count >= l.line);
		before = l.line;
	}
	buf_fini(&logical);
	buf_fini(&key);
	buf_fini(&value);
}

static void
cidr_table(struct str text)
{
	struct table t = {.type = &map_type_cidr, .arg = (char *)(uintptr_t) "cidr"};
	struct buf err, value;

	buf_init(&err, 1000);
	buf_init(&value, 1000);
	if (map_type_cidr.load(&t, text, &err) == 0) {
		map_type_cidr.find(&t, STR("192.0.2.1"), &value);
		map_type_cidr.find(&t, STR("2001:db8::1"), &value);
	} else
		PP_ASSERT(buf_str(&err).n > 0);
	table_clear(&t);
	buf_fini(&err);
	buf_fini(&value);
}

static void
pattern_table(struct str text, const struct table_type *type)
{
	struct table t = {.type = type, .arg = (char *)(uintptr_t) "patterns"};
	struct buf err, value;
	int repeats = 0;

	/* What a pattern costs is the engines' affair: `+` behind `+` takes all memory there. */
	for (size_t i = 0; i < text.n; i++)
		repeats += strchr("*+?{", text.p[i]) != NULL;
	if (text.n > 300 || repeats > 8)
		return;
	buf_init(&err, 1000);
	buf_init(&value, 1000);
	if (type->load(&t, text, &err) == 0)
		type->find(&t, STR("Subject: a (b) [c]"), &value);
	else
		PP_ASSERT(buf_str(&err).n > 0);
	table_clear(&t);
	buf_fini(&err);
	buf_fini(&value);
}

static void
specs(struct str text)
{
	struct arena arena = {0};
	char *spec = arena_str(&arena, text);
	struct domainlist *domains;
	struct netlist *nets;
	struct map *map;
	struct buf err;

	buf_init(&err, 4000);
	for (size_t i = 0; i < text.n; i++)
		if (spec[i] == '/')
			spec[i] = '.'; /* no files are opened here */
	if (map_open(spec, &map, &err) == 0)
		map_unref(map);
	if (domainlist_new_blk(spec, 0, &domains, &err) == 0) {
		domainlist_match(domains, STR("a.example.com"));
		domainlist_unref(domains);
	}
	for (size_t i = 0; i < text.n; i++)
		if (spec[i] == '.' && i > 0 && str_isdigit(spec[i - 1]) && text.p[i] == '/')
			spec[i] = '/';
	if (netlist_new_blk(spec, &nets, &err) == 0) {
		netlist_match_text(nets, STR("192.0.2.1"));
		netlist_unref(nets);
	}
	buf_fini(&err);
	arena_fini(&arena);
}

static void
keys(struct str text)
{
	struct arena a = {0};
	struct map_keys k;

	key_client(&a, text, text, true, &k);
	key_access_address(&a, text, "+-", false, "<>", &k);
	key_transport(&a, text, "+", false, &k);
	key_address(&a, text, "+", true, &k);
	key_tls_policy(&a, text, &k);
	PP_ASSERT(k.n <= MAP_KEYS_MAX);
	arena_fini(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};

	text_table(text);
	cidr_table(text);
	pattern_table(text, &map_type_regexp);
	pattern_table(text, &map_type_pcre);
	specs(text);
	keys(text);
	return 0;
}
