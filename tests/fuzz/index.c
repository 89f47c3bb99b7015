/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The index against its model, by bytes: one of flags, then four for each step. scripts/fuzz makes a program of
 * this with libFuzzer; replay.c goes through what has been found so far.
 */
#include <stddef.h>

#include "index/check.h"
#include "tests/fuzz/index.h"
#include "tests/index/model.h"

enum { MOST = 2048, STEP = 4, NO_VECTORS = 1 };

enum op { INSERT, INSERT_MANY, ERASE, ERASE_MANY, WALK, WALK_CHANGING, MEMORY, CHECK_ALL, NR_OPS };

struct fuzz {
	struct index_model m;
	uint32_t chance; /* for what a few bytes cannot say */
	unsigned int since_check;
};

static unsigned int next(struct fuzz *f)
{
	f->chance = f->chance * 1664525u + 1013904223u;
	return f->chance >> 16;
}

/* Twelve bits, placed where something may happen: bytes, pages, a leaf's reach, both ends of the address space. */
static uintptr_t address(unsigned int a, unsigned int b)
{
	uintptr_t fine = (a & 15) << 8 | b;

	switch (a >> 4) {
	case 0:
		return fine;
	case 1:
		return fine << 9;
	case 2:
		return fine << 12;
	case 3:
		return ((uintptr_t)1 << 32) + (fine << 12);
	case 4:
		return fine << 15;
	case 5:
		return fine << 18;
	case 6:
		return fine << 24;
	case 7:
		return fine << 30;
	case 8:
		return fine << 36;
	case 9:
		return fine << 42;
	case 10:
		return fine << 43;
	case 11:
		return ((uintptr_t)1 << 43) + (fine << 12) - ((uintptr_t)1 << 23);
	case 12:
		return UINTPTR_MAX - 1 - fine;
	case 13:
		return UINTPTR_MAX - 1 - (fine << 12);
	case 14:
		return (fine & 0xfff) << 52;
	default:
		return (uintptr_t)b << 12;
	}
}

static uintptr_t end_of(uintptr_t start, unsigned int c)
{
	uintptr_t length = (uintptr_t)((c & 3) + 1) << (c >> 2), most = UINTPTR_MAX - start;

	return start + (length && length < most ? length : most);
}

static void insert(struct fuzz *f, uintptr_t start, unsigned int c)
{
	uint64_t before = f->m.entries;
	unsigned int k;

	if (f->m.entries == f->m.n)
		return;
	k = index_model_find(&f->m, next(f), false);
	if (start >= UINTPTR_MAX)
		start = UINTPTR_MAX - 1;
	if (index_model_insert(&f->m, k, start, end_of(start, c)))
		MODEL_CHECK(mrn_check_alloc_left && f->m.entries == before);
}

static void erase(struct fuzz *f, unsigned int k)
{
	if (f->m.entries)
		index_model_erase(&f->m, index_model_find(&f->m, k, true));
}

static void insert_many(struct fuzz *f, uintptr_t start, unsigned int c)
{
	static const unsigned int step[] = {0, 1, 12, 13, 15, 20, 32, 43};
	uintptr_t by = c & 7 ? (uintptr_t)1 << step[c & 7] : 0;

	for (unsigned int i = 0; i < 48; i++) {
		insert(f, start, c & 8 ? 44 : 49 + (i % 3));
		start = c & 16 ? start - by : start + by;
		/* Not all the same way. */
		if (c & 32)
			start += (uintptr_t)(next(f) & 15) << 12;
	}
}

static void change(void *arg)
{
	struct fuzz *f = arg;
	unsigned int x = next(f);

	if (x & 1)
		erase(f, next(f));
	else
		insert(f, address(next(f) & 0xff, next(f) & 0xff), next(f) & 0xff);
}

/* A whole check looks at everything: not at each step of many. */
static void check(struct fuzz *f, bool now)
{
	if (!now && f->since_check++ < f->m.entries / 16)
		return;
	f->since_check = 0;
	MODEL_CHECK(mrn_index_is_valid(&f->m.index));
	MODEL_CHECK(f->m.index.filter.entries == f->m.entries);
}

static void step(struct fuzz *f, const uint8_t *d)
{
	uintptr_t start = address(d[1], d[2]);

	f->chance += d[3];
	switch ((enum op)(d[0] % NR_OPS)) {
	case INSERT:
		insert(f, start, d[3]);
		break;
	case INSERT_MANY:
		insert_many(f, start, d[3]);
		break;
	case ERASE:
		erase(f, (unsigned int)d[1] << 8 | d[2]);
		break;
	case ERASE_MANY:
		for (unsigned int i = 0; i <= d[3]; i++)
			erase(f, ((unsigned int)d[1] << 8 | d[2]) + i);
		break;
	case WALK:
		index_model_walk(&f->m, start, end_of(start, d[3]));
		break;
	case WALK_CHANGING:
		index_model_walk_changing(&f->m, start, end_of(start, d[3]), change, f);
		break;
	case MEMORY:
		mrn_check_alloc_left = d[1] & 1 ? 1 + d[2] % 4 : 0;
		break;
	default:
		check(f, true);
	}
	check(f, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.chance = (uint32_t)size};

	if (!size)
		return 0;
	mrn_broken_NO_VECTORS = data[0] & NO_VECTORS;
	mrn_check_alloc_left = 0;
	index_model_init(&f.m, MOST);
	for (size_t i = 1; i + STEP <= size; i += STEP)
		step(&f, data + i);
	check(&f, true);
	index_model_walk(&f.m, 0, UINTPTR_MAX);
	while (f.m.entries)
		erase(&f, next(&f));
	check(&f, true);
	index_model_destroy(&f.m);
	mrn_check_alloc_left = 0;
	return 0;
}
