/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of libmrn-fabric share: two domains of a real provider over loopback, one that transfers and one whose
 * memory is transferred to, with the library in front of each.
 */
#ifndef TESTS_FABRIC_FIXTURE_H
#define TESTS_FABRIC_FIXTURE_H

#include <mrn/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "adapters/fabric/check.h"
#include "tests/adapters/fixture.h"

struct side {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	struct mrn_fabric *f;
};

struct fixture {
	struct mrn_source *source;
	struct side here;  /* transfers; its registrations give peers no rights */
	struct side there; /* is transferred to */
	fi_addr_t peer;	   /* there, for here */
};

/* Skips the test where there is no source, or no such provider. registrations: 0 for the default. */
void fixture_open(struct fixture *f, const char *provider, unsigned int registrations);
/* Checks that nothing is held. */
void fixture_close(struct fixture *f);
/* The half of it that is not the source's. */
void fixture_close_sides(struct fixture *f);

/* Other memory at the same place. */
void fixture_remap(char *p, size_t length, char fill);

/* Between local, by a registration of its own, and what share names: 0, or the completion's error, negative. */
int fixture_write(struct fixture *f, const char *local, size_t length, uint64_t addr, uint64_t key);
int fixture_read(struct fixture *f, char *local, size_t length, uint64_t addr, uint64_t key);

#endif
