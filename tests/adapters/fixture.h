/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the adapters over the cache share: a source, parts that are broken once it is there, and memory. */
#ifndef TESTS_ADAPTERS_FIXTURE_H
#define TESTS_ADAPTERS_FIXTURE_H

#include <errno.h>
#include <mrn/mrn.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* For TWIN: takes a part of the library out, once the source has passed its self-test. */
#define BREAK_OPEN(part) BREAK_LATER(fixture_break, part)
extern struct break_later fixture_break;

/* One that covers what a cache needs. Skips the test where none is to be had. */
struct mrn_source *fixture_source(void);

/* Private memory, each byte of it fill; small pages, which are accounted as what they are. */
char *fixture_map(size_t length, char fill);

#endif
