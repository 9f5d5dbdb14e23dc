/*
 * A priority queue without a capacity: a leftist heap (Crane 1972; Knuth, TAOCP Vol. 3, 5.2.3) of nodes that live in
 * the things that are queued. Push and the removal of any node cost O(log n) steps and no memory; the smallest key
 * is found at once. Equal keys leave in the order in which they came. Whoever owns the heap also locks it.
 */
/* SPDX-License-Identifier: MIT */
#pragma once

#include "hv/lib/types.h"

struct heap_node {
	struct heap_node *parent, *left, *right;
	uint64_t key;
	uint64_t order; /* when it came; decides between equal keys */
	uint32_t rank;	/* nodes on the way down to the right, this one included; 0: not in a heap */
};

struct heap {
	struct heap_node *root; /* has the smallest key */
	uint64_t pushes;	/* so far */
	uint32_t count;
};

/* `node` is in no heap. */
void heap_push(struct heap *heap, struct heap_node *node, uint64_t key);
/* Takes `node` out; it is in this heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The node with the smallest key; NULL: the heap is empty. */
static inline struct heap_node *heap_first(const struct heap *heap)
{
	return heap->root;
}

static inline bool heap_holds(const struct heap_node *node)
{
	return node->rank != 0;
}
