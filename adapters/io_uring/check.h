/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of io_uring's adapter: os/check.h. */
#ifndef MRN_IO_URING_CHECK_H
#define MRN_IO_URING_CHECK_H

#include "os/check.h"

MRN_PART(URING_RING); /* whatever has the ring's descriptor is taken for the ring */

#endif
