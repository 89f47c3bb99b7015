/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registrations: memory that a device or the kernel has pinned for the program. Those who understand an interface
 * (uring.c, verbs.c, ...) say what the program registers and uses; here stands which of its pages have been changed
 * since, and so which uses are stale.
 *
 * All of this may be called in dispatch's handler, and nothing here allocates, waits for the program, or changes errno.
 * A registration is memory that always stays one, so a use that races with its end finds it, or another one, or none;
 * it is never reported for another's memory. In a child that is not followed, all of it does nothing: its copies of the
 * locks may be held for ever.
 */
#ifndef MRN_CHECK_REGISTRATION_H
#define MRN_CHECK_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/shared/kinds.h"

struct check_reg;

/* Its uses cannot be seen: each change while it lives is a finding. */
#define CHECK_UNSEEN_USES (1u << 0)

/*
 * Call before the pages are pinned: what changes from here on counts. length is not 0. NULL if it cannot be followed,
 * which is counted; or in a child that is not followed. Notes the stack.
 */
struct check_reg *check_reg_begin(enum check_interface of, uintptr_t addr, size_t length,
				  uint32_t flags);
/*
 * The pages are pinned. name: by which the program knows the registration, for reports; call again if it gets another.
 * NULL is ignored, here and below.
 */
void check_reg_done(struct check_reg *reg, uint64_t name);
/* The registration has failed, or is about to be ended, by the same thread. */
void check_reg_end(struct check_reg *reg);

/*
 * The program has a device use these bytes, as far as they are the registration's. op, a static string, names the
 * operation. True if that is a finding.
 */
bool check_use(struct check_reg *reg, uintptr_t addr, size_t length, const char *op);

/*
 * These bytes, as far as they are the registration's, are about to be pinned again, where they are now: what has changed
 * so far does not matter.
 */
void check_reg_again(struct check_reg *reg, uintptr_t addr, size_t length);

/* In a forked child: nothing is registered. */
void check_reg_restart(void);

#endif
