/* SPDX-License-Identifier: BSD-3-Clause */
/* A notifier's state, and keeping it while its callbacks run: pin.c. Every kind has a field pins. Event path. */
#ifndef MRN_LIFETIME_PIN_H
#define MRN_LIFETIME_PIN_H

#include "lifetime/home.h"

#define MRN_PIN_INSERTED (UINT64_C(1) << 31)
#define MRN_PIN_REMOVING (UINT64_C(1) << 30) /* walks skip it */
#define MRN_PIN_CLAIMED \
	(UINT64_C(1) << 29) /* its fields are being filled, or cleared in a forked child */
#define MRN_PIN_COUNT (MRN_PIN_CLAIMED - 1)

/* Before an insertion: 0 for one caller, -EBUSY for every other until the notifier is free again. */
int mrn_pin_claim(uint64_t *pins);
/* From claimed to inserted; a release: its fields are set before. */
void mrn_pin_insert(uint64_t *pins);
/* From claimed or removing to free; a release. */
void mrn_pin_retire(uint64_t *pins);
/* 0 if it is inserted and no removal has begun; -ENOENT; -ESTALE for a copy of the parent's. */
int mrn_pin_look(const uint64_t *pins);
/*
 * 0 for the one caller that begins the removal; -ESTALE for the one that has to retire a copy of the parent's; -ENOENT
 * for every other.
 */
int mrn_pin_begin_removal(uint64_t *pins);
/* Takes a pin unless the notifier is being removed. */
bool mrn_pin(uint64_t *pins);
void mrn_unpin(struct mrn_home *home, uint64_t *pins);
bool mrn_pin_is_idle(const uint64_t *pins);
/* Waits until the notifier, already unlinked, has no pins. */
void mrn_pin_wait_idle(struct mrn_home *home, const uint64_t *pins);

#endif
