/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program's own names stand for: for an lkey its registration, for a device the functions that ours are in
 * front of. Hash tables without locks:
 *
 * K.1	A slot's state is its generation and one of FREE, BUSY, LIVE. Only the thread that has made it BUSY writes its
 *	fields. Whoever reads them finds the same LIVE state before and after, or takes nothing.
 * K.2	Blocks of slots are added to a bucket and never leave it, so a walk needs no protection. A bucket has as many as it
 *	once had keys: the memory follows the largest number of keys that were there at one time.
 * K.3	Whoever replaces a value takes out only what was there before the new one was. So a key that has a value keeps one: of
 *	threads that replace together, nobody takes out the value that was put last. A walk may have passed the place of the
 *	new value before it was there, and find the old one gone. Then a count has gone up in between: it walks again.
 * K.4	All functions are bounded by the bucket's length, allocate only whole pages, and preserve errno. Taking looks once
 *	more for each value under the key that another thread takes meanwhile, and finding for each that one replaces.
 */
#ifndef MRN_CHECK_KEYS_H
#define MRN_CHECK_KEYS_H

#include <stdbool.h>
#include <stdint.h>

/* A number, and who has given it: an address that no other kind of number has for its scope. */
struct check_key {
	uintptr_t scope;
	uint64_t number;
};

#define CHECK_KEY_WORDS 4
struct check_value {
	uint64_t word[CHECK_KEY_WORDS];
};

#define CHECK_KEYS_BITS 14
struct check_keys {
	uint64_t replaced; /* atomic: how often */
	struct check_keys_block *bucket[1u << CHECK_KEYS_BITS];
};

/* Adds one to what the key has. 0 or -ENOMEM. */
int check_keys_put(struct check_keys *keys, struct check_key key, struct check_value value);
/*
 * Puts it in place of what the key has: from then on whoever looks finds one of them. 0, or -ENOMEM, and nothing has changed.
 * Threads that do so together may leave each its own, until the next replaces them all.
 */
int check_keys_replace(struct check_keys *keys, struct check_key key, struct check_value value);
bool check_keys_find(const struct check_keys *keys, struct check_key key,
		     struct check_value *value);
/* Tells each of all that are under the key. */
void check_keys_each(const struct check_keys *keys, struct check_key key,
		     void (*each)(const struct check_value *value, void *arg), void *arg);
/* Takes it out; false if it is not there. Of threads that take the same key, one gets it. */
bool check_keys_take(struct check_keys *keys, struct check_key key, struct check_value *value);
/* The same for one whose first word is this. */
bool check_keys_take_first(struct check_keys *keys, struct check_key key, uint64_t first,
			   struct check_value *value);
/* Takes out all that are wanted, in any order; taken is told of each. Others may put and take meanwhile. */
void check_keys_sweep(struct check_keys *keys,
		      bool (*wanted)(struct check_key key, const struct check_value *value,
				     const void *arg),
		      const void *arg, void (*taken)(const struct check_value *value));
/* In a forked child: takes all out. */
void check_keys_clear(struct check_keys *keys);

#endif
