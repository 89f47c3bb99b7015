/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs and libraries that belong to a program: finding and starting them. */
#ifndef COVERAGE_BESIDE_H
#define COVERAGE_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Finds it beside this process's program, as in a build folder, or where mrn is installed. 0 or -ENOENT. */
int beside_find(char *path, size_t size, const char *name);

/* This process's environment, which preloads nothing, except, if asked for, this program's own interposer. */
struct beside_environment {
	char **env;
	char *preload; /* an entry, or NULL */
};

/* 0 or -ENOMEM. Free it. */
int beside_environment_make(struct beside_environment *e, bool interposed);
void beside_environment_free(struct beside_environment *e);

#endif
