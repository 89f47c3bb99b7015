/* SPDX-License-Identifier: BSD-3-Clause */
/* Those who understand an interface by which memory is registered. */
#ifndef MRN_CHECK_INTERFACES_H
#define MRN_CHECK_INTERFACES_H

/*
 * Before main, and in a forked child that is followed: 0 or -ENOMEM. Not on the event path in the former; raw calls only.
 */
int check_interfaces_start(void);
/* In a forked child: what its parent has registered is its parent's. On the event path. */
void check_interfaces_restart(void);

#endif
