/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the kernel or a device uses just now: from the submission of a transfer until its completion. May be called
 * as registration.h's functions.
 */
#ifndef MRN_CHECK_FLIGHT_H
#define MRN_CHECK_FLIGHT_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/shared/kinds.h"

/*
 * From here until its end, a change of [addr, addr + length) is a finding. 0: it is not followed, which is counted, or
 * length is 0. op as in check_use. *stack: 0 at the first of several that one call submits, which then share it.
 */
uint32_t check_flight_begin(enum check_interface of, uintptr_t addr, size_t length, const char *op,
			    uint32_t *stack);
/* It is over, or given up. 0 is ignored. */
void check_flight_end(uint32_t flight);

/*
 * One whose memory is known only at a change, since the kernel chooses among addresses that the program has given it: it is
 * nowhere until check_flight_place. It is reported only if its memory is unmapped: other pages there do as well.
 */
uint32_t check_flight_open(enum check_interface of, const char *op, uint32_t *stack);
/* From here on it is there; length 0: nowhere. Its own thread's, or under a lock. */
void check_flight_place(uint32_t flight, uintptr_t addr, size_t length);
/*
 * Whoever opens flights adds one function that places them: it is called at a change, before it is looked for what is in
 * flight, as that below. Before main.
 */
void check_flight_places(void (*place)(const struct mmu_notifier_range *range));

/*
 * Whoever ends flights late, when it next looks at a queue, adds a function that looks now: it is called before a change
 * is reported, in the thread that makes the change, on the event path. False: it could not look, and the change is not
 * reported. At most CHECK_FLIGHT_LOOKS, before main.
 */
#define CHECK_FLIGHT_LOOKS 4
void check_flight_on_change(bool (*look)(void));

/* The memory is about to change. What is in flight there is reported at the end of the change: mark.h. */
void check_flight_changed(const struct mmu_notifier_range *range);

/* In a forked child: nothing is in flight. */
void check_flight_restart(void);

#endif
