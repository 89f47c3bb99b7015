/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring: what the program registers with its rings, and what it submits. All on the event path.
 *
 * uring_rings.c	which descriptor is which ring
 * uring_view.c		our own view of a ring's memory
 * uring_setup.c	new rings
 * uring_register.c	registered buffers
 * uring_groups.c	rings of provided buffers
 * uring_provided.c	which of those buffers the kernel may take
 * uring_submit.c	the requests that are about to be submitted
 * uring_op.c		which memory a request uses
 * uring_complete.c	the requests that are in flight
 */
#ifndef MRN_CHECK_URING_H
#define MRN_CHECK_URING_H

#include "check/record/calls.h"

check_call_fn check_uring_setup, check_uring_register, check_uring_enter;
check_call_fn check_uring_close, check_uring_close_range, check_uring_dup, check_uring_fcntl,
	check_uring_thread_ends;

/* True if it is known to be a ring. */
bool check_uring_is(int fd);
/* A successful dup2: to is what from is. */
void check_uring_replaced(uint32_t from, uint32_t to);

/* Before main. */
void check_uring_start(void);
/* In a forked child, whose parent's rings are not followed. */
void check_uring_restart(void);

#endif
