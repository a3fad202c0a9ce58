/*
 * heap.h - an intrusive binary heap, smallest key first.
 * THREAD one at a time.  OWNS its array of pointers; the nodes are the caller's.
 * ERRORS none.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	int64_t key;
	size_t at; /* place in the heap + 1; 0 = in no heap */
};

struct heap {
	struct heap_node **a;
	size_t n, cap;
};

void heap_fini(struct heap *h);
/* Puts a node in, or moves it when it is in this heap already. */
void heap_put(struct heap *h, struct heap_node *node, int64_t key);
/* Takes a node out; nothing happens when it is in no heap. */
void heap_drop(struct heap *h, struct heap_node *node);

static inline struct heap_node *
heap_first(const struct heap *h)
{
	return h->n ? h->a[0] : NULL;
}

static inline bool
heap_has(const struct heap_node *node)
{
	return node->at != 0;
}
