/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The index beside an array of ranges that is looked through from one end to the other: whatever is done to
 * both, they must say the same. For tests with the harness, and for fuzzing without it.
 */
#ifndef TESTS_INDEX_MODEL_H
#define TESTS_INDEX_MODEL_H

#include "index/index.h"

struct index_model {
	struct mrn_index index;
	struct mrn_index_entry *entry; /* n of them */
	bool *in;
	unsigned int n, entries;
	uint64_t id;
	struct mrn_index_entry **list; /* room for n */
};

/* For whoever links this: the two differ, or the index is not what it should be. */
_Noreturn void index_model_fail(const char *file, int line, const char *what);

#define MODEL_CHECK(cond)                                            \
	do {                                                         \
		if (!(cond))                                         \
			index_model_fail(__FILE__, __LINE__, #cond); \
	} while (0)

void index_model_init(struct index_model *m, unsigned int n);
/* With whatever is still in it. */
void index_model_destroy(struct index_model *m);

/* Entry k, which is out. 0 or -ENOMEM, and then nothing has changed. */
int index_model_insert(struct index_model *m, unsigned int k, uintptr_t start, uintptr_t end);
/* Entry k, which is in. Its memory is poisoned. */
void index_model_erase(struct index_model *m, unsigned int k);
/* The first entry from k on, going round, that is in, or that is out. There is one. */
unsigned int index_model_find(const struct index_model *m, unsigned int k, bool in);

/* All invariants, and how many there are. */
void index_model_check(const struct index_model *m);
/* A whole walk over [start, end), and what the filter says of it. */
void index_model_walk(struct index_model *m, uintptr_t start, uintptr_t end);
/* The same, with change(arg), which may insert and erase, after each step. */
void index_model_walk_changing(struct index_model *m, uintptr_t start, uintptr_t end,
			       void (*change)(void *arg), void *arg);

#endif
