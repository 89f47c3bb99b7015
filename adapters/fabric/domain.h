/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this adapter know of a domain. */
#ifndef MRN_FABRIC_DOMAIN_H
#define MRN_FABRIC_DOMAIN_H

#include <pthread.h>

#include <mrn/fabric.h>

struct share;

/* Registrations that are open: those of the cache's entries, and stuck ones, which fi_close has refused to close. */
struct registrations {
	pthread_mutex_t lock;  /* a leaf: nothing is called inside it */
	struct fid_mr **stuck; /* room for nr: nr_stuck <= nr_open <= nr */
	unsigned int nr, nr_open, nr_stuck;
};

/* Keys that peers have. */
struct shares {
	pthread_mutex_t lock; /* of the list; a leaf */
	struct share *first;
	int fd;	       /* an eventfd: counts rings */
	uint32_t bell; /* a share may have changed since the last look */
};

struct mrn_fabric {
	struct fid_domain *domain;
	uint64_t access;   /* opts->access */
	uint64_t need;	   /* never 0 */
	bool ignores_fork; /* pinned pages stay the parent's */
	bool by_address;   /* FI_MR_VIRT_ADDR: peers address memory as its owner does */
	bool own_keys;	   /* the provider takes the keys that we choose */
	uint64_t key_mask;
	struct mrn_source *source;
	struct mrn_mm *mm;	    /* mrn_mm_self(); in a forked child, its parent's */
	struct mrn_regcache *cache; /* NULL after a destroy that left stuck registrations */
	struct registrations open;
	struct shares shares;
};

/* registration.c. The cache's functions: ctx is a struct mrn_fabric. */
extern const struct mrn_regcache_ops mrn_fabric_ops;
/* Tries again to close what is stuck. */
void mrn_fabric_close_stuck(struct mrn_fabric *f);

/* share.c. 0 or -errno. */
int mrn_fabric_shares_init(struct shares *shares);
void mrn_fabric_shares_destroy(struct shares *shares);

#endif
