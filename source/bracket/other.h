/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls with another purpose that change memory with some arguments: which, and how. Defined here because C libraries'
 * headers are older than kernels.
 */
#ifndef MRN_SOURCE_BRACKET_OTHER_H
#define MRN_SOURCE_BRACKET_OTHER_H

#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "source/bracket/calls.h"

#define MRN_UFFDIO_MOVE		 0xc028aa05ul /* Linux 6.8 */
#define MRN_TCP_ZEROCOPY_RECEIVE 35	      /* Linux 4.18 */
#define MRN_SET_MEMORY_MERGE	 67	      /* Linux 6.4 */

/* XFS's ioctls to punch a hole and to write zeros, which all file systems have. _32: of a 32-bit program. */
#define MRN_FS_UNRESVSP	     0x40305829ul
#define MRN_FS_UNRESVSP64    0x4030582bul
#define MRN_FS_ZERO_RANGE    0x40305839ul
#define MRN_FS_UNRESVSP_32   0x402c5829ul
#define MRN_FS_UNRESVSP64_32 0x402c582bul
#define MRN_FS_ZERO_RANGE_32 0x402c5839ul

static inline enum mrn_call_kind mrn_ioctl_kind(unsigned int request)
{
	switch (request) {
	case MRN_FS_UNRESVSP:
	case MRN_FS_UNRESVSP64:
	case MRN_FS_ZERO_RANGE:
	case MRN_FS_UNRESVSP_32:
	case MRN_FS_UNRESVSP64_32:
	case MRN_FS_ZERO_RANGE_32:
		return MRN_CALL_FILE;
	case MRN_UFFDIO_MOVE:
	case UFFDIO_REGISTER:
	case UFFDIO_UNREGISTER:
		return MRN_CALL_MEMORY;
	default:
		return MRN_CALL_OTHER;
	}
}

static inline enum mrn_call_kind mrn_getsockopt_kind(int level, int name)
{
	return level == IPPROTO_TCP && name == MRN_TCP_ZEROCOPY_RECEIVE ? MRN_CALL_MEMORY
									: MRN_CALL_OTHER;
}

static inline enum mrn_call_kind mrn_prctl_kind(int option, unsigned long value)
{
	return option == MRN_SET_MEMORY_MERGE && !value ? MRN_CALL_MEMORY : MRN_CALL_OTHER;
}

/* Brackets of calls of the kind MEMORY. */
void mrn_bracket_ioctl(struct mrn_bracket *b, unsigned int request, const void *arg);
void mrn_bracket_getsockopt(struct mrn_bracket *b, const void *value);
void mrn_bracket_prctl(struct mrn_bracket *b);
void mrn_bracket_io_destroy(struct mrn_bracket *b, uintptr_t ring);
/* file.c: of the kind FILE. arg becomes the own argument. */
void mrn_file_change_ioctl(struct mrn_file_change *c, int fd, unsigned int request,
			   const void *arg);

#endif
