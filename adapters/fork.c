/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/fork.h"

#include <dlfcn.h>
#include <stddef.h>

#include "os/kernel.h"

#define NAME "ibv_is_fork_initialized"

enum mrn_fork_status mrn_fork_status(void)
{
	int (*status)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, NAME);
	void *library;

	/* It may be in the scope of a provider that libfabric has opened, only. */
	if (!status) {
		library = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
		status = library ? (int (*)(void))dlsym(library, NAME) : NULL;
	}
	if (status)
		return (enum mrn_fork_status)status();
	return mrn_kernel_is_at_least(5, 12) ? MRN_FORK_UNNEEDED : MRN_FORK_DISABLED;
}
