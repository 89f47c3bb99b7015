/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the index.
 *
 * In a node, the slots that overlap are found all at once: some twenty instructions with vectors of 256 bits,
 * a loop elsewhere. A vector is read in pieces of 64 bits, each as one: that is all the order that a slot
 * needs (index.h).
 */
#include <stddef.h>

#include "core/index_node.h"

#if defined(__x86_64__) && !defined(MRN_TSAN)
#include <immintrin.h>
#define HAVE_VECTORS 1
#endif

#include "os/event_path.h"

/* ------------------------------------------------------------------------------------- slots of a node */

/* Slots whose low is below `end` and whose high is above `start`, a bit for each. */
static uint32_t overlap_plain(const int64_t *low, const int64_t *high, int64_t start, int64_t end)
{
	uint32_t mask = 0;

	for (unsigned int i = 0; i < SLOTS; i++) {
		/* Acquire: of what these belong to, an older state is not seen from here on. */
		bool begins = __atomic_load_n(&low[i], __ATOMIC_ACQUIRE) < end;
		bool ends = __atomic_load_n(&high[i], __ATOMIC_ACQUIRE) > start;

		mask |= (uint32_t)(begins & ends) << i;
	}
	return mask;
}

#ifdef HAVE_VECTORS
static bool have_avx2;

__attribute__((constructor)) static void look_for_avx2(void)
{
	__builtin_cpu_init();
	have_avx2 = __builtin_cpu_supports("avx2");
}

__attribute__((target("avx2"))) static uint32_t overlap_avx2(const int64_t *low,
							     const int64_t *high, int64_t start,
							     int64_t end)
{
	__m256i starts = _mm256_set1_epi64x(start), ends = _mm256_set1_epi64x(end);
	uint32_t mask = 0;

	for (unsigned int i = 0; i < SLOTS; i += 4) {
		__m256i l = _mm256_load_si256((const __m256i *)(const void *)&low[i]);
		__m256i h = _mm256_load_si256((const __m256i *)(const void *)&high[i]);
		__m256i both = _mm256_and_si256(_mm256_cmpgt_epi64(ends, l),
						_mm256_cmpgt_epi64(h, starts));

		mask |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(both)) << i;
	}
	return mask;
}

static uint32_t overlap(const int64_t *low, const int64_t *high, int64_t start, int64_t end)
{
	return have_avx2 ? overlap_avx2(low, high, start, end)
			 : overlap_plain(low, high, start, end);
}
#else
static uint32_t overlap(const int64_t *low, const int64_t *high, int64_t start, int64_t end)
{
	return overlap_plain(low, high, start, end);
}
#endif

/* -------------------------------------------------------------------------------------------- the walk */

static bool is_after(const struct mrn_index_entry *e, const struct mrn_index_cursor *c)
{
	return e->start > c->start || (e->start == c->start && e->id > c->id);
}

static bool precedes(const struct mrn_index_entry *a, const struct mrn_index_entry *b)
{
	return a->start < b->start || (a->start == b->start && a->id < b->id);
}

/* Adds what a leaf has, in order. It always fits when there is nothing yet; else false, and nothing is added. */
static bool look_in_leaf(const struct mrn_leaf *leaf, struct mrn_index_walk *w)
{
	uint32_t mask = overlap(leaf->start, leaf->end, mrn_bias(w->start), mrn_bias(w->end));
	unsigned int first = w->n, n = w->n;

	if (first + (unsigned int)__builtin_popcount(mask) > SLOTS)
		return false;
	for (; mask; mask &= mask - 1) {
		/* Acquire: the entry is as whoever inserted it left it. */
		struct mrn_index_entry *e =
			__atomic_load_n(&leaf->entry[__builtin_ctz(mask)], __ATOMIC_ACQUIRE);
		unsigned int at = n;

		/* The slot may have become another's; the entry itself knows. */
		if (!e || e->start >= w->end || e->end <= w->start || !is_after(e, &w->cursor))
			continue;
		for (; at > first && precedes(e, w->ahead[at - 1]); at--)
			w->ahead[at] = w->ahead[at - 1];
		w->ahead[at] = e;
		n++;
	}
	w->n = n;
	return true;
}

/* Is all of child i before the cursor? */
static bool is_behind(const struct mrn_inner *in, unsigned int i, const struct mrn_index_cursor *c)
{
	return i + 1 < in->node.n &&
	       mrn_is_from(mrn_bias(c->start), c->id, in->key[i + 1], in->id[i + 1]);
}

/* False when there is no room for more. Recursive: as deep as the tree is high. */
static bool look_below(struct mrn_index_node *node, struct mrn_index_walk *w)
{
	struct mrn_inner *in = mrn_inner(node);
	uint32_t mask;

	if (!node->level)
		return look_in_leaf(mrn_leaf(node), w);
	mask = overlap(in->key, in->max, mrn_bias(w->start), mrn_bias(w->end));
	for (; mask; mask &= mask - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(mask);

		if (is_behind(in, i, &w->cursor))
			continue;
		/* Acquire: the child is as whoever put it there left it. */
		if (!look_below(__atomic_load_n(&in->child[i], __ATOMIC_ACQUIRE), w))
			return false;
	}
	return true;
}

static void look_ahead(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_node *root;

	w->n = w->at = 0;
	/* Acquire: what has been counted is not found below; what is erased from now on makes all of it void. */
	w->erased = __atomic_load_n(&ix->erased, __ATOMIC_ACQUIRE);
	root = __atomic_load_n(&ix->root, __ATOMIC_ACQUIRE);
	w->more = root && !look_below(root, w);
}

struct mrn_index_entry *mrn_index_walk_next(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_entry *e;

	/* Acquire, and the fence that began this section: an erase that we do not see waits for us. */
	if (w->at < w->n && __atomic_load_n(&ix->erased, __ATOMIC_ACQUIRE) != w->erased)
		w->more = true;
	else if (w->at < w->n)
		goto found;
	if (!w->more)
		return NULL;
	look_ahead(ix, w);
	if (!w->n)
		return NULL;
found:
	e = w->ahead[w->at++];
	w->cursor = (struct mrn_index_cursor){e->start, e->id};
	return e;
}
