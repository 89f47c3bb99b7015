/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_CHECK_MAP_H
#define MRN_CHECK_MAP_H

#include <errno.h>
#include <sys/syscall.h>

#include "os/pagemap.h"
#include "os/refused.h"

/*
 * This process's page map, for mrn_pagemap_close; or -errno. Not where it could not be closed again: a sandbox may refuse
 * to say which file a descriptor is. On the event path.
 */
static inline int check_map_open(void)
{
	return mrn_is_refused(SYS_newfstatat) ? -EPERM : mrn_pagemap_open();
}

#endif
