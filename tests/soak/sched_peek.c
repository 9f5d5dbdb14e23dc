/* The scheduler, with a window: hv/sched/sched.c and one function more. For lifecycle.c. */
/* SPDX-License-Identifier: MIT */
#include "hv/sched/sched.c"

#include "tests/soak/sched_peek.h"

unsigned sched_peek_waiting(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sched.cpu_count; i++)
		count += sched.cpu[i].waiting.count + sched.cpu[i].parked.count + (sched.cpu[i].owner != NULL);
	return count;
}
