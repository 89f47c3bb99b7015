/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that limits its addresses (RLIMIT_AS) counts with those that it has mapped itself: what is kept of them for our
 * own memory is given back before. On the event path.
 */
#ifndef MRN_CHECK_LIMITS_H
#define MRN_CHECK_LIMITS_H

#include "check/record/calls.h"

check_call_fn check_limits_prlimit64, check_limits_setrlimit;

#endif
