/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Public structures that grow: later versions add members at the end. A caller says which version it was compiled with by
 * the structure's size.
 *
 * Options begin with size_t size and have char *why and size_t why_size, in this order, from their first version on.
 */
#ifndef MRN_OS_OPTS_H
#define MRN_OS_OPTS_H

#include <stddef.h>

/*
 * Copies the caller's options, theirs, to ours: what their version lacks is zero there. 0; -EINVAL for a size that is no
 * version's; -E2BIG when theirs sets what our version lacks. Errors are explained in theirs.
 */
#define MRN_OPTS_TAKE(ours, theirs) \
	mrn_opts_take(ours, sizeof(*(ours)), offsetof(__typeof__(*(ours)), why), theirs)
int mrn_opts_take(void *ours, size_t size, size_t why, const void *theirs);

/* Writes a sentence to opts->why, where there is one, and returns err. */
#define mrn_explain(opts, err, ...) mrn_explain_in((opts)->why, (opts)->why_size, err, __VA_ARGS__)
__attribute__((format(printf, 4, 5))) int mrn_explain_in(char *why, size_t why_size, int err,
							 const char *format, ...);

/* Copies figures to a caller's structure of their_size bytes: what our version lacks is zero there. 0 or -EINVAL. */
int mrn_figures_give(void *theirs, size_t their_size, const void *ours, size_t size);

#endif
