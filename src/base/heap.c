/*
 * heap.c - a binary heap whose nodes know their place, so that any of them can be moved or taken
 * out in O(log n). Timers and retry times live in such heaps.
 */
#include "pp/base/assert.h"
#include "pp/base/heap.h"
#include "pp/base/mem.h"

static void
place(struct heap *h, size_t i, struct heap_node *node)
{
	h->a[i] = node;
	node->at = i + 1;
}

static void
sift_up(struct heap *h, size_t i, struct heap_node *node)
{
	while (i > 0) {
		size_t up = (i - 1) / 2;

		if (h->a[up]->key <= node->key)
			break;
		place(h, i, h->a[up]);
		i = up;
	}
	place(h, i, node);
}

static void
sift_down(struct heap *h, size_t i, struct heap_node *node)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && h->a[child + 1]->key < h->a[child]->key)
			child++;
		if (h->a[child]->key >= node->key)
			break;
		place(h, i, h->a[child]);
		i = child;
	}
	place(h, i, node);
}

void
heap_put(struct heap *h, struct heap_node *node, int64_t key)
{
	heap_drop(h, node);
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->a = mem_realloc(h->a, h->cap * sizeof(*h->a));
	}
	node->key = key;
	sift_up(h, h->n++, node);
}

void
heap_drop(struct heap *h, struct heap_node *node)
{
	size_t i;
	struct heap_node *last;

	if (node->at == 0)
		return;
	i = node->at - 1;
	PP_ASSERT(i < h->n && h->a[i] == node);
	node->at = 0;
	last = h->a[--h->n];
	if (last == node)
		return;
	if (last->key < node->key)
		sift_up(h, i, last);
	else
		sift_down(h, i, last);
}

void
heap_fini(struct heap *h)
{
	mem_free(h->a);
	*h = (struct heap){0};
}
