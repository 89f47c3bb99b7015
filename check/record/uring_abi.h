/* SPDX-License-Identifier: BSD-3-Clause */
/* What is newer than the headers of Debian 12: numbers and layouts of io_uring's. */
#ifndef MRN_CHECK_URING_ABI_H
#define MRN_CHECK_URING_ABI_H

#include <linux/io_uring.h>
#include <stdint.h>

#define URING_SETUP_NO_MMAP	       (1u << 14)
#define URING_SETUP_REGISTERED_FD_ONLY (1u << 15)
#define URING_SETUP_NO_SQARRAY	       (1u << 16)
#define URING_SETUP_HYBRID_IOPOLL      (1u << 17)
/* Flags from here on may change the layout of a ring. */
#define URING_SETUP_KNOWN ((1u << 18) - 1)

#define URING_REGISTER_REGISTERED    (1u << 31) /* the ring is given by its registered index */
#define URING_REGISTER_CLONE_BUFFERS 30
#define URING_REGISTER_RESIZE_RINGS  33
#define URING_CLONE_SRC_REGISTERED   (1u << 0)
#define URING_CLONE_DST_REPLACE	     (1u << 1)

struct uring_clone_buffers {
	uint32_t src_fd, flags, src_off, dst_off, nr, pad[3];
};

enum {
	URING_OP_READ_MULTISHOT = 49,
	URING_OP_READV_FIXED = 60,
	URING_OP_WRITEV_FIXED = 61,
};

#define URING_SEND_VECTORIZED (1u << 5)

#define URING_PBUF_RING_MMAP  1 /* the ring is the kernel's memory */
#define URING_OFF_PBUF_RING   0x80000000
#define URING_OFF_PBUF_SHIFT  16
#define URING_CQE_F_BUF_MORE  (1u << 4)
#define URING_RECVSEND_BUNDLE (1u << 4)

#define URING_MAX_BUFFERS	 (1u << 14)
#define URING_MAX_REGISTERED_FDS 16

#endif
