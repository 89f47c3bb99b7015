/* SPDX-License-Identifier: BSD-3-Clause */
/* The device itself: what there is to find, open and ask. */
#include "tests/verbs/device/device.h"

#include <errno.h>
#include <infiniband/efadv.h>
#include <stdlib.h>
#include <string.h>

#include "tests/verbs/device/memory.h"
#include "tests/verbs/device/queue.h"

/* verbs.h has macros of these names, which call newer functions where the device has them. */
#undef ibv_get_device_list
#undef ibv_query_port

struct verbs_device_opts verbs_device_opts = {.fork = IBV_FORK_UNNEEDED};

static unsigned int number(const char *name)
{
	const char *value = getenv(name);

	return value ? (unsigned int)strtoul(value, NULL, 10) : 0;
}

__attribute__((constructor)) static void take_environment(void)
{
	verbs_device_opts.delay_ms = number("VERBS_DEVICE_DELAY_MS");
	verbs_device_opts.fail_nth = number("VERBS_DEVICE_FAIL_NTH");
	verbs_device_opts.fail_errno = (int)number("VERBS_DEVICE_FAIL_ERRNO");
}

static struct ibv_device device = {
	.node_type = IBV_NODE_CA,
	.transport_type = IBV_TRANSPORT_IB,
	.name = "mock0",
	.dev_name = "uverbs0",
};

static struct ibv_context context = {
	.device = &device,
	.ops = {.poll_cq = queue_poll, .post_send = queue_post_send, .post_recv = queue_post_recv},
	.cmd_fd = -1,
	.async_fd = -1,
	.num_comp_vectors = 1,
};

/* ------------------------------------------------------------------------------------------ finding */

/* Lists end with NULL. */
static void *list_of(void *only, int *nr)
{
	void **list = calloc(2, sizeof(*list));

	if (list)
		list[0] = only;
	if (nr)
		*nr = list ? 1 : 0;
	return list;
}

struct ibv_device **ibv_get_device_list(int *nr)
{
	return list_of(&device, nr);
}

void ibv_free_device_list(struct ibv_device **list)
{
	free(list);
}

const char *ibv_get_device_name(struct ibv_device *dev)
{
	return dev->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *dev)
{
	return &context;
}

int ibv_close_device(struct ibv_context *ctx)
{
	return 0;
}

/* librdmacm's, whose header has a package of its own. */
struct ibv_context **rdma_get_devices(int *nr);
void rdma_free_devices(struct ibv_context **list);

struct ibv_context **rdma_get_devices(int *nr)
{
	return list_of(&context, nr);
}

void rdma_free_devices(struct ibv_context **list)
{
	free(list);
}

/* Is it one of Amazon's? */
int efadv_query_device(struct ibv_context *ctx, struct efadv_device_attr *attr, uint32_t size)
{
	return EOPNOTSUPP;
}

int ibv_fork_init(void)
{
	return 0;
}

enum ibv_fork_status ibv_is_fork_initialized(void)
{
	return verbs_device_opts.fork;
}

/* ------------------------------------------------------------------------------------------- asking */

int ibv_query_device(struct ibv_context *ctx, struct ibv_device_attr *attr)
{
	*attr = (struct ibv_device_attr){
		.fw_ver = "1",
		.max_mr_size = MEMORY_MAX_LENGTH,
		.vendor_id = 1,
		.max_qp = 100,
		.max_qp_wr = 1024,
		.max_sge = QUEUE_MAX_SGE,
		.max_cq = 100,
		.max_cqe = 4096,
		.max_mr = MEMORY_MAX,
		.max_pd = 100,
		.max_qp_rd_atom = 16,
		.max_qp_init_rd_atom = 16,
		.max_ah = 100,
		.phys_port_cnt = 1,
	};
	return 0;
}

/* The caller's structure ends before flags: that is what the compat version is. */
int ibv_query_port(struct ibv_context *ctx, uint8_t port, struct _compat_ibv_port_attr *compat)
{
	struct ibv_port_attr attr = {
		.state = IBV_PORT_ACTIVE,
		.max_mtu = IBV_MTU_4096,
		.active_mtu = IBV_MTU_4096,
		.gid_tbl_len = 1,
		.max_msg_sz = 1 << 30,
		.pkey_tbl_len = 1,
		.lid = 1,
		.active_width = 2,
		.active_speed = 32,
		.link_layer = IBV_LINK_LAYER_INFINIBAND,
	};

	memcpy(compat, &attr, offsetof(struct ibv_port_attr, flags));
	return 0;
}

int ibv_query_gid(struct ibv_context *ctx, uint8_t port, int index, union ibv_gid *gid)
{
	/* A link-local address. */
	*gid = (union ibv_gid){.raw = {[0] = 0xfe, [1] = 0x80, [15] = 1}};
	return 0;
}

int ibv_query_pkey(struct ibv_context *ctx, uint8_t port, int index, __be16 *pkey)
{
	*pkey = 0xffff;
	return 0;
}

/* -------------------------------------------------------------------------------- protection domains */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *ctx)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	if (pd)
		pd->context = ctx;
	return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	free(pd);
	return 0;
}
