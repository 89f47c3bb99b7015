/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Things of one type, whose memory is never used for anything else: a pointer to one may always be followed, if only to
 * learn that it is in nobody's hands. Takes no lock and allocates whole pages, on the event path. It grows to the most
 * that are in use at a time.
 */
#ifndef MRN_CHECK_POOL_H
#define MRN_CHECK_POOL_H

#include <stddef.h>
#include <stdint.h>

/* A member of each thing. */
struct check_pooled {
	uint32_t number; /* 1 + its place; 0: never taken */
	uint32_t next;	 /* a number; while it is free */
};

#define CHECK_POOL_CHUNKS 4096

struct check_pool {
	size_t size, offset, in_chunk;
	/* The newest free one's number, and above that how often it has been changed: see pool.c. */
	uint64_t vacant;
	uint32_t chunks; /* atomic */
	char *chunk[CHECK_POOL_CHUNKS];
};

#define CHECK_POOL(type, member)                                        \
	{                                                               \
		.size = sizeof(type), .offset = offsetof(type, member), \
		.in_chunk = 65536 / sizeof(type),                       \
	}

/* NULL without memory. A new one is zeroed; others are as they were put. */
struct check_pooled *check_pool_get(struct check_pool *pool);
void check_pool_put(struct check_pool *pool, struct check_pooled *thing);
/* By its number; NULL if there has never been one. */
struct check_pooled *check_pool_at(const struct check_pool *pool, uint32_t number);
/* No thing has a higher number; some below may not be there yet. */
uint32_t check_pool_highest(const struct check_pool *pool);
/* In a forked child: none is in use. What its parent had stays allocated. */
void check_pool_restart(struct check_pool *pool);

#endif
