/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdbool.h>
#include <stdint.h>

#include "check/record/keys.h"
#include "check/record/registration.h"
#include "check/record/ucx.h"
#include "check/shared/check.h"
#include "os/behind.h"

#include "os/event_path.h"

#define EXPORTED __attribute__((visibility("default")))
#define LIBRARY	 "libucp.so.0"

/* By handle. The words of each value: */
static struct check_keys handles;
static const char scope;
enum { REG, ADDR, LENGTH };

static struct check_key key_of(ucp_mem_h memh)
{
	return (struct check_key){(uintptr_t)&scope, (uintptr_t)memh};
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[REG];
}

/* ---------------------------------------------------------------------------------------- handles */

static bool is_followed(const ucp_mem_map_params_t *params)
{
	const uint64_t needed = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
	bool elsewhere = params->field_mask & UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE &&
			 params->memory_type != UCS_MEMORY_TYPE_HOST &&
			 params->memory_type != UCS_MEMORY_TYPE_UNKNOWN;

	return (params->field_mask & needed) == needed && params->address && params->length &&
	       !elsewhere &&
	       !(params->field_mask & UCP_MEM_MAP_PARAM_FIELD_FLAGS &&
		 params->flags & (UCP_MEM_MAP_ALLOCATE | UCP_MEM_MAP_NONBLOCK));
}

/* Others may use it only if the program has said so: they need its key, but who has that, nobody knows. */
static uint32_t flags_of(const ucp_mem_map_params_t *params)
{
	const unsigned int remote = UCP_MEM_MAP_PROT_REMOTE_READ | UCP_MEM_MAP_PROT_REMOTE_WRITE;

	return params->field_mask & UCP_MEM_MAP_PARAM_FIELD_PROT && params->prot & remote
		       ? CHECK_UNSEEN_USES
		       : 0;
}

static void enter(ucp_mem_h memh, struct check_reg *reg, const ucp_mem_map_params_t *params)
{
	struct check_value old,
		value = {
			.word = {(uintptr_t)reg, (uintptr_t)params->address, params->length},
		};

	/* It has ended without our seeing it. */
	if (check_keys_take(&handles, key_of(memh), &old))
		check_reg_end(reg_of(&old));
	check_reg_done(reg, (uintptr_t)memh);
	if (check_keys_put(&handles, key_of(memh), value))
		check_reg_end(reg);
}

EXPORTED ucs_status_t ucp_mem_map(ucp_context_h context, const ucp_mem_map_params_t *params,
				  ucp_mem_h *memh)
{
	__typeof__(&ucp_mem_map) behind = MRN_BEHIND(ucp_mem_map, LIBRARY);
	struct check_reg *reg = NULL;
	ucs_status_t r;

	if (!behind)
		return UCS_ERR_UNSUPPORTED;
	if (is_followed(params))
		reg = check_reg_begin(CHECK_UCX, (uintptr_t)params->address, params->length,
				      flags_of(params));
	r = behind(context, params, memh);
	if (r != UCS_OK)
		check_reg_end(reg);
	else if (reg)
		enter(*memh, reg, params);
	return r;
}

EXPORTED ucs_status_t ucp_mem_unmap(ucp_context_h context, ucp_mem_h memh)
{
	__typeof__(&ucp_mem_unmap) behind = MRN_BEHIND(ucp_mem_unmap, LIBRARY);
	struct check_value value;
	ucs_status_t r;
	bool known;

	if (!behind)
		return UCS_ERR_UNSUPPORTED;
	/* Before the call: after it another handle may be in its place. */
	known = check_keys_take(&handles, key_of(memh), &value);
	r = behind(context, memh);
	if (known && (r == UCS_OK || check_keys_put(&handles, key_of(memh), value)))
		check_reg_end(reg_of(&value));
	return r;
}

/* ------------------------------------------------------------------------------------------- uses */

static void use(const struct check_value *value, const void *addr, size_t length, const char *op)
{
	uint64_t offset = (uintptr_t)addr - value->word[ADDR];

	/* UCX ignores a handle that is not of the buffer's memory, or fails. */
	if (length && offset < value->word[LENGTH] && length <= value->word[LENGTH] - offset)
		check_use(reg_of(value), (uintptr_t)addr, length, op);
}

void check_ucx_use(const void *buffer, size_t count, const ucp_request_param_t *param,
		   const char *op)
{
	ucp_datatype_t type = ucp_dt_make_contig(1);
	const ucp_dt_iov_t *iov = buffer;
	struct check_value value;

	if (!param || !(param->op_attr_mask & UCP_OP_ATTR_FIELD_MEMH) ||
	    !check_keys_find(&handles, key_of(param->memh), &value))
		return;
	if (param->op_attr_mask & UCP_OP_ATTR_FIELD_DATATYPE && !MRN_BROKEN(CHECK_UCX_TYPES))
		type = param->datatype;
	switch (type & UCP_DATATYPE_CLASS_MASK) {
	case UCP_DATATYPE_CONTIG:
		use(&value, buffer, count * (size_t)(type >> UCP_DATATYPE_SHIFT), op);
		return;
	case UCP_DATATYPE_IOV:
		for (size_t i = 0; i < count; i++)
			use(&value, iov[i].buffer, iov[i].length, op);
		return;
	default:
		/* The program's own functions pack and unpack the bytes. */
		return;
	}
}

void check_ucx_restart(void)
{
	check_keys_clear(&handles);
}
