/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/misuse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

_Noreturn void mrn_misuse(const char *who, const char *what)
{
	const struct iovec sentence[] = {
		{(void *)(uintptr_t) "mrn: ", 5}, {(void *)(uintptr_t)who, strlen(who)},
		{(void *)(uintptr_t) " ", 1},	  {(void *)(uintptr_t)what, strlen(what)},
		{(void *)(uintptr_t) "\n", 1},
	};

	if (writev(STDERR_FILENO, sentence, 5) < 0)
		abort();
	abort();
}
