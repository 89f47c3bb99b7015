/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/open.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "os/event_path.h"

/* The number of places for a token: bounds the cost of an event. */
#define PROBES 32

static struct watch_open table[WATCH_OPEN_MAX];

static size_t first_place(const struct mmu_notifier_range *token)
{
	return (size_t)(((uintptr_t)token >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40);
}

struct watch_open *watch_open_find(const struct mmu_notifier_range *token)
{
	size_t place = first_place(token);

	for (size_t i = 0; i < PROBES; i++) {
		struct watch_open *o = &table[(place + i) % WATCH_OPEN_MAX];

		/* The end of a token is ordered after its start. */
		if (__atomic_load_n(&o->token, __ATOMIC_RELAXED) == token)
			return o;
	}
	return NULL;
}

struct watch_open *watch_open_take(const struct mmu_notifier_range *token, bool *cut_off)
{
	size_t place = first_place(token);
	struct watch_open *left = watch_open_find(token);

	*cut_off = left;

	/*
	 * A token is one place in memory, so what was begun there is over: a signal handler has left it by longjmp. Do
	 * not take it for the start of what begins now.
	 */
	if (left)
		return left;
	for (size_t i = 0; i < PROBES; i++) {
		struct watch_open *o = &table[(place + i) % WATCH_OPEN_MAX];
		const struct mmu_notifier_range *none = NULL;

		/* Acquire pairs with watch_open_free: the last user has read what this overwrites. */
		if (__atomic_compare_exchange_n(&o->token, &none, token, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return o;
	}
	return NULL;
}

void watch_open_free(struct watch_open *open)
{
	__atomic_store_n(&open->token, NULL, __ATOMIC_RELEASE);
}

void watch_open_restart(void)
{
	memset(table, 0, sizeof(table));
}
