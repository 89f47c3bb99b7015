/* SPDX-License-Identifier: BSD-3-Clause */
/* dup2 and dup3, which close what the second descriptor was, of whatever interface. On the event path. */
#ifndef MRN_CHECK_DESCRIPTORS_H
#define MRN_CHECK_DESCRIPTORS_H

#include "check/record/calls.h"

check_call_fn check_descriptor_dup2, check_descriptor_dup3;

#endif
