/*
 * The soak test's command line: one episode, or one after the other for a time or up to a number.
 *
 *   lifecycle --seed N                    the one of that seed
 *   lifecycle [--seconds N]               new seeds for so many seconds (10)
 *   lifecycle --runs N                    so many new seeds, with a summary
 *   lifecycle --starve N                  machine N creates a VM, with each of its allocations failing once
 */
/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/lifecycle.h"

/* In a process of its own, so that nothing is carried over; its memory is looked through for leaks when it ends. */
static int run_in_child(uint64_t seed, struct lifecycle_totals *totals)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		lifecycle_run(seed, totals);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		perror("lifecycle");
		return 1;
	}
	if (status)
		fprintf(stderr, "lifecycle: seed %llu failed (status %#x)\n", (unsigned long long)seed,
			(unsigned)status);
	return status != 0;
}

static int run_many(unsigned long runs, unsigned long seconds)
{
	struct lifecycle_totals *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	time_t end = time(NULL) + (time_t)seconds;
	uint64_t first = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid(), done = 0;

	if (t == MAP_FAILED) {
		perror("lifecycle");
		return 1;
	}
	do {
		if (run_in_child(first + done++, t))
			return 1;
	} while (done < runs || time(NULL) < end);
	printf("%llu runs from seed %llu on, none failed: %llu commands, %llu VMs started, %llu refused, %llu killed, "
	       "%llu times no memory, %llu entries\n",
	       (unsigned long long)done, (unsigned long long)first, (unsigned long long)t->commands,
	       (unsigned long long)t->started, (unsigned long long)t->refused, (unsigned long long)t->killed,
	       (unsigned long long)t->without_memory, (unsigned long long)t->entries);
	return 0;
}

int main(int argc, char **argv)
{
	struct lifecycle_totals one = {0};
	unsigned long long n = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;

	if (argc == 1)
		return run_many(1, 10);
	if (argc == 3 && !strcmp(argv[1], "--seconds"))
		return run_many(1, (unsigned long)n);
	if (argc == 3 && !strcmp(argv[1], "--runs"))
		return run_many((unsigned long)n, 0);
	if (argc == 3 && !strcmp(argv[1], "--seed")) {
		lifecycle_run(n, &one);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--starve")) {
		lifecycle_starve(n);
		return 0;
	}
	fprintf(stderr, "usage: %s [--seed N | --seconds N | --runs N | --starve N]\n", argv[0]);
	return 2;
}
