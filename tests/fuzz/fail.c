/* SPDX-License-Identifier: BSD-3-Clause */
/* How a difference ends a program without the harness. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/index/model.h"

_Noreturn void index_model_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}
