/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs and libraries that belong to a program: where they are, and how they are started. */
#ifndef COVERAGE_BESIDE_H
#define COVERAGE_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Beside this process's program, as in a build folder; or where they are installed. 0 or -ENOENT. */
int beside_find(char *path, size_t size, const char *name);

/* This process's environment, with nothing preloaded but, if asked for, the interposer that this very program has. */
struct beside_environment {
	char **env;
	char *preload; /* an entry, or NULL */
};

/* 0 or -ENOMEM. To be freed. */
int beside_environment_make(struct beside_environment *e, bool interposed);
void beside_environment_free(struct beside_environment *e);

#endif
