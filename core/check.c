/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/check.h"

#include <mrn/mmu_notifier.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mm.h"

#ifdef MRN_CHECK
_Atomic bool mrn_broken[MRN_BROKEN_PARTS];
_Atomic unsigned int mrn_check_slots = MRN_TOKEN_SLOTS;
MRN_TLS unsigned int mrn_check_event_path;
void (*_Atomic mrn_check_wait_hook)(uint64_t token_seq);
void (*_Atomic mrn_check_read_hook)(const struct mmu_range_notifier *mrn);
void (*_Atomic mrn_check_walk_hook)(const struct mrn_index_entry *e);
void (*_Atomic mrn_check_leaf_hook)(void);
void (*_Atomic mrn_check_mark_hook)(unsigned int n);
void (*_Atomic mrn_check_link_hook)(void);
_Atomic bool mrn_check_no_vectors;
_Atomic uint64_t mrn_check_max_mappings;
_Atomic unsigned int mrn_check_alloc_left;

bool mrn_check_alloc_fails(void)
{
	unsigned int left = mrn_check_alloc_left;

	/* 0 is never; from the one that has come to 1 on, always. */
	if (left > 1)
		mrn_check_alloc_left = left - 1;
	return left == 1;
}
void (*_Atomic mrn_check_uffd_event_hook)(void);
void (*_Atomic mrn_check_uffd_hook)(void);
void (*_Atomic mrn_check_claim_hook)(bool is_ours);
void (*_Atomic mrn_check_evict_hook)(void);
#endif

/*
 * A mutex that this thread does not hold, as far as can be told: glibc notes the owner of an ordinary
 * mutex; elsewhere, one that can be taken was not held at all.
 */
#ifdef __GLIBC__
static bool not_held(pthread_mutex_t *lock)
{
	pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
	int self;

	/* What glibc takes for this thread's number: in a child of vfork it is not gettid's. */
	pthread_mutex_trylock(&mine);
	self = mine.__data.__owner;
	pthread_mutex_unlock(&mine);
	return lock->__data.__owner != self;
}
#else
static bool not_held(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}
#endif

void mrn_check_driver_lock(const struct mmu_range_notifier *mrn, const char *who)
{
	static const char what[] = " was called without the notifier's driver_lock\n";

	if (!mrn->driver_lock || !not_held(mrn->driver_lock))
		return;
	if (write(STDERR_FILENO, who, strlen(who)) < 0 ||
	    write(STDERR_FILENO, what, sizeof(what) - 1) < 0)
		abort();
	abort();
}
