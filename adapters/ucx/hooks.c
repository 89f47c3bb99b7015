/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UCX replaces munmap and the like when its library initializes: by code that it writes over the beginning of whatever is
 * found by that name, libmrn-interpose's functions too. From then on these do not run any more. libucs does so in its
 * constructor, before any code of ours or of the program's, in the mode that it reads from the environment.
 */
#include "adapters/ucx/hooks.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <ucm/api/ucm.h>
#include <unistd.h>

#include "os/opts.h"

#define MODE "UCX_MEM_MMAP_HOOK_MODE"

static void see(ucm_event_type_t type, ucm_event_t *event, void *seen)
{
	__atomic_store_n((bool *)seen, true, __ATOMIC_RELAXED);
}

/* A real munmap, and whether UCX notices it. UCX raises this event only from its own munmap. 1, 0 or -errno. */
static int try_hooks(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	bool seen = false;
	void *p;

	if (ucm_set_event_handler(UCM_EVENT_MUNMAP | UCM_EVENT_FLAG_NO_INSTALL, -1, see, &seen) !=
	    UCS_OK)
		return -EOPNOTSUPP;
	p = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED)
		munmap(p, page);
	ucm_unset_event_handler(UCM_EVENT_MUNMAP, see, &seen);
	return p == MAP_FAILED ? -ENOMEM : __atomic_load_n(&seen, __ATOMIC_RELAXED);
}

/* UCX asks for memory in the event path, by these. They look libc's functions up when they are first called. */
static void look_up(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = ucm_orig_mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p != MAP_FAILED)
		ucm_orig_munmap(p, page);
}

int mrn_ucx_check_hooks(const struct mrn_ucx_opts *opts)
{
	int r = try_hooks();

	if (!r && ucm_global_opts.mmap_hook_mode != UCM_MMAP_HOOK_NONE)
		r = 1;
	look_up();
	switch (r) {
	case 0:
		return 0;
	case 1:
		return mrn_explain(
			opts, -EBUSY,
			"UCX has replaced munmap and the like by functions of its own; set " MODE
			"=none before the program starts, as mrn run does");
	case -EOPNOTSUPP:
		return mrn_explain(opts, r, "UCX takes no memory events (UCX_MEM_EVENTS=n)");
	default:
		return mrn_explain(opts, r, "%s", strerror(-r));
	}
}
