/* SPDX-License-Identifier: BSD-3-Clause */
/* UCX's own hooks, which must not be there. */
#ifndef MRN_UCX_HOOKS_H
#define MRN_UCX_HOOKS_H

#include <mrn/ucx.h>

/*
 * 0 if UCX has not replaced libc's functions, and will not; or -errno with a sentence in opts->why.
 */
int mrn_ucx_check_hooks(const struct mrn_ucx_opts *opts);

#endif
