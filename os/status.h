/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What /proc's status of a thread says. Read line by line: one of them may be as long as a user has groups, and whoever asks may be
 * in a signal's handler, on a small stack. Event path.
 */
#ifndef MRN_OS_STATUS_H
#define MRN_OS_STATUS_H

#include <stdint.h>

struct mrn_status {
	char state; /* as 'R'; '\0' where it does not say */
	/* -1 where it does not say. */
	long number; /* by which it knows itself, also where /proc has others: of another namespace of processes */
	long tracer;
	long seccomp, filters; /* its mode, and how many */
	/* Sets of signals; none where it does not say. */
	uint64_t pending, blocked;
};

/* 0 or -errno, and then it says nothing. */
int mrn_status_read(const char *path, struct mrn_status *status);

#endif
