/* SPDX-License-Identifier: BSD-3-Clause */
/* How the device's queues reach its memory regions. */
#ifndef TESTS_VERBS_DEVICE_MEMORY_H
#define TESTS_VERBS_DEVICE_MEMORY_H

#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_MAX	  4000 /* regions at one time; coverage/pin.c has 4096 slots */
#define MEMORY_MAX_LENGTH ((size_t)1 << 30)

/* Part of a region, and what its use requires. pd: NULL for any. */
struct memory_part {
	struct ibv_pd *pd;
	uint32_t key;
	unsigned int access;
	uint64_t addr; /* as the region's owner numbers its bytes */
	size_t length;
};

/* 0; -EINVAL: no such region, or not all in it; -EACCES; -errno of the transfer. */
int memory_read(const struct memory_part *part, void *to);
int memory_write(const struct memory_part *part, const void *from);

#endif
