/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a fork does to pinned memory. Since Linux 5.12 the kernel copies pinned pages for the child, and nothing more is
 * needed. Before, ibv_fork_init makes libibverbs keep registered memory from children, and count registrations by
 * address. That relies on memory being deregistered before it is unmapped, which no cache does that learns of the
 * unmapping from a callback.
 */
#ifndef MRN_ADAPTERS_FORK_H
#define MRN_ADAPTERS_FORK_H

/* What ibv_is_fork_initialized says: enum ibv_fork_status. */
enum mrn_fork_status { MRN_FORK_DISABLED, MRN_FORK_ENABLED, MRN_FORK_UNNEEDED };

#define MRN_FORK_IS_ENABLED                                                                 \
	"ibv_fork_init is in effect (or RDMAV_FORK_SAFE), and this kernel does not copy "   \
	"pinned pages at a fork: libibverbs would lose track of which memory children may " \
	"not inherit"

/*
 * libibverbs' answer, in whatever library's scope it is; where there is no libibverbs, or one that is too old to say,
 * UNNEEDED or DISABLED, by the kernel alone.
 */
enum mrn_fork_status mrn_fork_status(void);

#endif
