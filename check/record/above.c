/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/above.h"

#include "os/event_path.h"

MRN_TLS struct check_above check_above;
