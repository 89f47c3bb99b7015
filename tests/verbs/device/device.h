/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A verbs device for machines without RDMA hardware: functions of libibverbs, in front of libibverbs. What is pinned is
 * real (coverage/pin.h): the device reads and writes the pages that were there at the registration, whatever is mapped
 * at their addresses since. So a stale registration gives stale bytes, and nothing is simulated but the wire.
 *
 * Link the sources to a program, or preload libmrn-verbs-device.so: then libfabric.so.1, too, finds a device "mock0" of
 * one port, and uses its registration cache for it.
 *
 *	FI_PROVIDER=verbs, FI_EP_DGRAM, LD_PRELOAD=.../tests/libmrn-verbs-device.so
 *
 * The device works when a program polls any completion queue: between ibv_post_send and the next ibv_poll_cq a transfer
 * is in flight, and has touched no memory. Queue pairs of one process talk to each other: RC, with SEND, RDMA_WRITE and
 * RDMA_READ. Each registration has a number of its own, which is both its lkey and its rkey.
 */
#ifndef TESTS_VERBS_DEVICE_H
#define TESTS_VERBS_DEVICE_H

#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Set at any time; a program that does not link the device finds it by dlsym. The first three are first taken from the
 * environment: VERBS_DEVICE_DELAY_MS, VERBS_DEVICE_FAIL_NTH, VERBS_DEVICE_FAIL_ERRNO.
 */
struct verbs_device_opts {
	unsigned int delay_ms;	   /* between pinning and the end of a registration */
	unsigned int fail_nth;	   /* the n-th registration from now on fails, */
	int fail_errno;		   /* with this error; 0 means ENOMEM */
	unsigned int refuse_dereg; /* so many deregistrations from now on fail with EBUSY */
	int rereg_error; /* what the next change of a registration comes to; 0: it succeeds */
	enum ibv_fork_status fork; /* what ibv_is_fork_initialized says */
	/* Called between pinning and the end of a registration; or NULL. */
	void (*pinned)(void *addr, size_t length);
};
extern struct verbs_device_opts verbs_device_opts;

/* How many registrations there are. */
unsigned int verbs_device_live(void);

/*
 * Copies what the device finds under a key at [addr, addr + length), without a queue pair. 0; -EINVAL for
 * a key that is no registration's, or not of all these bytes; -errno of the transfer.
 */
int verbs_device_read(uint32_t key, const void *addr, size_t length, void *to);

#endif
