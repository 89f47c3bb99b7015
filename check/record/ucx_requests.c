/* SPDX-License-Identifier: BSD-3-Clause */
/* UCX's functions that may name a handle of memory. */
#include "check/record/ucx.h"

#include <stdint.h>

#include "os/behind.h"

#include "os/event_path.h"

/* Its parameters are the prototype's; each has a buffer, a count and a param. */
#define REQUEST(name, parameters, ...)                                          \
	__attribute__((visibility("default"))) ucs_status_ptr_t name parameters \
	{                                                                       \
		__typeof__(&(name)) behind = MRN_BEHIND(name, "libucp.so.0");   \
                                                                                \
		if (!behind)                                                    \
			return (ucs_status_ptr_t)(intptr_t)UCS_ERR_UNSUPPORTED; \
		check_ucx_use(buffer, count, param, #name);                     \
		return behind(__VA_ARGS__);                                     \
	}

REQUEST(ucp_put_nbx,
	(ucp_ep_h ep, const void *buffer, size_t count, uint64_t remote, ucp_rkey_h rkey,
	 const ucp_request_param_t *param),
	ep, buffer, count, remote, rkey, param)
REQUEST(ucp_get_nbx,
	(ucp_ep_h ep, void *buffer, size_t count, uint64_t remote, ucp_rkey_h rkey,
	 const ucp_request_param_t *param),
	ep, buffer, count, remote, rkey, param)
REQUEST(ucp_tag_send_nbx,
	(ucp_ep_h ep, const void *buffer, size_t count, ucp_tag_t tag,
	 const ucp_request_param_t *param),
	ep, buffer, count, tag, param)
REQUEST(ucp_tag_send_sync_nbx,
	(ucp_ep_h ep, const void *buffer, size_t count, ucp_tag_t tag,
	 const ucp_request_param_t *param),
	ep, buffer, count, tag, param)
REQUEST(ucp_tag_recv_nbx,
	(ucp_worker_h worker, void *buffer, size_t count, ucp_tag_t tag, ucp_tag_t mask,
	 const ucp_request_param_t *param),
	worker, buffer, count, tag, mask, param)
REQUEST(ucp_tag_msg_recv_nbx,
	(ucp_worker_h worker, void *buffer, size_t count, ucp_tag_message_h message,
	 const ucp_request_param_t *param),
	worker, buffer, count, message, param)
REQUEST(ucp_am_send_nbx,
	(ucp_ep_h ep, unsigned int id, const void *header, size_t header_length, const void *buffer,
	 size_t count, const ucp_request_param_t *param),
	ep, id, header, header_length, buffer, count, param)
REQUEST(ucp_am_recv_data_nbx,
	(ucp_worker_h worker, void *data, void *buffer, size_t count,
	 const ucp_request_param_t *param),
	worker, data, buffer, count, param)
REQUEST(ucp_stream_send_nbx,
	(ucp_ep_h ep, const void *buffer, size_t count, const ucp_request_param_t *param), ep,
	buffer, count, param)
REQUEST(ucp_stream_recv_nbx,
	(ucp_ep_h ep, void *buffer, size_t count, size_t *length, const ucp_request_param_t *param),
	ep, buffer, count, length, param)
