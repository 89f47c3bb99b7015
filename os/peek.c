/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/peek.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "os/syscall.h"

#include "os/event_path.h"

static const int32_t *at;
static bool asks;

void mrn_peek_know(const int32_t *pid)
{
	__atomic_store_n(&at, pid, __ATOMIC_RELAXED);
}

void mrn_peek_ask(void)
{
	__atomic_store_n(&asks, true, __ATOMIC_RELAXED);
}

static long own_number(void)
{
	const int32_t *known = __atomic_load_n(&asks, __ATOMIC_RELAXED)
				       ? NULL
				       : __atomic_load_n(&at, __ATOMIC_RELAXED);
	long pid = known ? __atomic_load_n(known, __ATOMIC_RELAXED) : 0;

	return pid ? pid : mrn_sys0(SYS_getpid);
}

static int copy(long nr, void *ours, uintptr_t addr, size_t size)
{
	struct iovec local = {ours, size}, there = {(void *)addr, size};
	long n = mrn_own6(nr, own_number(), (long)&local, 1, (long)&there, 1, 0);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EFAULT;
}

int mrn_peek(void *into, uintptr_t addr, size_t size)
{
	return copy(SYS_process_vm_readv, into, addr, size);
}

int mrn_poke(uintptr_t addr, const void *from, size_t size)
{
	return copy(SYS_process_vm_writev, (void *)(uintptr_t)from, addr, size);
}
