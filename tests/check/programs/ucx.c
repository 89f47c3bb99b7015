/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UCX's memory handles, in one process that talks to itself. WAY: send, recv, iov (sent in two pieces), put, remote
 * (others may read it).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#include "tests/check/programs/steps.h"

static ucp_context_h context;
static ucp_worker_h worker;
static ucp_ep_h ep;
static ucp_mem_h memh, other_memh;
static char other[STEPS_LENGTH];
static const char *chosen;

static void check(ucs_status_t status, const char *what)
{
	if (status != UCS_OK)
		steps_fail(what, EIO);
}

static ucp_mem_h map(void *addr, size_t length, unsigned int prot)
{
	ucp_mem_map_params_t params = {
		.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
			      (prot ? UCP_MEM_MAP_PARAM_FIELD_PROT : 0),
		.address = addr,
		.length = length,
		.prot = prot,
	};
	ucp_mem_h h;

	check(ucp_mem_map(context, &params, &h), "ucp_mem_map");
	return h;
}

void steps_open(const char *way)
{
	ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
			       .features = UCP_FEATURE_TAG | UCP_FEATURE_RMA};
	ucp_worker_params_t worker_params = {0};
	ucp_ep_params_t ep_params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS};
	ucp_address_t *address;
	size_t length;

	chosen = strdup(way);
	/* What is at hand everywhere, and takes no threads. */
	setenv("UCX_TLS", "self,tcp", 0);
	check(ucp_init(&params, NULL, &context), "ucp_init");
	check(ucp_worker_create(context, &worker_params, &worker), "ucp_worker_create");
	check(ucp_worker_get_address(worker, &address, &length), "ucp_worker_get_address");
	ep_params.address = address;
	check(ucp_ep_create(worker, &ep_params, &ep), "ucp_ep_create");
	ucp_worker_release_address(worker, address);
	other_memh = map(other, sizeof(other), 0);
}

void steps_register(char *p, size_t length)
{
	memh = map(p, length, strcmp(chosen, "remote") ? 0 : UCP_MEM_MAP_PROT_REMOTE_READ);
}

static void wait_for(ucs_status_ptr_t request, const char *what)
{
	if (UCS_PTR_IS_ERR(request))
		steps_fail(what, EIO);
	if (!request)
		return;
	while (ucp_request_check_status(request) == UCS_INPROGRESS)
		ucp_worker_progress(worker);
	check(ucp_request_check_status(request), what);
	ucp_request_free(request);
}

static void put(char *p, size_t length)
{
	ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_MEMH, .memh = memh};
	ucp_rkey_h rkey;
	size_t packed_length;
	void *packed;

	check(ucp_rkey_pack(context, other_memh, &packed, &packed_length), "ucp_rkey_pack");
	check(ucp_ep_rkey_unpack(ep, packed, &rkey), "ucp_ep_rkey_unpack");
	wait_for(ucp_put_nbx(ep, p, length, (uintptr_t)other, rkey, &param), "ucp_put_nbx");
	wait_for(ucp_ep_flush_nbx(ep, &(ucp_request_param_t){0}), "ucp_ep_flush_nbx");
	ucp_rkey_destroy(rkey);
	ucp_rkey_buffer_release(packed);
}

static void send_from(const void *from, size_t count, const ucp_request_param_t *send, char *to,
		      size_t length, const ucp_request_param_t *receive)
{
	ucs_status_ptr_t received = ucp_tag_recv_nbx(worker, to, length, 1, ~UINT64_C(0), receive);

	wait_for(ucp_tag_send_nbx(ep, from, count, 1, send), "ucp_tag_send_nbx");
	wait_for(received, "ucp_tag_recv_nbx");
}

void steps_use(char *p, size_t length)
{
	ucp_request_param_t mine = {.op_attr_mask = UCP_OP_ATTR_FIELD_MEMH, .memh = memh};
	ucp_request_param_t others = {.op_attr_mask = UCP_OP_ATTR_FIELD_MEMH, .memh = other_memh};
	ucp_dt_iov_t iov[2] = {{p, length / 2}, {p + length / 2, length / 2}};

	if (!strcmp(chosen, "put")) {
		put(p, length);
	} else if (!strcmp(chosen, "recv")) {
		send_from(other, length, &others, p, length, &mine);
	} else if (!strcmp(chosen, "iov")) {
		mine.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE;
		mine.datatype = ucp_dt_make_iov();
		send_from(iov, 2, &mine, other, length, &others);
	} else {
		send_from(p, length, &mine, other, length, &others);
	}
}

void steps_unregister(void)
{
	check(ucp_mem_unmap(context, memh), "ucp_mem_unmap");
}
