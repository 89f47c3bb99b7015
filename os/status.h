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

/* A set of signals; none where it does not say. */
static inline uint64_t mrn_status_signals(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtoull(p + strlen(name), NULL, 16) : 0;
}

#endif
