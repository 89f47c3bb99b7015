/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/interposer.h"

#include <string.h>

#include "core/lock_order.h"
#include "source/check.h"
#include "source/dispatch/dispatch.h"
#include "source/heap_callers.h"
#include "source/watched.h"

#define LOOK 16 /* bytes of each wrapper */

static const void *const *wrappers;
static unsigned int nr_wrappers;
static unsigned char look[MRN_WRAPPERS_MAX][LOOK];

void mrn_interposer_present(const void *const *them, unsigned int n)
{
	nr_wrappers = n;
	__atomic_store_n(&wrappers, them, __ATOMIC_RELEASE);
}

static const struct mrn_heap_knowledge *heap;

void mrn_interposer_knows_heap(const struct mrn_heap_knowledge *k)
{
	__atomic_store_n(&heap, k, __ATOMIC_RELEASE);
}

const struct mrn_heap_knowledge *mrn_heap_knowledge(void)
{
	return __atomic_load_n(&heap, __ATOMIC_ACQUIRE);
}

bool mrn_interposer_looks_at_order(void)
{
	return mrn_lock_order_is_on();
}

void mrn_interposer_look_at_order(const char *function, const void *caller)
{
	mrn_lock_order_might(mrn_mm_self(), function, caller);
}

bool mrn_interposer_is_present(void)
{
	return __atomic_load_n(&wrappers, __ATOMIC_ACQUIRE);
}

void mrn_interposer_remember(void)
{
	for (unsigned int i = 0; i < nr_wrappers; i++)
		if (wrappers[i])
			memcpy(look[i], wrappers[i], LOOK);
}

bool mrn_interposer_is_intact(bool first_only)
{
	if (MRN_BROKEN(SOURCE_LOSS))
		return true;
	for (unsigned int i = 0; i < (first_only ? 1 : nr_wrappers); i++)
		if (wrappers[i] && memcmp(look[i], wrappers[i], LOOK))
			return false;
	return true;
}

const struct mrn_refused *mrn_source_refused(void)
{
	return mrn_refused;
}

MRN_TLS bool mrn_does_not_stand_back;

bool mrn_is_to_be_caught(void)
{
	return !mrn_does_not_stand_back && mrn_dispatch_catches();
}

bool mrn_source_watches(uintptr_t start, uintptr_t end)
{
	struct mrn_mm *mm = mrn_mm_self();

	return mm && mrn_is_watched(mm, start, end);
}
