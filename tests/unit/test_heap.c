/* hv/lib/heap.c: random pushes, pops and removals against a sorted model; the leftist shape that bounds every walk. */
/* SPDX-License-Identifier: MIT */
/* links: hv/lib/heap.c */
#include "hv/lib/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NODES 5000

static struct heap heap;
static struct heap_node nodes[NODES];
static uint64_t seed;

static uint32_t roll(uint32_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)((seed >> 33) % below);
}

static int setup(void **state)
{
	(void)state;
	seed = 1;
	heap = (struct heap){0};
	for (unsigned i = 0; i < NODES; i++)
		nodes[i] = (struct heap_node){0};
	return 0;
}

static struct heap_node *pop(void)
{
	struct heap_node *first = heap_first(&heap);

	if (first)
		heap_remove(&heap, first);
	return first;
}

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key < b->key || (a->key == b->key && a->order < b->order);
}

static uint32_t rank_of(const struct heap_node *n)
{
	return n ? n->rank : 0;
}

static void node_is_sound(const struct heap_node *n)
{
	assert_true(n->rank == rank_of(n->right) + 1);
	assert_true(rank_of(n->left) >= rank_of(n->right));
	for (int i = 0; i < 2; i++) {
		const struct heap_node *child = i ? n->right : n->left;

		assert_true(!child || (child->parent == n && is_before(n, child)));
	}
}

/* All queued nodes obey the order, ranks and links; the root's rank is logarithmic. */
static void heap_is_sound(void)
{
	uint32_t queued = 0;

	for (unsigned i = 0; i < NODES; i++) {
		if (!heap_holds(&nodes[i]))
			continue;
		queued++;
		node_is_sound(&nodes[i]);
		assert_true(nodes[i].parent || heap.root == &nodes[i]);
	}
	assert_int_equal(queued, heap.count);
	assert_true((1ULL << rank_of(heap.root)) <= (uint64_t)heap.count + 1);
}

static void smallest_comes_first(void **state)
{
	(void)state;
	assert_null(heap_first(&heap));
	assert_null(pop());
	heap_push(&heap, &nodes[0], 30);
	heap_push(&heap, &nodes[1], 10);
	heap_push(&heap, &nodes[2], ~0ULL);
	heap_push(&heap, &nodes[3], 20);
	assert_ptr_equal(heap_first(&heap), &nodes[1]);
	assert_ptr_equal(pop(), &nodes[1]);
	assert_false(heap_holds(&nodes[1]));
	assert_ptr_equal(pop(), &nodes[3]);
	assert_ptr_equal(pop(), &nodes[0]);
	assert_ptr_equal(pop(), &nodes[2]);
	assert_null(pop());
}

static void equal_keys_are_first_come_first_served(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		heap_push(&heap, &nodes[i], 7);
	heap_remove(&heap, &nodes[0]);
	heap_push(&heap, &nodes[0], 7);
	for (unsigned i = 1; i < 1000; i++)
		assert_ptr_equal(pop(), &nodes[i]);
	assert_ptr_equal(pop(), &nodes[0]);
}

/* Descending keys make one long left spine, ascending ones a balanced heap. */
static void sorted_input_is_no_trouble(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NODES; i++)
		heap_push(&heap, &nodes[i], NODES - i);
	heap_is_sound();
	for (unsigned i = 0; i < NODES; i += 2)
		heap_remove(&heap, &nodes[i]);
	heap_is_sound();
	for (unsigned i = NODES; i-- > 0;)
		if (i % 2)
			assert_ptr_equal(pop(), &nodes[i]);
	for (unsigned i = 0; i < NODES; i++)
		heap_push(&heap, &nodes[i], i);
	heap_is_sound();
	for (unsigned i = 0; i < NODES; i++)
		assert_ptr_equal(pop(), &nodes[i]);
}

static const struct heap_node *model_first(unsigned count)
{
	const struct heap_node *first = NULL;

	for (unsigned i = 0; i < count; i++)
		if (heap_holds(&nodes[i]) && (!first || is_before(&nodes[i], first)))
			first = &nodes[i];
	return first;
}

static void random_operations(unsigned count, unsigned rounds, uint32_t keys)
{
	for (unsigned i = 0; i < rounds; i++) {
		struct heap_node *n = &nodes[roll(count)];

		assert_ptr_equal(heap_first(&heap), model_first(count));
		if (!heap_holds(n))
			heap_push(&heap, n, roll(keys));
		else if (roll(4))
			heap_remove(&heap, n);
		else
			assert_true(pop() != NULL);
		if (i % 64 == 0)
			heap_is_sound();
	}
	heap_is_sound();
	while (heap.count) {
		const struct heap_node *first = model_first(count);

		assert_ptr_equal(pop(), first);
	}
}

static void random_operations_match_a_sorted_model(void **state)
{
	(void)state;
	random_operations(3, 2000, 3);
	random_operations(50, 20000, 10);
	random_operations(500, 20000, 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(smallest_comes_first, setup),
	    cmocka_unit_test_setup(equal_keys_are_first_come_first_served, setup),
	    cmocka_unit_test_setup(sorted_input_is_no_trouble, setup),
	    cmocka_unit_test_setup(random_operations_match_a_sorted_model, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
