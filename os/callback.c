/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/callback.h"

#include <stdlib.h>
#include <unistd.h>

MRN_TLS unsigned int mrn_callback_depth;

_Noreturn void mrn_call_unwound(void)
{
	static const char what[] =
		"mrn: a callback was left by an exception or by pthread_exit; it has to return\n";

	if (write(STDERR_FILENO, what, sizeof(what) - 1) < 0)
		abort();
	abort();
}
