/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The buffers that a program has provided in one group, in a ring of provided buffers (IORING_REGISTER_PBUF_RING) or by
 * requests (IORING_OP_PROVIDE_BUFFERS): which of them the kernel may take. With the lock of the io_uring whose they are.
 */
#ifndef MRN_CHECK_URING_PROVIDED_H
#define MRN_CHECK_URING_PROVIDED_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many as a group can have. */
#define URING_MOST_PROVIDED (1 << 16)

struct uring_ring;

/* What is known under a buffer's number. */
struct uring_offer {
	uint64_t addr;
	uint32_t length;
	int32_t count; /* how often it has been provided, less how often it came back */
};

struct uring_provided {
	struct uring_offer *offer; /* by number */
	uint32_t nr;
	uint32_t entries;    /* of the ring: a power of two; 0: there is none */
	uint32_t seen;	     /* entries before this position are in the table */
	uint32_t back;	     /* so many have come back */
	uint32_t passed;     /* entries have been passed over */
	uintptr_t low, high; /* all of them are in between */
	uintptr_t ring;	     /* the program's memory; or 0, and then: */
	const struct io_uring_buf *view;
	bool is_lost; /* it is not known any more */
};

/* Takes in what has been provided since. */
void uring_provided_look(struct uring_ring *r, struct uring_provided *p);
/* A request provides so many, one behind the other, under this number and those that follow. */
void uring_provided_give(struct uring_provided *p, uint32_t number, uint32_t nr, uintptr_t addr,
			 uint32_t length);
/* A completion has brought a buffer back; more: only its first bytes, and the kernel goes on behind them. */
void uring_provided_back(struct uring_provided *p, uint32_t number, uint32_t bytes, bool more);
/* One that the kernel may take, of which it writes to at most so many bytes (0: all), and that has some in [start, end). */
bool uring_provided_in(const struct uring_provided *p, uintptr_t start, uintptr_t end,
		       uint32_t most, uintptr_t *addr, size_t *length);
/* From here on, or at its end, nothing is known. */
void uring_provided_lose(struct uring_provided *p);

#endif
