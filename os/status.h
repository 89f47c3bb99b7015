/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's status in /proc. Read line by line, since a line may be as long as the list of a user's groups, and the
 * caller may be a signal handler on a small stack. Event path.
 */
#ifndef MRN_OS_STATUS_H
#define MRN_OS_STATUS_H

#include <stdint.h>

struct mrn_status {
	char state; /* as 'R'; '\0' if unknown */
	/* -1 if unknown. */
	long number; /* as the thread itself sees it, even if /proc shows another pid namespace's */
	long tracer;
	long seccomp, filters; /* its mode, and the number of filters */
	/* Sets of signals; empty if unknown. */
	uint64_t pending, blocked;
};

/* 0, or -errno with everything unknown. */
int mrn_status_read(const char *path, struct mrn_status *status);

#endif
