/* SPDX-License-Identifier: BSD-3-Clause */
/* What /proc's status of a thread says, in its text. A name is its line's beginning, as "\nTracerPid:". */
#ifndef MRN_OS_STATUS_H
#define MRN_OS_STATUS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -1 where it does not say. */
static inline long mrn_status_number(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtol(p + strlen(name), NULL, 10) : -1;
}

/* What a thread calls itself, which may not be what /proc calls it: that of another namespace of processes. -1 where it does not say. */
static inline long mrn_status_own_number(const char *status)
{
	const char *p = strstr(status, "\nNSpid:");
	char *end;
	long number = -1, next;

	for (p = p ? p + strlen("\nNSpid:") : ""; *p && *p != '\n'; p = end) {
		next = strtol(p, &end, 10);
		if (end == p)
			break;
		number = next;
	}
	return number;
}

/* A set of signals; none where it does not say. */
static inline uint64_t mrn_status_signals(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtoull(p + strlen(name), NULL, 16) : 0;
}

#endif
