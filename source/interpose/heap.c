/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The functions of malloc: say what glibc's does inside itself.
 *
 * Large blocks: free, realloc and reallocarray announce what happens to them.
 *
 * A large block is a mapping of its own, and free unmaps it by a call that cannot be interposed. userfaultfd reports
 * that call, but after the address has become free: another thread's malloc may get the same address, and look it up in
 * a cache, before anybody has been told. So free announces it beforehand. Blocks that free does not unmap are left
 * alone: their registrations stay good for the next malloc that gets them.
 *
 * The heap of a thread: glibc's free, and what frees, zaps unused memory at its end by a call that cannot be interposed,
 * either. That memory belongs to nobody, so nothing is announced; but who is inside such a function is told in
 * heap_callers.h. Blocks of the main thread's heap need not tell: what is unused there is unmapped (brk).
 *
 * Other allocators call munmap, mremap and madvise by name: these are bracketed.
 *
 * Where the order of locks is looked at, free and realloc say each time that they may unmap something: they rarely do, and
 * who holds a driver lock then is to learn it at once.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "source/bracket/check.h"
#include "source/bracket/calls.h"
#include "source/interpose/heap_callers.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"
#include "source/interposer.h"

/*
 * The two words before a block, as in every glibc so far: for a block that is a mapping of its own, the distance back
 * to the mapping's start, and its size from there with three flags.
 */
struct chunk {
	size_t before, size;
};
#define CHUNK_IS_MAPPED	 2ul
#define CHUNK_IN_THREADS 4ul /* not in the main thread's heap */
#define CHUNK_FLAGS	 7ul

/*
 * malloc of up to this never zaps. It frees only the rest of a heap that is too small for the new block, and a free of
 * less than 64 KiB does not trim.
 */
#define TOO_SMALL_TO_ZAP 65000

/*
 * For reading. Where memory has tags (aarch64), those of a header are 0; on x86-64 the processor ignores a pointer's
 * tag.
 */
static inline const struct chunk *chunk_of(const void *block)
{
#ifdef __aarch64__
	block = (const void *)mrn_untagged(block);
#endif
	return (const struct chunk *)block - 1;
}

/* True if free unmaps this block. */
static inline bool is_mapped(const struct mrn_real_heap *real, const void *block)
{
	const struct chunk *c = chunk_of(block);

	return block && real->is_glibcs && (c->size & CHUNK_IS_MAPPED) && !MRN_BROKEN(BRACKET_FREE);
}

static void bracket_mapped(struct mrn_bracket *b, const void *block)
{
	const struct chunk *c = (const struct chunk *)mrn_untagged(block) - 1;

	mrn_bracket_none(b);
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, (uintptr_t)c - c->before,
			(uintptr_t)c + (c->size & ~CHUNK_FLAGS));
}

static __attribute__((noinline)) void free_mapped(const struct mrn_real_heap *real, void *block)
{
	struct mrn_bracket b;

	bracket_mapped(&b, block);
	real->free(block);
	mrn_bracket_end(&b, false);
}

/* ------------------------------------------------------------------------- who is inside malloc */

static struct mrn_heap_caller *caller_for(const struct mrn_real_heap *real)
{
	struct mrn_heap_caller *c = mrn_heap_own_caller;

	if (!real->is_seen)
		return &mrn_heap_nobody;
	return mrn_heap_is_owner(c) ? c : mrn_heap_claim_caller();
}

/* The rest of this expression may zap; its value. */
#define INSIDE(caller, call, expression)                \
	({                                              \
		uint64_t *word = &(caller)->word[call]; \
		uint64_t after = mrn_heap_begin(word);  \
		__auto_type result = (expression);      \
                                                        \
		mrn_heap_end(word, after);              \
		result;                                 \
	})

/* NULL with ENOMEM during the look-up: only for dlsym, which does without. */
static __attribute__((noinline, cold)) void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

static __attribute__((noinline)) void free_in_threads_heap(uint64_t *word, void *block)
{
	uint64_t after = mrn_heap_begin(word);

	mrn_real_heap_found->free(block);
	MRN_HOOK(freed);
	mrn_heap_end(word, after);
}

/* The first call of a thread, another allocator, or a large block. */
static __attribute__((noinline)) void free_otherwise(void *block)
{
	const struct mrn_real_heap *real = mrn_real_heap();
	struct mrn_heap_caller *caller;

	/* During the look-up itself: leaks a few bytes of dlsym's, once. */
	if (!real || !block)
		return;
	caller = caller_for(real);
	if (is_mapped(real, block))
		free_mapped(real, block);
	else if (real->is_seen && (chunk_of(block)->size & CHUNK_IN_THREADS))
		free_in_threads_heap(&caller->word[MRN_HEAP_TOP], block);
	else
		real->free(block);
}

static bool looks_at_order;

#define LOOK_AT_ORDER(block)                                                                 \
	do {                                                                                 \
		if (__builtin_expect(looks_at_order, 0) && (block))                          \
			mrn_interposer_look_at_order(__func__, __builtin_return_address(0)); \
	} while (0)

