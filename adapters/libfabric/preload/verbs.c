/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libibverbs' functions that register memory by its address, in front of libibverbs: so each registration begins with
 * watching what it is about to pin. ibv_reg_mr_iova, and ibv_reg_mr as a macro, end in one of these.
 *
 * ibv_reg_dmabuf_mr is left alone: libfabric asks the monitor about ordinary memory only, and registers that by address.
 * Compiled without <infiniband/verbs.h>, which need not be here: the pointers are passed on as they are.
 */
#include <errno.h>
#include <stdint.h>

#include "adapters/libfabric/preload/preload.h"
#include "os/behind.h"

void *ibv_reg_mr(void *pd, void *addr, size_t length, int access);
void *ibv_reg_mr_iova(void *pd, void *addr, size_t length, uint64_t iova, int access);
void *ibv_reg_mr_iova2(void *pd, void *addr, size_t length, uint64_t iova, unsigned int access);

/* The registration fails without it. */
#define BEHIND(name)                                                    \
	__typeof__(&(name)) call = MRN_BEHIND(name, "libibverbs.so.1"); \
                                                                        \
	if (!call) {                                                    \
		errno = ENOSYS;                                         \
		return NULL;                                            \
	}

void *ibv_reg_mr(void *pd, void *addr, size_t length, int access)
{
	BEHIND(ibv_reg_mr);
	mrn_fabric_preload_begin(addr, length);
	return call(pd, addr, length, access);
}

void *ibv_reg_mr_iova(void *pd, void *addr, size_t length, uint64_t iova, int access)
{
	BEHIND(ibv_reg_mr_iova);
	mrn_fabric_preload_begin(addr, length);
	return call(pd, addr, length, iova, access);
}

void *ibv_reg_mr_iova2(void *pd, void *addr, size_t length, uint64_t iova, unsigned int access)
{
	BEHIND(ibv_reg_mr_iova2);
	mrn_fabric_preload_begin(addr, length);
	return call(pd, addr, length, iova, access);
}
