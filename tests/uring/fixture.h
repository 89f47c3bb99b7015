/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of libmrn-uring share: a ring with the library in front of it, a file, memory, and
 * transfers that are waited for.
 */
#ifndef TESTS_URING_FIXTURE_H
#define TESTS_URING_FIXTURE_H

#include <mrn/io_uring.h>

#include "tests/adapters/fixture.h"

struct fixture {
	struct mrn_source *source;
	struct io_uring ring;
	struct mrn_uring *u;
	int file; /* a memfd */
};

/* Skips the test where a ring or a source is not to be had. slots: 0 for the default. */
void fixture_open(struct fixture *f, unsigned int slots);
/* The half of it that is not the source's, which f has. */
void fixture_open_ring(struct fixture *f, unsigned int slots, unsigned int flags);
/* Checks that nothing is held. */
void fixture_close(struct fixture *f);

size_t fixture_page(void);
struct mrn_regcache_stats fixture_stats(struct fixture *f);

/* Submits what has been prepared and returns the one completion's result. */
int fixture_run(struct fixture *f);

/* The bytes that WRITE_FIXED of [addr, addr + length) moves, copied to to. */
void fixture_device_read(struct fixture *f, const char *addr, size_t length, char *to);
/* READ_FIXED of from's bytes into [addr, addr + length). */
void fixture_device_write(struct fixture *f, char *addr, size_t length, const char *from);
/* The one byte that WRITE_FIXED moves from addr. */
char fixture_peek(struct fixture *f, const char *addr);

/* A plain read of length bytes of the file into addr through the ring: the way out that always works. */
int fixture_plain_read(struct fixture *f, char *addr, size_t length);

#endif
