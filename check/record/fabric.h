/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libfabric, over whatever provider: memory that the program registers with a domain, and transfers that name its
 * descriptor. It counts whether the provider pins or not: a program that is wrong over tcp is wrong over RDMA.
 *
 * Nearly all of libfabric's calls are inline, and go through tables of functions that a provider has for its objects:
 * fi_fabric alone is called by name. So functions of ours are put into these tables (fabric_tables.c): a fabric's when
 * fi_fabric returns it, a domain's when the fabric has opened it, and so on (fabric_objects.c). The tables are the
 * provider's own, and stay where they are. Some providers know an object by the address of its table, and some have one
 * for each endpoint, which they write to and free.
 *
 * A table may be that of objects, too, which the program knows nothing of, as of the endpoints over which ofi_rxm makes
 * its own. Ours then find that the object is not known, and only call what is behind them.
 *
 * Not followed: memory of a GPU, or that of a DMA-BUF; and what libibverbs below pages in on demand. Not a use: what is
 * injected, which the CPU copies before the call returns. Not seen: work that is queued to be triggered (FI_QUEUE_WORK),
 * collective operations, and what a provider offers besides (fi_open_ops).
 *
 * Without a version name, like all that is preloaded: a program for libfabric before 1.5 of 2017 cannot be checked.
 */
#ifndef MRN_CHECK_FABRIC_H
#define MRN_CHECK_FABRIC_H

/* Before libfabric's headers, which else have their own. */
#include "os/container_of.h"

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* ------------------------------------------------------------------------- tables: fabric_tables.c */

/* A function of a table's, as what the compiler may not look into. */
typedef void check_fabric_function(void);

/* What is put where. A place always gets the same function. */
struct check_fabric_slot {
	size_t offset;
	check_fabric_function *ours;
};
#define CHECK_FABRIC_SLOT(type, member, function)                            \
	{                                                                    \
		offsetof(type, member), (check_fabric_function *)(function), \
	}

/*
 * Puts ours in front of what is in the table, as far as it goes by its size and has a function there. True if all that
 * it has are behind ours; false without memory, or if the table cannot be written.
 */
bool check_fabric_front(void *table, const struct check_fabric_slot *slots, size_t nr);
/* What the table, or the one that it is a copy of, had in the place where ours has been called; NULL if nobody knows. */
check_fabric_function *check_fabric_behind(const void *table, size_t offset,
					   check_fabric_function *ours);

/* The same for a member of a table, by its type. */
#define CHECK_FABRIC_BEHIND(table, member, ours)                                                  \
	__extension__({                                                                           \
		__typeof__(table) table_ = (table);                                               \
                                                                                                  \
		(__typeof__(table_->member))check_fabric_behind(table_,                           \
								offsetof(__typeof__(*table_),     \
									 member),                 \
								(check_fabric_function *)(ours)); \
	})

/* ----------------------------------------------------------------------- objects: fabric_objects.c */

struct check_fabric_domain {
	bool has_devices; /* a registration says whose memory it is of */
	bool on_demand;
};

/* False for an object that the program has not got. */
bool check_fabric_domain_is_known(const struct fid_domain *domain,
				  struct check_fabric_domain *known);
/* From now on the domain's registrations are not followed. */
void check_fabric_domain_follows(const struct fid_domain *domain);
/* The domain that the endpoint is of; 0 if it is not known. */
uintptr_t check_fabric_domain_of(const struct fid_ep *ep);

/* Puts ours in front of an object's own functions. False if its end would not be seen. */
bool check_fabric_front_fid(struct fid *fid);

/* --------------------------------------------------------------------- regions: fabric_regions.c */

/* Registrations are seen from now on. */
void check_fabric_see_regions(struct fid_domain *domain);
/* Ends the region by what is behind: 0 or a negative error of libfabric's. */
int check_fabric_close_region(struct fid *fid, int (*close)(struct fid *fid));
/*
 * The region's pages have been pinned anew, where these are, or all of them. After the call, as one that fails pins none: of
 * what another thread changes during it, nobody can say on which side of the pin that was, and it is not told.
 */
void check_fabric_pin_again(const struct fid *fid, const struct iovec *iov, size_t count);
void check_fabric_pin_all_again(const struct fid *fid);
/* The domain has ended, and what is left of its regions with it. */
void check_fabric_end_regions(const struct fid_domain *domain);

/* The endpoint is told to use these bytes of what the descriptor names, if that is not NULL. */
void check_fabric_use(const struct fid_ep *ep, const void *addr, size_t length, const void *desc,
		      const char *op);
/* The same for each part; there may be no descriptors at all. */
void check_fabric_use_parts(const struct fid_ep *ep, const struct iovec *part, void *const *desc,
			    size_t nr, const char *op);
/* More than any provider takes: such a list is refused, and may be shorter than it claims. */
#define CHECK_FABRIC_PARTS 256

/* ------------------------------------------- transfers: fabric_transfers.c, fabric_atomics.c */

/*
 * A function of an endpoint's table: what it uses, and then what is behind it, with the arguments that follow. What has
 * been told of the former counts while the latter is called.
 */
#define CHECK_FABRIC_TRANSFER(table, member, parameters, uses, ...)               \
	static ssize_t table##_##member parameters                                \
	{                                                                         \
		__typeof__(&table##_##member) behind =                            \
			CHECK_FABRIC_BEHIND(ep->table, member, table##_##member); \
		const struct check_above was = check_above;                       \
		ssize_t r;                                                        \
                                                                                  \
		if (!behind)                                                      \
			return -FI_ENOSYS;                                        \
		uses;                                                             \
		r = behind(__VA_ARGS__);                                          \
		check_above = was;                                                \
		return r;                                                         \
	}

/* Uses are seen from now on, by what the endpoint has at the moment. */
void check_fabric_see_transfers(struct fid_ep *ep);
void check_fabric_see_atomics(struct fid_ep *ep);

/* In a forked child, which has a copy of the objects. */
void check_fabric_objects_restart(void);
/* In a forked child: all of the above. */
void check_fabric_restart(void);

#endif
