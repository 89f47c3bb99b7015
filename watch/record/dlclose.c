/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dlclose, in front of libc's: another library may be loaded where this one was, and its calls must not be attributed
 * to the unloaded one.
 */
#include <dlfcn.h>

#include "watch/record/modules.h"

__attribute__((visibility("default"))) int dlclose(void *handle)
{
	static int (*real)(void *handle);
	int (*f)(void *) = __atomic_load_n(&real, __ATOMIC_RELAXED);
	int r;

	/* Threads that look it up together find the same. */
	if (!f) {
		f = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
		__atomic_store_n(&real, f, __ATOMIC_RELAXED);
	}
	/* While it unmaps, another thread may map something there. */
	watch_modules_may_leave(true);
	r = f ? f(handle) : -1;
	watch_modules_distrust();
	watch_modules_may_leave(false);
	return r;
}
