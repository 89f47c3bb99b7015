/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Misuse by the program, which breaks the rules of a public header. A checking build (os/check.h) says one sentence on stderr,
 * and aborts; a release build does not look.
 */
#ifndef MRN_OS_MISUSE_H
#define MRN_OS_MISUSE_H

#include "os/check.h"

/* The sentence is "who what". */
_Noreturn void mrn_misuse(const char *who, const char *what);

/* If(condition), which a release build does not evaluate. */
#define MRN_MISUSE_IF(condition, who, what)                                  \
	do {                                                                 \
		if (MRN_CHECKS && !MRN_BROKEN(MISUSE_CHECKS) && (condition)) \
			mrn_misuse(who, what);                               \
	} while (0)

#endif
