/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guests: processes that run in this memory and are not caught. The child of a vfork is one until it execs or ends.
 * Nobody knows how much of its stack is left for a signal (musl's posix_spawn has 5 KiB); it may reset its signal
 * actions; and it is often about to be traced: so it is not armed.
 *
 * The interposer announces what a guest changes through libc's functions; other changes are not announced. So before
 * there is a guest everything is invalidated, and while there is one all memory is good for one use at a time
 * (mrn_source_arm). No token is held meanwhile: a guest may live as long as it likes.
 *
 *	thread that makes a guest		thread that builds something
 *	guests++				inserts its notifier
 *	fence					fence
 *	walks: calls all notifiers		reads guests
 *	makes the guest
 *
 * Either the walk meets the notifier, or the reader sees the guest. guests-- comes when the guest has gone; the kernel
 * orders it after all that the guest did, and release passes that on.
 */
#include "source/dispatch/check.h"
#include "os/atomic.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* Also written by the stubs, which know when a parent goes on. */
uint32_t mrn_guests;
static uint32_t ever;
MRN_TLS uint32_t mrn_is_guest;
MRN_TLS uint32_t mrn_handlers;

bool mrn_dispatch_has_guests(void)
{
	mrn_fence_full();
	return __atomic_load_n(&mrn_guests, __ATOMIC_ACQUIRE) && !MRN_BROKEN(DISPATCH_GUESTS);
}

uint32_t mrn_dispatch_guests_ever(void)
{
	return __atomic_load_n(&ever, __ATOMIC_ACQUIRE);
}

void mrn_guest_begin(void)
{
	__atomic_fetch_add(&mrn_guests, 1, __ATOMIC_SEQ_CST);
	/* Release: whoever counts this one, and then finds no guest, sees what it has done. */
	__atomic_fetch_add(&ever, 1, __ATOMIC_RELEASE);
	mrn_fence_full();
}

void mrn_guest_end(void)
{
	__atomic_fetch_sub(&mrn_guests, 1, __ATOMIC_RELEASE);
}

void mrn_guests_forget(void)
{
	__atomic_store_n(&mrn_guests, 0, __ATOMIC_RELAXED);
}

bool mrn_dispatch_catches(void)
{
	return mrn_thread_is_armed() && (!mrn_is_guest || MRN_BROKEN(DISPATCH_STAND_BACK)) &&
	       !__atomic_load_n(&mrn_handlers, __ATOMIC_RELAXED);
}

bool mrn_dispatch_handles(void)
{
	return __atomic_load_n(&mrn_handlers, __ATOMIC_RELAXED);
}
