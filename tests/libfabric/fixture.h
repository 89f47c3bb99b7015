/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real libfabric.so.1 with its cache of registrations, over a verbs device whose pins are real (tests/verbs/device),
 * and mrn as its memory monitor.
 */
#ifndef TESTS_LIBFABRIC_FIXTURE_H
#define TESTS_LIBFABRIC_FIXTURE_H

#include <mrn/libfabric.h>
#include <rdma/fi_domain.h>
#include <stdbool.h>

#include "adapters/libfabric/check.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"

#define LENGTH 65536

/* Is mrn told when a registration begins, as with libmrn-libfabric-preload.so? Set at the start; true at first. */
extern bool fixture_begins;
/* What twins break. */
extern struct break_later fixture_break;

/* Installs; skips the test where no source of these kinds is to be had. 0: AUTO, the default of ranges. */
void fixture_install(unsigned int kinds, unsigned int max_ranges);

/* A domain of the device's; with a cache, unless FI_MR_CACHE_MAX_COUNT is 0. Skips where nothing can be pinned. */
struct fid_domain *fixture_domain(void);

/* Fresh pages, all `fill`; at this address, over what is there, or anywhere (NULL). By libc's mmap. */
char *fixture_map(char *at, char fill);

/* As a program does: registers memory, and gives it back. */
struct fid_mr *fixture_reg(struct fid_domain *domain, char *addr, size_t length);
void fixture_close(struct fid_mr *mr);

/* What the device reads there through the registration. */
char fixture_peek(struct fid_mr *mr, const char *at);
/* Registers, peeks, gives back. */
char fixture_look(struct fid_domain *domain, char *addr);
/* How many registrations the device has seen while it registered and gave back: 0 for a hit in the cache. */
bool fixture_is_kept(struct fid_domain *domain, char *addr);

struct mrn_libfabric_stats fixture_stats(void);

#endif
