/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of libmrn-ucx share. Each test's process has UCX_MEM_MMAP_HOOK_MODE=none in its environment before libucs
 * is loaded: the fixture starts the program again if it has not.
 */
#ifndef TESTS_UCX_FIXTURE_H
#define TESTS_UCX_FIXTURE_H

#include <mrn/ucx.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"

#define HOOK_MODE "UCX_MEM_MMAP_HOOK_MODE"

/* Installs the monitor, with sources of these kinds; skips the test where these are not to be had. */
void fixture_install(unsigned int kinds, uint64_t need);

/*
 * Starts this program once more with UCX's own hooks, which replace libc's functions before main, and has it install the
 * monitor. Returns what install returned, with its sentence in why.
 */
int fixture_install_over_hooks(char *why, size_t size);

#endif
