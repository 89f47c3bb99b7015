/* SPDX-License-Identifier: BSD-3-Clause */
/* One host's end: an endpoint, its registrations, and a connection to the other host for everything but the data. */
#ifndef EXAMPLES_RMA_HOST_H
#define EXAMPLES_RMA_HOST_H

#include <mrn/fabric.h>
#include <rdma/fi_endpoint.h>
#include <stdbool.h>

/* Without a provider or a source: 77. Any other failure: 1. Both after a sentence on stderr. */
#define EXIT_SKIP 77

struct host {
	const char *role; /* "server" or "client" */
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	fi_addr_t peer;
	unsigned int done; /* transfers that have completed, and that nobody has waited for */
	int control;	   /* a TCP connection */
	struct mrn_source *source;
	struct mrn_fabric *f;
};

__attribute__((format(printf, 3, 4), noreturn)) void die(const struct host *h, int status,
							 const char *format, ...);

/* Opens everything and meets the other host at address:port; its endpoint is at port + 1. */
void host_open(struct host *h, const char *address, unsigned int port, const char *provider);
void host_close(struct host *h);

/* Whole messages. Receiving makes progress for the peer's transfers meanwhile. Both die when the other host has gone. */
void host_send(struct host *h, const void *data, size_t length);
void host_receive(struct host *h, void *data, size_t length);

/* Begins a transfer between local and the other host's memory. Dies as above. */
void host_begin(struct host *h, bool is_write, struct mrn_fabric_mr *mr, void *local, size_t length,
		uint64_t addr, uint64_t key);
/* Waits for the n transfers that have been begun: then their bytes have arrived. Dies as above. */
void host_wait(struct host *h, unsigned int n);

#endif