/*
 * The real functions are looked up at the first use, which may come before every constructor; a thread that has a caller
 * has used one. Most blocks are small, and skip the brackets.
 */
MRN_INTERPOSED void free(void *block)
{
	struct mrn_heap_caller *c = mrn_heap_own_caller;
	size_t flags;

	LOOK_AT_ORDER(block);
	if (__builtin_expect(!block || !mrn_heap_is_owner(c), 0)) {
		free_otherwise(block);
		return;
	}
	flags = chunk_of(block)->size & (CHUNK_IS_MAPPED | CHUNK_IN_THREADS);
	if (!flags)
		mrn_real_heap_found->free(block);
	else if (flags == CHUNK_IN_THREADS)
		free_in_threads_heap(&c->word[MRN_HEAP_TOP], block);
	else
		free_otherwise(block);
}

static __attribute__((noinline)) void *malloc_otherwise(size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	return real ? INSIDE(caller_for(real), MRN_HEAP_TOP, real->malloc(size)) : no_memory();
}

MRN_INTERPOSED void *malloc(size_t size)
{
	if (__builtin_expect(mrn_heap_is_owner(mrn_heap_own_caller) && size <= TOO_SMALL_TO_ZAP, 1))
		return mrn_real_heap_found->malloc(size);
	return malloc_otherwise(size);
}

static __attribute__((noinline)) void *calloc_otherwise(size_t n, size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	return real ? INSIDE(caller_for(real), MRN_HEAP_TOP, real->calloc(n, size)) : no_memory();
}

MRN_INTERPOSED void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_expect(mrn_heap_is_owner(mrn_heap_own_caller) &&
				     !__builtin_mul_overflow(n, size, &bytes) &&
				     bytes <= TOO_SMALL_TO_ZAP,
			     1))
		return mrn_real_heap_found->calloc(n, size);
	return calloc_otherwise(n, size);
}

/* For the functions that are rare. */
#define ALLOCATE(name, ...)                                                             \
	do {                                                                            \
		const struct mrn_real_heap *real = mrn_real_heap();                     \
                                                                                        \
		if (!real || !real->name)                                               \
			return no_memory();                                             \
		return INSIDE(caller_for(real), MRN_HEAP_TOP, real->name(__VA_ARGS__)); \
	} while (0)

static __attribute__((noinline)) void *realloc_mapped(const struct mrn_real_heap *real, void *block,
						      size_t size)
{
	struct mrn_bracket b;
	void *r;

	bracket_mapped(&b, block);
	/* mremap may move the block, and must not fail because a part of it is armed. */
	if (b.nr)
		mrn_source_disarm_range(b.token[0].start, b.token[0].end);
	r = real->realloc(block, size);
	/* Of a block that has shrunk where it was, the rest is gone. */
	mrn_bracket_end(&b, !r || r == block);
	return r;
}

MRN_INTERPOSED void *realloc(void *block, size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	LOOK_AT_ORDER(block);
	if (__builtin_expect(!real, 0))
		return no_memory();
	return INSIDE(caller_for(real), MRN_HEAP_TOP,
		      is_mapped(real, block) ? realloc_mapped(real, block, size)
					     : real->realloc(block, size));
}

MRN_INTERPOSED void *reallocarray(void *block, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return no_memory();
	return realloc(block, bytes);
}

MRN_INTERPOSED void *memalign(size_t alignment, size_t size)
{
	ALLOCATE(memalign, alignment, size);
}

MRN_INTERPOSED void *aligned_alloc(size_t alignment, size_t size)
{
	ALLOCATE(aligned_alloc, alignment, size);
}

MRN_INTERPOSED void *valloc(size_t size)
{
	ALLOCATE(valloc, size);
}

MRN_INTERPOSED void *pvalloc(size_t size)
{
	ALLOCATE(pvalloc, size);
}

MRN_INTERPOSED int posix_memalign(void **block, size_t alignment, size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	if (__builtin_expect(!real || !real->posix_memalign, 0))
		return ENOMEM;
	return INSIDE(caller_for(real), MRN_HEAP_TOP, real->posix_memalign(block, alignment, size));
}

MRN_INTERPOSED int malloc_trim(size_t pad)
{
	const struct mrn_real_heap *real = mrn_real_heap();
	struct mrn_heap_caller *caller;
	uint64_t trimmed;
	int r;

	if (__builtin_expect(!real || !real->malloc_trim, 0))
		return 0;
	caller = caller_for(real);
	trimmed = mrn_heap_begin(&caller->word[MRN_HEAP_TRIM]);
	r = INSIDE(caller, MRN_HEAP_TOP, real->malloc_trim(pad));
	mrn_heap_end(&caller->word[MRN_HEAP_TRIM], trimmed);
	return r;
}

/* After real.c's, and libmrn's. */
__attribute__((constructor(102))) static void tell(void)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	looks_at_order = mrn_interposer_looks_at_order();
	if (real && real->is_seen)
		mrn_interposer_knows_heap(&mrn_heap_known);
}
