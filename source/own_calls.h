/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls that libmrn makes on its own, with the arguments that a filter may check. All others are harmless: with
 * these arguments a call does nothing. docs/sources.md says when each is made.
 */
#ifndef MRN_SOURCE_OWN_CALLS_H
#define MRN_SOURCE_OWN_CALLS_H

#include <stdbool.h>

struct mrn_own_call {
	long nr;
	long a[6];
	bool can_be_tried; /* else it ends the caller, or makes a new process */
	bool succeeds;	   /* an error is a refusal */
};

extern const struct mrn_own_call mrn_own_calls[];
extern const unsigned int mrn_nr_own_calls;

#endif
