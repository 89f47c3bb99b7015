/* SPDX-License-Identifier: BSD-3-Clause */
/* What the libraries that `mrn run` preloads have in common: the environment that they read, and how they say what came of it. */
#ifndef MRN_ADAPTERS_PRELOAD_H
#define MRN_ADAPTERS_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Says one line about host, in one write, so that the ranks of a job may share a file: to where MRN_RUN_STATUS says, "-"
 * for standard error, or a file. Without the variable only a refusal is said, on standard error.
 */
__attribute__((format(printf, 3, 4))) void mrn_preload_say(const char *host, bool refusal,
							   const char *format, ...);

/* MRN_RUN_SOURCE as a mask of MRN_SOURCE_...; AUTO without it, or if it is empty; or -EINVAL with a sentence in why. */
int mrn_preload_kinds(char *why, size_t why_size);

#endif
