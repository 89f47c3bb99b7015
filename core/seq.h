/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Seqs: numbers that are unique in the process. A consumer keeps a seq while its notifier goes from one mm to another;
 * if numbers were unique only in an mm, the other mm could give the same one again.
 *
 * Frequent users draw blocks of numbers, since all threads share the counter, which must not be in a hot path. Each
 * user's numbers ascend. A forked child goes on with its copy of the counter, so it cannot have seen its numbers before
 * the fork.
 */
#ifndef MRN_CORE_SEQ_H
#define MRN_CORE_SEQ_H

#include <stdint.h>

#define MRN_SEQ_BLOCK (UINT64_C(1) << 12)

/* How many blocks have been drawn. 2^52 of them: one each 100 ns for 14 years. */
extern uint64_t mrn_seq_blocks;

static inline uint64_t mrn_seq_block(void)
{
	return __atomic_fetch_add(&mrn_seq_blocks, 1, __ATOMIC_RELAXED) * MRN_SEQ_BLOCK;
}

/*
 * The number after `last`, the user's last one, or 0 for none. Block b is b * MRN_SEQ_BLOCK + 1 up to (b + 1) *
 * MRN_SEQ_BLOCK, so no number is 0, and a multiple of MRN_SEQ_BLOCK is its block's last.
 */
static inline uint64_t mrn_seq_after(uint64_t last)
{
	return (__builtin_expect(last % MRN_SEQ_BLOCK == 0, 0) ? mrn_seq_block() : last) + 1;
}

#endif
