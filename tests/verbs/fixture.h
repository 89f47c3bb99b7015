/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of libmrn-verbs share: a source, the device with two queue pairs, and the library in front of its
 * memory regions. By the first queue pair, bytes go between the memory under test and memory of the device's user that
 * stays: the other side.
 */
#ifndef TESTS_VERBS_FIXTURE_H
#define TESTS_VERBS_FIXTURE_H

#include <mrn/verbs.h>

#include "tests/adapters/fixture.h"
#include "tests/verbs/device/device.h"
#include "tests/verbs/pair.h"

#define OTHER_LENGTH	262144
#define FIXTURE_REMOTES (IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

struct fixture {
	struct mrn_source *source;
	struct pair pair;
	struct mrn_verbs *v;
	char *other;
	struct ibv_mr *other_mr;
};

/* Skips the test where a source or a device is not to be had. access: as in struct mrn_verbs_opts. */
void fixture_open(struct fixture *f, unsigned int access);
/* The halves of it: all but the library; and the library with these options, which get the fixture's source. */
void fixture_open_device(struct fixture *f);
int fixture_create(struct fixture *f, struct mrn_verbs_opts opts, char *why, size_t why_size);
/* Checks that nothing is held, and that the device has no region left. */
void fixture_close(struct fixture *f);

/* New memory in the place of the old. */
char *fixture_remap(char *p, size_t length, char fill);
struct mrn_regcache_stats fixture_stats(struct fixture *f);

/* A write of [addr, addr + length) to the other side, and a read of it from there, waited for. */
void fixture_device_reads(struct fixture *f, const char *addr, size_t length);
void fixture_device_writes(struct fixture *f, char *addr, size_t length);
/* The one byte that the device finds at addr. */
char fixture_peek(struct fixture *f, const char *addr);

#endif
