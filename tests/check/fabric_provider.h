/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In place of libfabric and a provider: it has what providers differ in. Nothing is transferred; what a function was
 * given is noted.
 */
#ifndef TESTS_CHECK_FABRIC_PROVIDER_H
#define TESTS_CHECK_FABRIC_PROVIDER_H

#include <rdma/fi_endpoint.h>
#include <stdbool.h>
#include <stddef.h>

struct fabric_provider {
	/* Set by the test. */
	bool cached;	    /* there is one region, which all get */
	bool refuses;	    /* to close regions, and to pin them anew */
	bool opens_its_own; /* endpoints of the same domain, when one is enabled, and transfers by it */
	void (*below)(
		void); /* what a registration and an endpoint's enabling call, if it is not NULL */
	/* Noted, by whatever thread. */
	unsigned int regions; /* open, each as often as it has been opened */
	struct fid_ep *own;   /* the newest that it has opened for itself */
	const char *op;	      /* the last operation */
	const void *addr;
	size_t length; /* of the first part, in bytes or elements */
};

extern struct fabric_provider fabric_provider;

#endif
