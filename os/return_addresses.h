/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_OS_RETURN_ADDRESSES_H
#define MRN_OS_RETURN_ADDRESSES_H

#include <stdint.h>

/*
 * Stores what look like return addresses on a stack above an address, the innermost first, max at most; returns how many.
 * For people: some may be left over from calls that have returned. *addresses must not lie there. Event path.
 */
unsigned int mrn_return_addresses(const void *above, uintptr_t *addresses, unsigned int max);

#endif
