/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this adapter know of a domain. */
#ifndef MRN_FABRIC_DOMAIN_H
#define MRN_FABRIC_DOMAIN_H

#include <pthread.h>

#include <mrn/fabric.h>

#include "adapters/adapter.h"

struct share;

/* Keys that peers have. */
struct shares {
	pthread_mutex_t lock; /* of the list; a leaf */
	struct share *first;
	int fd;	       /* an eventfd: counts rings */
	uint32_t bell; /* a share may have changed since the last look */
};

struct mrn_fabric {
	struct mrn_adapter adapter; /* first: what its functions are given */
	struct fid_domain *domain;
	uint64_t access;   /* opts->access */
	uint64_t need;	   /* never 0 */
	bool ignores_fork; /* pinned pages stay the parent's */
	bool by_address;   /* FI_MR_VIRT_ADDR: peers address memory as its owner does */
	bool own_keys;	   /* the provider takes the keys that we choose */
	uint64_t key_mask;
	struct mrn_source *source;
	struct shares shares;
};

/* registration.c. What the adapter calls: it is given a struct mrn_fabric. */
extern const struct mrn_adapter_ops mrn_fabric_ops;

/* share.c. 0 or -errno. */
int mrn_fabric_shares_init(struct shares *shares);
void mrn_fabric_shares_destroy(struct shares *shares);

#endif
