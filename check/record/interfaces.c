/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/interfaces.h"

void check_interfaces_start(void)
{
}

void check_interfaces_restart(void)
{
}
