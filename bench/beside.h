/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the programs and libraries are that belong to a program. */
#ifndef BENCH_BESIDE_H
#define BENCH_BESIDE_H

#include <stddef.h>

/* Beside this process's program, as in a build folder; or where they are installed. 0 or -ENOENT. */
int bench_find_beside(char *path, size_t size, const char *name);

#endif
