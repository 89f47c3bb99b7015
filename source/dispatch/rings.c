/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring's own changes of memory are not announced by any thread's call. But making a ring is a call. From then on
 * memory that a ring could change is good for one use at a time (mrn_source_arm).
 *
 * Not seen: a ring without a descriptor (IORING_SETUP_REGISTERED_FD_ONLY) that was made before dispatch started.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "source/dispatch/check.h"
#include "os/atomic.h"
#include "os/syscall.h"
#include "source/dispatch/internal.h"

static bool has_rings; /* stays true when the rings have gone */
static void (*on_ring)(void);

bool mrn_dispatch_has_rings(void)
{
	/* Orders the caller's notifier before the look; pairs with the one in mrn_ring_is_made. */
	mrn_fence_full();
	return __atomic_load_n(&has_rings, __ATOMIC_RELAXED);
}

void mrn_ring_is_made(void)
{
	if (!MRN_BROKEN(DISPATCH_RINGS) &&
	    !__atomic_exchange_n(&has_rings, true, __ATOMIC_SEQ_CST)) {
		/* Orders that before the walk among notifiers: one that the walk does not meet sees it. */
		mrn_fence_full();
		if (on_ring)
			on_ring();
	}
}

void mrn_caught_uring_setup(struct mrn_caught *c)
{
	mrn_ring_is_made();
	mrn_caught_resume(c, mrn_stub_resume);
}

/* A descriptor that cannot be looked at may be a ring. */
static bool is_ring(int folder, const char *fd)
{
	static const char want[] = "anon_inode:[io_uring]";
	char target[sizeof(want)];
	long n = mrn_sys4(SYS_readlinkat, folder, (long)fd, (long)target, sizeof(target));

	if (n < 0)
		return n != -ENOENT && n != -EINVAL;
	return n == sizeof(want) - 1 && !memcmp(target, want, sizeof(want) - 1);
}

void mrn_rings_look(void (*ring)(void))
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *fd;

	on_ring = ring;
	/* If the descriptors cannot be listed, there may be some. */
	if (!fds)
		__atomic_store_n(&has_rings, true, __ATOMIC_RELAXED);
	while (fds && (fd = readdir(fds)))
		if (is_ring(dirfd(fds), fd->d_name))
			__atomic_store_n(&has_rings, true, __ATOMIC_RELAXED);
	if (fds)
		closedir(fds);
}
