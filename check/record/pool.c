/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The free ones are a list, newest first. Who takes one reads its next, and then moves the head there; if others have
 * taken it and put it back meanwhile, next is another, but the head is the same. So the head has a count above the
 * number, which each change moves on: the exchange then fails. 32 bits of it do not come round while one thread stands
 * between two instructions.
 */
#include "check/record/pool.h"

#include "check/shared/check.h"
#include "os/pages.h"

#include "os/event_path.h"

#define NUMBER(head) ((uint32_t)(head))

struct check_pooled *check_pool_at(const struct check_pool *pool, uint32_t number)
{
	const size_t i = number - 1, at = i / pool->in_chunk;
	/* Acquire pairs with the release in grow. */
	char *chunk = number && at < CHECK_POOL_CHUNKS
			      ? __atomic_load_n(&pool->chunk[at], __ATOMIC_ACQUIRE)
			      : NULL;

	return chunk ? (struct check_pooled *)(void *)(chunk + i % pool->in_chunk * pool->size +
						       pool->offset)
		     : NULL;
}

uint32_t check_pool_highest(const struct check_pool *pool)
{
	uint32_t chunks = __atomic_load_n(&pool->chunks, __ATOMIC_RELAXED);

	return chunks * (uint32_t)pool->in_chunk;
}

static uint64_t head_of(uint64_t was, uint32_t number)
{
	return ((was >> 32) + !MRN_BROKEN(CHECK_POOL)) << 32 | number;
}

static void put(struct check_pool *pool, uint32_t first, struct check_pooled *last)
{
	uint64_t head = __atomic_load_n(&pool->vacant, __ATOMIC_RELAXED);

	do
		__atomic_store_n(&last->next, NUMBER(head), __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pool->vacant, &head, head_of(head, first), true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* Several threads may grow it at once, and then it has more. */
static struct check_pooled *grow(struct check_pool *pool)
{
	uint32_t at = __atomic_load_n(&pool->chunks, __ATOMIC_RELAXED);
	char *chunk = at < CHECK_POOL_CHUNKS ? mrn_pages_alloc(pool->size * pool->in_chunk) : NULL;
	uint32_t first;

	if (!chunk)
		return NULL;
	do {
		if (at >= CHECK_POOL_CHUNKS) {
			mrn_pages_free(chunk, pool->size * pool->in_chunk);
			return NULL;
		}
	} while (!__atomic_compare_exchange_n(&pool->chunks, &at, at + 1, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	first = (uint32_t)(at * pool->in_chunk) + 1;
	__atomic_store_n(&pool->chunk[at], chunk, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < pool->in_chunk; i++) {
		struct check_pooled *thing = check_pool_at(pool, first + i);

		thing->number = first + i;
		thing->next = first + i + 1;
	}
	/* The first is the caller's, the others are free. */
	put(pool, first + 1, check_pool_at(pool, first + (uint32_t)pool->in_chunk - 1));
	return check_pool_at(pool, first);
}

struct check_pooled *check_pool_get(struct check_pool *pool)
{
	/* Acquire pairs with put's release: who put it is done with it. */
	uint64_t head = __atomic_load_n(&pool->vacant, __ATOMIC_ACQUIRE);

	while (NUMBER(head)) {
		struct check_pooled *thing = check_pool_at(pool, NUMBER(head));
		uint32_t next = __atomic_load_n(&thing->next, __ATOMIC_RELAXED);

		MRN_HOOK(pool_takes);
		if (__atomic_compare_exchange_n(&pool->vacant, &head, head_of(head, next), true,
						__ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
			return thing;
	}
	return grow(pool);
}

void check_pool_put(struct check_pool *pool, struct check_pooled *thing)
{
	put(pool, thing->number, thing);
}

void check_pool_restart(struct check_pool *pool)
{
	pool->vacant = 0;
}
