/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/callback.h"
#include "os/misuse.h"

MRN_TLS unsigned int mrn_callback_depth;

_Noreturn void mrn_call_unwound(void)
{
	mrn_misuse("a callback", "was left by an exception or by pthread_exit; it has to return");
}
