/*
 * The leftist heap of heap.h. A node's rank is the number of nodes on its right spine, and a left child's rank is never
 * below its right sibling's. A node of rank r therefore has at least 2^r - 1 nodes below and including itself, so a
 * right spine is at most log2(n + 1) long. All work is done along right spines; left ones may be long and are never
 * walked.
 */
/* SPDX-License-Identifier: MIT */
#include "hv/lib/heap.h"

static bool before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static uint32_t rank(const struct heap_node *n)
{
	return n ? n->rank : 0;
}

/* Restores order between the children of `n` and its rank. False: the rank was right, so all above is, too. */
static bool settle(struct heap_node *n)
{
	uint32_t old = n->rank;

	if (rank(n->left) < rank(n->right)) {
		struct heap_node *left = n->left;

		n->left = n->right;
		n->right = left;
	}
	n->rank = rank(n->right) + 1;
	return n->rank != old;
}

/*
 * Interleaves the right spines of `a` and `b` in the order of their keys, then settles that spine from its end upward.
 * Answers the new root, whose parent the caller sets.
 */
static NO_CANARY struct heap_node *interleave(struct heap_node *a, struct heap_node *b)
{
	struct heap_node *root = NULL, *last = NULL;
	struct heap_node **end = &root;

	while (a && b) {
		if (before(b, a)) {
			struct heap_node *other = a;

			a = b;
			b = other;
		}
		*end = a;
		a->parent = last;
		last = a;
		end = &a->right;
		a = a->right;
	}
	*end = a ? a : b;
	if (*end)
		(*end)->parent = last;
	for (; last; last = last->parent)
		settle(last);
	return root;
}

/* The same for two that may be empty: most often one is. */
static inline struct heap_node *merge(struct heap_node *a, struct heap_node *b)
{
	if (!a)
		return b;
	return b ? interleave(a, b) : a;
}

void heap_push(struct heap *heap, struct heap_node *node, uint64_t key)
{
	*node = (struct heap_node){.key = key, .order = heap->pushes++, .rank = 1};
	heap->root = merge(heap->root, node);
	heap->root->parent = NULL;
	heap->count++;
}

/*
 * The children take the node's place. Above it ranks change only as long as each is one more than the changed one below
 * it, which happens log2(n + 1) times at most.
 */
void heap_remove(struct heap *heap, struct heap_node *node)
{
	struct heap_node *parent = node->parent;
	struct heap_node *heir;

	heir = merge(node->left, node->right);
	if (heir)
		heir->parent = parent;
	if (!parent)
		heap->root = heir;
	else if (parent->left == node)
		parent->left = heir;
	else
		parent->right = heir;
	while (parent && settle(parent))
		parent = parent->parent;
	*node = (struct heap_node){.key = node->key};
	heap->count--;
}
