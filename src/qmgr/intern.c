/*
 * intern.c - strings kept once: domains, and the reasons why mail waits.
 *
 * When a hundred thousand mails wait, they wait for few hosts and for few reasons.
 */
#include "intern.h"
#include "pp/base/assert.h"
#include "pp/base/mem.h"

enum { FIRST_ROOM = 64, OVERHEAD = 16 };

static bool
hash_of(const void *owner, uint32_t handle, uint32_t *ret)
{
	const struct intern *in = owner;

	*ret = in->a[handle].hash;
	return in->a[handle].text != NULL;
}

void
intern_init(struct intern *in)
{
	*in = (struct intern){.table = {.hash = hash_of, .owner = in}};
}

static size_t
cost(const struct intern_entry *e)
{
	return sizeof(*e) + e->n + OVERHEAD;
}

static uint32_t
entry_new(struct intern *in)
{
	uint32_t handle = in->free;

	if (handle > 0) {
		in->free = in->a[handle - 1].users;
		return handle - 1;
	}
	if (in->used == in->room) {
		in->room = in->room ? in->room * 2 : FIRST_ROOM;
		in->a = mem_realloc(in->a, in->room * sizeof(*in->a));
	}
	return in->used++;
}

static uint32_t
find(const struct intern *in, struct str s, uint32_t hash)
{
	uint32_t at = hash, handle;

	while ((handle = handles_next(&in->table, &at)) != HANDLES_NONE)
		if (in->a[handle].hash == hash && str_eq(intern_str(in, handle), s))
			return handle;
	return HANDLES_NONE;
}

uint32_t
intern_find(const struct intern *in, struct str s)
{
	return find(in, s, handles_hash(s));
}

uint32_t
intern_add(struct intern *in, struct str s)
{
	uint32_t hash = handles_hash(s), handle = find(in, s, hash);
	struct intern_entry *e;

	if (handle != HANDLES_NONE) {
		in->a[handle].users++;
		return handle;
	}
	handle = entry_new(in);
	e = &in->a[handle];
	*e = (struct intern_entry){
	    .text = mem_alloc(s.n + 1), .n = (uint32_t)s.n, .hash = hash, .users = 1};
	if (s.n > 0)
		memcpy(e->text, s.p, s.n);
	in->bytes += cost(e);
	handles_add(&in->table, handle, hash);
	return handle;
}

void
intern_drop(struct intern *in, uint32_t handle)
{
	struct intern_entry *e = &in->a[handle];

	PP_ASSERT(handle < in->used && e->text && e->users > 0);
	if (--e->users > 0)
		return;
	handles_drop(&in->table, handle, e->hash);
	in->bytes -= cost(e);
	mem_free(e->text);
	e->text = NULL;
	e->users = in->free;
	in->free = handle + 1;
	if (in->table.n == 0)
		intern_fini(in);
}

void
intern_fini(struct intern *in)
{
	for (uint32_t i = 0; i < in->used; i++)
		mem_free(in->a[i].text);
	mem_free(in->a);
	handles_fini(&in->table);
	intern_init(in);
}
