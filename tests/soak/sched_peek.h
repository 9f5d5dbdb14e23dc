/* What the soak test sees of the scheduler's queues, which are its own affair otherwise. */
/* SPDX-License-Identifier: MIT */
#pragma once

/* vCPUs that are in any queue. */
unsigned sched_peek_waiting(void);
