/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of io_uring's adapter: os/check.h. */
#ifndef MRN_IO_URING_CHECK_H
#define MRN_IO_URING_CHECK_H

#include "os/check.h"

MRN_PART(URING_RING); /* any file under the ring's descriptor counts as the ring */

#endif
