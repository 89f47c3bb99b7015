/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/keys.h"

#include <errno.h>
#include <stddef.h>

#include "check/shared/check.h"
#include "os/pages.h"

#include "os/event_path.h"

#define SLOTS  4
#define BLOCKS 282 /* of a chunk: 64 KiB */

enum { FREE, BUSY, LIVE, STATES };

struct slot {
	uint64_t state; /* the generation times STATES, and one of these */
	struct check_key key;
	struct check_value value;
};

struct check_keys_block {
	struct check_keys_block *next;
	struct slot slot[SLOTS];
};

struct chunk {
	uint32_t used;
	struct check_keys_block block[BLOCKS];
};

static struct chunk *chunk;

static uint64_t bucket_of(struct check_key key)
{
	/* Fibonacci hashing: the upper bits depend on all. */
	uint64_t both = key.number ^ (key.scope << 17 | key.scope >> 47);

	return both * UINT64_C(0x9e3779b97f4a7c15) >> (64 - CHECK_KEYS_BITS);
}

static struct check_keys_block *next_of(struct check_keys_block *const *link)
{
	/* Acquire pairs with the release of grow: the block is zero, or what others have made of it. */
	return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

/* ------------------------------------------------------------------------------------------- slots */

/* True if the slot is LIVE; then in the state *state, with this key and value. */
static bool read_slot(struct slot *slot, struct check_key *key, struct check_value *value,
		      uint64_t *state)
{
	/* Acquire pairs with the release of fill. */
	*state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
	if (*state % STATES != LIVE)
		return false;
	key->scope = __atomic_load_n(&slot->key.scope, __ATOMIC_ACQUIRE);
	key->number = __atomic_load_n(&slot->key.number, __ATOMIC_ACQUIRE);
	for (int i = 0; i < CHECK_KEY_WORDS; i++)
		value->word[i] = __atomic_load_n(&slot->value.word[i], __ATOMIC_ACQUIRE);
	/* The loads above, with acquire, are over; if one has read what fill has written, this sees its BUSY, too. */
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == *state ||
	       MRN_BROKEN(CHECK_KEYS_TORN);
}

/* The slot is the caller's, BUSY. */
static void fill(struct slot *slot, uint64_t busy, struct check_key key, struct check_value value)
{
	/* Each release orders the BUSY state before the field. */
	__atomic_store_n(&slot->key.scope, key.scope, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->key.number, key.number, __ATOMIC_RELEASE);
	for (int i = 0; i < CHECK_KEY_WORDS; i++)
		__atomic_store_n(&slot->value.word[i], value.word[i], __ATOMIC_RELEASE);
	__atomic_store_n(&slot->state, busy - BUSY + LIVE, __ATOMIC_RELEASE);
}

static bool fill_one(struct check_keys_block *block, struct check_key key, struct check_value value)
{
	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &block->slot[i];
		uint64_t state = __atomic_load_n(&slot->state, __ATOMIC_RELAXED);

		if (state % STATES == FREE &&
		    __atomic_compare_exchange_n(&slot->state, &state, state - FREE + BUSY, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			fill(slot, state - FREE + BUSY, key, value);
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------------------------------ blocks */

/* A block that nobody has; NULL without memory. */
static struct check_keys_block *block_new(void)
{
	for (;;) {
		struct chunk *have = __atomic_load_n(&chunk, __ATOMIC_ACQUIRE), *more;
		uint32_t n = have ? __atomic_fetch_add(&have->used, 1, __ATOMIC_RELAXED) : BLOCKS;

		if (n < BLOCKS)
			return &have->block[n];
		more = mrn_pages_alloc(sizeof(*more));
		if (!more)
			return NULL;
		if (!__atomic_compare_exchange_n(&chunk, &have, more, false, __ATOMIC_RELEASE,
						 __ATOMIC_RELAXED))
			mrn_pages_free(more, sizeof(*more));
	}
}

/* Puts a block at the end, wherever that is by now. */
static int grow(struct check_keys_block **link)
{
	struct check_keys_block *block = block_new(), *there = NULL;

	if (!block)
		return -ENOMEM;
	while (!__atomic_compare_exchange_n(link, &there, block, false, __ATOMIC_RELEASE,
					    __ATOMIC_ACQUIRE)) {
		link = &there->next;
		there = NULL;
	}
	return 0;
}

int check_keys_put(struct check_keys *keys, struct check_key key, struct check_value value)
{
	struct check_keys_block **link = &keys->bucket[bucket_of(key)], *block;

	for (;;) {
		while ((block = next_of(link))) {
			if (fill_one(block, key, value))
				return 0;
			link = &block->next;
		}
		/* Others may fill the new block first; then another is added. */
		if (grow(link))
			return -ENOMEM;
	}
}

static bool is_same(struct check_key a, struct check_key b)
{
	return a.scope == b.scope && a.number == b.number;
}

/* True if the slot has this key; then the state *state, with this value. */
static bool has(struct slot *slot, struct check_key key, struct check_value *value, uint64_t *state)
{
	struct check_key there;

	/* Most are another key's, as one look tells. A slot that has the key says so all the time. */
	return __atomic_load_n(&slot->key.number, __ATOMIC_ACQUIRE) == key.number &&
	       read_slot(slot, &there, value, state) && is_same(there, key);
}

static bool is_any(const struct check_value *value, uint64_t arg)
{
	return true;
}

static bool is_first(const struct check_value *value, uint64_t first)
{
	return value->word[0] == first;
}

static struct slot *find(const struct check_keys *keys, struct check_key key,
			 bool (*wanted)(const struct check_value *value, uint64_t arg),
			 uint64_t arg, struct check_value *value, uint64_t *state)
{
	struct check_keys_block *block = next_of(&keys->bucket[bucket_of(key)]);

	for (; block; block = next_of(&block->next))
		for (int i = 0; i < SLOTS; i++)
			if (has(&block->slot[i], key, value, state) && wanted(value, arg))
				return &block->slot[i];
	return NULL;
}

bool check_keys_find(const struct check_keys *keys, struct check_key key, struct check_value *value)
{
	uint64_t state, before, now = __atomic_load_n(&keys->replaced, __ATOMIC_ACQUIRE);

	do {
		before = now;
		if (find(keys, key, is_any, 0, value, &state))
			return true;
		/* K.3: the walk's loads, with acquire, are over; one that has seen the old value go sees the count here. */
		now = __atomic_load_n(&keys->replaced, __ATOMIC_ACQUIRE);
	} while (now != before && !MRN_BROKEN(CHECK_KEYS_PASSED));
	return false;
}

void check_keys_each(const struct check_keys *keys, struct check_key key,
		     void (*each)(const struct check_value *value, void *arg), void *arg)
{
	struct check_keys_block *block = next_of(&keys->bucket[bucket_of(key)]);
	struct check_value value;
	uint64_t state;

	for (; block; block = next_of(&block->next))
		for (int i = 0; i < SLOTS; i++)
			if (has(&block->slot[i], key, &value, &state))
				each(&value, arg);
}

/* Frees the slot if it is in this state yet. */
static bool free_slot(struct slot *slot, uint64_t state)
{
	return __atomic_compare_exchange_n(&slot->state, &state, state - LIVE + STATES + FREE,
					   false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Another thread may take the one that has been found: then the next is looked for. */
static bool take(struct check_keys *keys, struct check_key key,
		 bool (*wanted)(const struct check_value *value, uint64_t arg), uint64_t arg,
		 struct check_value *value)
{
	struct slot *slot;
	uint64_t state;

	while ((slot = find(keys, key, wanted, arg, value, &state)))
		if (free_slot(slot, state))
			return true;
	return false;
}

bool check_keys_take(struct check_keys *keys, struct check_key key, struct check_value *value)
{
	return take(keys, key, is_any, 0, value);
}

bool check_keys_take_first(struct check_keys *keys, struct check_key key, uint64_t first,
			   struct check_value *value)
{
	return take(keys, key, is_first, first, value);
}

/* Threads that replace one value together leave fewer; what is beyond is left for the next. */
#define REPLACED 16

/* K.3 */
int check_keys_replace(struct check_keys *keys, struct check_key key, struct check_value value)
{
	struct check_keys_block *block = next_of(&keys->bucket[bucket_of(key)]);
	struct check_value was;
	struct {
		struct slot *slot;
		uint64_t state;
	} there[REPLACED];
	int nr = 0, r;

	for (; block; block = next_of(&block->next))
		for (int i = 0; i < SLOTS && nr < REPLACED; i++) {
			there[nr].slot = &block->slot[i];
			nr += has(there[nr].slot, key, &was, &there[nr].state);
		}
	for (int i = 0; i < nr && MRN_BROKEN(CHECK_KEYS_GAP); i++)
		free_slot(there[i].slot, there[i].state);
	r = check_keys_put(keys, key, value);
	/* Release orders the new value before the count: a walk that begins with this count finds it. */
	__atomic_fetch_add(&keys->replaced, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < nr && !r; i++)
		free_slot(there[i].slot, there[i].state);
	return r;
}

void check_keys_sweep(struct check_keys *keys,
		      bool (*wanted)(struct check_key key, const struct check_value *value,
				     const void *arg),
		      const void *arg, void (*taken)(const struct check_value *value))
{
	for (uint64_t i = 0; i < UINT64_C(1) << CHECK_KEYS_BITS; i++) {
		struct check_keys_block *block = next_of(&keys->bucket[i]);

		for (; block; block = next_of(&block->next))
			for (int j = 0; j < SLOTS; j++) {
				struct check_value value;
				struct check_key key;
				uint64_t state;

				if (read_slot(&block->slot[j], &key, &value, &state) &&
				    wanted(key, &value, arg) && free_slot(&block->slot[j], state))
					taken(&value);
			}
	}
}

static bool is_every(struct check_key key, const struct check_value *value, const void *arg)
{
	return true;
}

static void forget(const struct check_value *value)
{
}

/* A slot that another thread was about to fill when the process forked is lost. */
void check_keys_clear(struct check_keys *keys)
{
	check_keys_sweep(keys, is_every, NULL, forget);
}
