/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is mapped by ucp_mem_map, and used by a request that names its handle. It counts whatever transport UCX has
 * chosen: over shared memory nothing is pinned, but a program that is wrong there is wrong over RDMA.
 *
 * Not followed: memory that UCX allocates; that of a GPU; and what is mapped with UCP_MEM_MAP_NONBLOCK, whose pages may be
 * faulted in on demand. What UCX registers by itself, in its cache, is libibverbs' in the end: verbs.h.
 */
#ifndef MRN_CHECK_UCX_H
#define MRN_CHECK_UCX_H

#include <stddef.h>
#include <ucp/api/ucp.h>

/* The request is about to use these bytes, if it names a handle of memory. */
void check_ucx_use(const void *buffer, size_t count, const ucp_request_param_t *param,
		   const char *op);

/* In a forked child. */
void check_ucx_restart(void);

#endif
