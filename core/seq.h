/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Seqs: numbers of which the process draws each once, whatever mm it is for. A consumer keeps a seq while its notifier
 * goes from one mm to another; were the numbers an mm's own, the other could give the same one again.
 *
 * Whoever draws many, one at a time, draws them by the block: the counter is everybody's, and so in no hot path. Of one
 * drawer's numbers the later is the greater. A forked child goes on with its copy of the counter: its numbers are none
 * that it could have seen before the fork.
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
 * The number that comes after `last`, which is the drawer's last one, or 0 for none. Block b is b * MRN_SEQ_BLOCK + 1 up
 * to (b + 1) * MRN_SEQ_BLOCK, so no number is 0, and one that the block's size divides is its last.
 */
static inline uint64_t mrn_seq_after(uint64_t last)
{
	return (__builtin_expect(last % MRN_SEQ_BLOCK == 0, 0) ? mrn_seq_block() : last) + 1;
}

#endif
