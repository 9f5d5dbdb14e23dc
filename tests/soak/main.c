/*
 * The soak test's command line: one episode, or one after the other for a time.
 *
 *   lifecycle [--seed N] [--seconds N]    one seed, or new seeds for so many seconds (10)
 *   lifecycle --starve N                  machine N creates a VM, with each of its allocations failing once
 */
/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/lifecycle.h"

/* In a process of its own, so that nothing is carried over; its memory is looked through for leaks when it ends. */
static int run_in_child(uint64_t seed)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		lifecycle_run(seed);
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

static int run_for(unsigned long seconds)
{
	time_t end = time(NULL) + (time_t)seconds;
	uint64_t seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();

	do {
		if (run_in_child(seed++))
			return 1;
	} while (time(NULL) < end);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--seed")) {
		lifecycle_run(strtoull(argv[2], NULL, 0));
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--starve")) {
		lifecycle_starve(strtoull(argv[2], NULL, 0));
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--seconds"))
		return run_for(strtoul(argv[2], NULL, 0));
	if (argc == 1)
		return run_for(10);
	fprintf(stderr, "usage: %s [--seed N | --seconds N | --starve N]\n", argv[0]);
	return 2;
}
