/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/behind.h"

#include <dlfcn.h>
#include <errno.h>

void *mrn_behind_find(const char *name, const char *library)
{
	int err = errno;
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD), *found = dlsym(RTLD_NEXT, name);

	if (!found && handle)
		found = dlsym(handle, name);
	if (handle && !found)
		dlclose(handle);
	errno = err;
	return found;
}
