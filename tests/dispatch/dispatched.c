/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linked to a program of tests, it has them run with all system calls caught: by dispatch, which each test's process
 * has inherited from the runner, instead of the interposer that they were written for.
 */
#include <mrn/mrn.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/test.h"

__attribute__((constructor)) static void attach(void)
{
	char why[256] = "";
	const struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.why = why,
		.why_size = sizeof(why),
		.flags = MRN_SOURCE_FOLLOW_FORK,
	};
	struct mrn_source *source;

	/* Callbacks of these tests fail, and with that enter the runtime, whose own calls are caught inside its locks. */
	if (test_is_sanitized()) {
		puts("1..0 # SKIP a sanitizer's runtime cannot be entered where it makes calls");
		exit(0);
	}
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source) == 0)
		return;
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}
