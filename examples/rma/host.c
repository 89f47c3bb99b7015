/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#define MODES	 (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY)
#define PATIENCE 8 /* seconds without a sign of the other host */

void die(const struct host *h, int status, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "rma %s: ", h->role);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(status);
}

static void check(const struct host *h, const char *what, ssize_t r)
{
	if (r < 0)
		die(h, 1, "%s: %s", what, fi_strerror((int)-r));
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* -------------------------------------------------------------------------------- the connection */

static void meet(struct host *h, const char *address, unsigned int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	time_t until = now() + PATIENCE;

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		die(h, 1, "%s is no IPv4 address", address);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!strcmp(h->role, "server")) {
		if (bind(s, (struct sockaddr *)&at, sizeof(at)) || listen(s, 1))
			die(h, 1, "%s port %u: %s", address, port, strerror(errno));
		h->control = accept(s, NULL, NULL);
		close(s);
	} else {
		while (connect(s, (struct sockaddr *)&at, sizeof(at))) {
			if (now() > until)
				die(h, 1, "no server at %s port %u: %s", address, port,
				    strerror(errno));
			usleep(20000);
			close(s);
			s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		}
		h->control = s;
	}
	setsockopt(h->control, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

__attribute__((noreturn)) static void gone(const struct host *h)
{
	die(h, 1, "the other host has gone in the middle of a transfer");
}

void host_send(struct host *h, const void *data, size_t length)
{
	if (send(h->control, data, length, MSG_NOSIGNAL) != (ssize_t)length)
		gone(h);
}

/* Reads a completion, if there is one; lets the peer run if not. */
static void progress(struct host *h)
{
	struct fi_cq_err_entry error = {0};
	struct fi_cq_entry entry;
	ssize_t r = fi_cq_read(h->cq, &entry, 1);

	if (r == -FI_EAVAIL) {
		fi_cq_readerr(h->cq, &error, 0);
		die(h, 1, "a transfer has failed: %s", fi_strerror(error.err));
	}
	if (r == -FI_EAGAIN) {
		sched_yield();
		return;
	}
	check(h, "fi_cq_read", r);
	h->done++;
}

void host_receive(struct host *h, void *data, size_t length)
{
	time_t until = now() + PATIENCE;
	char *to = data;

	while (length) {
		ssize_t n = recv(h->control, to, length, MSG_DONTWAIT);

		if (n > 0) {
			to += n;
			length -= (size_t)n;
		} else if (!n || errno != EAGAIN || now() > until) {
			gone(h);
		} else {
			progress(h);
		}
	}
}

/* The control connection says that the other host has gone before, or instead of, the provider. */
static void look_for(struct host *h, time_t until)
{
	char byte;
	ssize_t n = recv(h->control, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	if (!n || (n < 0 && errno != EAGAIN) || now() > until)
		gone(h);
}

void host_begin(struct host *h, bool is_write, struct mrn_fabric_mr *mr, void *local, size_t length,
		uint64_t addr, uint64_t key)
{
	struct iovec iov = {.iov_base = local, .iov_len = length};
	struct fi_rma_iov there = {.addr = addr, .len = length, .key = key};
	void *desc = mrn_fabric_mr_desc(mr);
	struct fi_msg_rma msg = {
		.msg_iov = &iov,
		.desc = &desc,
		.iov_count = 1,
		.addr = h->peer,
		.rma_iov = &there,
		.rma_iov_count = 1,
	};
	time_t until = now() + PATIENCE;
	ssize_t r;

	do {
		r = is_write ? fi_writemsg(h->ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE)
			     : fi_readmsg(h->ep, &msg, FI_COMPLETION);
		if (r == -FI_EAGAIN) {
			progress(h);
			look_for(h, until);
		}
	} while (r == -FI_EAGAIN);
	check(h, is_write ? "fi_writemsg" : "fi_readmsg", r);
}

void host_wait(struct host *h, unsigned int n)
{
	time_t until = now() + PATIENCE;

	while (h->done < n) {
		look_for(h, until);
		progress(h);
	}
	h->done -= n;
}

/* --------------------------------------------------------------------------------- open and close */

static void open_endpoint(struct host *h, const char *address, unsigned int port,
			  const char *provider)
{
	struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};
	struct fi_av_attr av = {.type = FI_AV_MAP};
	struct fi_info *hints = fi_allocinfo();
	char service[16];
	int r;

	snprintf(service, sizeof(service), "%u", port + 1);
	hints->fabric_attr->prov_name = strdup(provider);
	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_RMA | FI_MSG;
	hints->domain_attr->mr_mode = MODES;
	hints->addr_format = FI_SOCKADDR_IN;
	r = fi_getinfo(FI_VERSION(1, 14), address, service,
		       strcmp(h->role, "server") ? 0 : FI_SOURCE, hints, &h->info);
	fi_freeinfo(hints);
	if (r)
		die(h, EXIT_SKIP, "skipped: no provider %s for %s: %s", provider, address,
		    fi_strerror(-r));
	check(h, "fi_fabric", fi_fabric(h->info->fabric_attr, &h->fabric, NULL));
	check(h, "fi_domain", fi_domain(h->fabric, h->info, &h->domain, NULL));
	check(h, "fi_cq_open", fi_cq_open(h->domain, &cq, &h->cq, NULL));
	check(h, "fi_av_open", fi_av_open(h->domain, &av, &h->av, NULL));
	check(h, "fi_endpoint", fi_endpoint(h->domain, h->info, &h->ep, NULL));
	check(h, "fi_ep_bind", fi_ep_bind(h->ep, &h->cq->fid, FI_TRANSMIT | FI_RECV));
	check(h, "fi_ep_bind", fi_ep_bind(h->ep, &h->av->fid, 0));
	check(h, "fi_enable", fi_enable(h->ep));
}

static void open_cache(struct host *h)
{
	char why[512] = "";
	struct mrn_source_opts sopts = {.size = sizeof(sopts), .need = MRN_COVER_PAGES};
	struct mrn_fabric_opts opts = {
		.size = sizeof(opts),
		.access = strcmp(h->role, "server") ? 0 : FI_REMOTE_READ | FI_REMOTE_WRITE,
	};
	int r;

	sopts.why = opts.why = why;
	sopts.why_size = opts.why_size = sizeof(why);
	r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &sopts, &h->source);
	if (!r) {
		opts.source = h->source;
		r = mrn_fabric_create(h->domain, h->info, &opts, &h->f);
	}
	if (r)
		die(h, EXIT_SKIP, "skipped: %s", *why ? why : strerror(-r));
}

void host_open(struct host *h, const char *address, unsigned int port, const char *provider)
{
	char name[64] = "", theirs[64];
	size_t length = sizeof(name);

	open_endpoint(h, address, port, provider);
	open_cache(h);
	meet(h, address, port);
	check(h, "fi_getname", fi_getname(&h->ep->fid, name, &length));
	host_send(h, name, sizeof(name));
	host_receive(h, theirs, sizeof(theirs));
	if (fi_av_insert(h->av, theirs, 1, &h->peer, 0, NULL) != 1)
		die(h, 1, "fi_av_insert: the other host's address is refused");
}

void host_close(struct host *h)
{
	close(h->control);
	check(h, "mrn_fabric_destroy", mrn_fabric_destroy(h->f));
	fi_close(&h->ep->fid);
	fi_close(&h->av->fid);
	fi_close(&h->cq->fid);
	/* With a registration left it is busy. */
	check(h, "fi_close of the domain", fi_close(&h->domain->fid));
	fi_close(&h->fabric->fid);
	fi_freeinfo(h->info);
	check(h, "mrn_source_detach", mrn_source_detach(h->source));
}
