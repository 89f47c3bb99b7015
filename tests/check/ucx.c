/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of UCX's calls, in front of the real libucp. */
#include "check/record/ucx.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check/shared/check.h"
#include "tests/check/stub.h"
#include "tests/harness/test.h"

#define LENGTH 65536
#define MEMH   UCP_OP_ATTR_FIELD_MEMH
#define TYPE   UCP_OP_ATTR_FIELD_DATATYPE

static ucp_context_h context;
static ucp_worker_h worker;
static char *p;

static void open_all(void)
{
	ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
			       .features = UCP_FEATURE_TAG | UCP_FEATURE_RMA};
	ucp_worker_params_t worker_params = {0};
	ucp_config_t *config;

	CHECK_EQ(ucp_config_read(NULL, NULL, &config), UCS_OK);
	CHECK_EQ(ucp_config_modify(config, "TLS", "self,tcp"), UCS_OK);
	CHECK_EQ(ucp_init(&params, config, &context), UCS_OK);
	ucp_config_release(config);
	CHECK_EQ(ucp_worker_create(context, &worker_params, &worker), UCS_OK);
	p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
}

static void close_all(void)
{
	ucp_worker_destroy(worker);
	ucp_cleanup(context);
	CHECK_EQ(stub_count(STUB_BEGUN) + stub_count(STUB_DONE), 0);
	CHECK_EQ(stub_wrong_uses, 0);
}

static ucp_mem_h map(ucp_mem_map_params_t params)
{
	ucp_mem_h memh;

	params.address = p;
	params.length = LENGTH;
	params.field_mask |= UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
	CHECK_EQ(ucp_mem_map(context, &params, &memh), UCS_OK);
	return memh;
}

TEST(a_handle_is_followed_until_it_ends)
{
	const struct check_reg *reg;
	ucp_mem_h memh;

	open_all();
	memh = map((ucp_mem_map_params_t){0});
	reg = stub_newest();
	CHECK_EQ(stub_begun, 1);
	CHECK_EQ(reg->of, CHECK_UCX);
	CHECK_EQ(reg->state, STUB_DONE);
	CHECK_EQ(reg->addr, (uintptr_t)p);
	CHECK_EQ(reg->length, LENGTH);
	CHECK_EQ(reg->flags, 0);
	CHECK_EQ(reg->name, (uintptr_t)memh);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	CHECK_EQ(reg->state, STUB_ENDED);
	memh = map((ucp_mem_map_params_t){.field_mask = UCP_MEM_MAP_PARAM_FIELD_PROT,
					  .prot = UCP_MEM_MAP_PROT_REMOTE_READ});
	CHECK_EQ(stub_newest()->flags, CHECK_UNSEEN_USES);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	close_all();
}

TEST(what_ucx_may_move_is_not_followed)
{
	ucp_mem_map_params_t allocate = {
		.field_mask = UCP_MEM_MAP_PARAM_FIELD_FLAGS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
		.flags = UCP_MEM_MAP_ALLOCATE,
		.length = LENGTH,
	};
	ucp_mem_h memh;

	open_all();
	memh = map((ucp_mem_map_params_t){.field_mask = UCP_MEM_MAP_PARAM_FIELD_FLAGS,
					  .flags = UCP_MEM_MAP_NONBLOCK});
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	CHECK_EQ(ucp_mem_map(context, &allocate, &memh), UCS_OK);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	CHECK_EQ(stub_begun, 0);
	/* Neither is what cannot be mapped. */
	allocate.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS;
	CHECK_NE(ucp_mem_map(context, &allocate, &memh), UCS_OK);
	CHECK_EQ(stub_begun, 0);
	close_all();
}

/* One step: a request of `count` from `buffer`; what it uses, or NULL. */
static void check_request(ucp_request_param_t param, const void *buffer, size_t count,
			  const char *used, size_t length)
{
	struct check_reg *reg = stub_newest();
	unsigned int before = reg->uses;

	check_ucx_use(buffer, count, &param, "op");
	CHECK_EQ(reg->uses, before + (used ? 1 : 0));
	if (used) {
		CHECK_EQ(reg->used, (uintptr_t)used);
		CHECK_EQ(reg->used_length, length);
	}
}

TEST(a_request_uses_what_it_names)
{
	ucp_dt_iov_t iov[] = {{NULL, 0}, {NULL, 30}};
	ucp_request_param_t param = {.op_attr_mask = MEMH};
	ucp_mem_h memh;
	char own[8];

	open_all();
	iov[1].buffer = p + 20;
	memh = param.memh = map((ucp_mem_map_params_t){0});
	check_request(param, p + 5, 6, p + 5, 6);
	check_request(param, p, LENGTH, p, LENGTH);
	check_request(param, p, 0, NULL, 0);
	param.op_attr_mask = MEMH | TYPE;
	param.datatype = ucp_dt_make_contig(8);
	check_request(param, p + 5, 6, p + 5, 48);
	param.datatype = ucp_dt_make_iov();
	check_request(param, iov, 2, p + 20, 30);
	/* The program packs the bytes, without the handle. */
	param.datatype = UCP_DATATYPE_GENERIC;
	check_request(param, p, 8, NULL, 0);
	/* Not of the handle's memory; no handle, or none that is known. */
	param.op_attr_mask = MEMH;
	check_request(param, own, sizeof(own), NULL, 0);
	check_request(param, p + 1, LENGTH, NULL, 0);
	param.op_attr_mask = 0;
	check_request(param, p, 8, NULL, 0);
	param.op_attr_mask = MEMH;
	param.memh = (ucp_mem_h)(uintptr_t)&own;
	check_request(param, p, 8, NULL, 0);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	close_all();
}

TWIN(a_request_uses_what_it_names, counts_are_bytes, MRN_BREAK(CHECK_UCX_TYPES));

TEST(requests_reach_ucx)
{
	ucp_request_param_t param = {.op_attr_mask = MEMH};
	ucs_status_ptr_t request;
	ucp_mem_h memh;

	open_all();
	memh = param.memh = map((ucp_mem_map_params_t){0});
	request = ucp_tag_recv_nbx(worker, p, 10, 1, 1, &param);
	CHECK(UCS_PTR_IS_PTR(request));
	CHECK_EQ(stub_newest()->uses, 1);
	CHECK_MSG(!strcmp(stub_newest()->op, "ucp_tag_recv_nbx"), "%s", stub_newest()->op);
	ucp_request_cancel(worker, request);
	CHECK_EQ(ucp_request_check_status(request), UCS_ERR_CANCELED);
	ucp_request_free(request);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	close_all();
}

TEST(a_forked_child_has_nothing)
{
	ucp_mem_h memh;

	open_all();
	memh = map((ucp_mem_map_params_t){0});
	check_ucx_restart();
	check_request((ucp_request_param_t){.op_attr_mask = MEMH, .memh = memh}, p, 8, NULL, 0);
	CHECK_EQ(ucp_mem_unmap(context, memh), UCS_OK);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
}
