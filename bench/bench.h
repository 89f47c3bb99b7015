/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Measures things beside their rivals: in one run, by turns, several rounds, medians.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MAX_ROUNDS 32
#define BENCH_MAX_ROWS	 512

/*
 * Nanoseconds per operation: the time of a round divided by the number of operations in it, by all threads together. So
 * two threads that do not slow each other down take half of what one takes.
 */

/* What a contender counts in its rounds, all together; gets 0: nothing. */
struct bench_tally {
	uint64_t gets, hits; /* of a registration cache */
	uint64_t checked,
		stale; /* transfers of which the device's bytes were compared, and those with old ones */
};

/* One of those that are measured by turns. */
struct bench_contender {
	const char *name;
	/* One round. Nanoseconds per operation; negative: failed, and then there is no row. */
	double (*run)(void *ctx);
	/* Before each round, not measured; or NULL. */
	void (*prepare)(void *ctx);
	void *ctx;
	const struct bench_tally *tally; /* what run has counted; or NULL */
	/* results */
	double median, min, max;
};

/* One line of a table: ours and a rival. */
struct bench_row {
	const char *name;
	uint64_t n;
	unsigned int threads;
	double ns, min, max;
	const char *rival;
	double rival_ns, rival_min, rival_max;
	struct bench_tally tally, rival_tally;
};

struct bench_table {
	struct bench_row row[BENCH_MAX_ROWS];
	size_t nr;
	unsigned int rounds;
	unsigned int turns; /* of each in a round; their mean counts; 0: one */
	bool quick;
	bool fresh; /* each round is in a new process, so that none need be left out of the count */
	uint64_t max_n;	      /* cases with a larger n are left out; 0: none */
	const char *only;     /* all other cases are left out; NULL: none */
	const char *left_out; /* what quick leaves out, as the end of a sentence; or NULL */
	/* Shows a row as soon as it is measured; or NULL. */
	void (*show)(const struct bench_row *row);
	/* Says what is measured now; or NULL. */
	void (*progress)(const char *name, uint64_t n);
	/* Says something that the figures do not show; or NULL. */
	void (*say)(const char *sentence);
};

/* The measurements of one part of the library. run: 0, or -errno with a sentence in why. */
struct bench_suite {
	const char *name, *about;
	int (*run)(struct bench_table *table, char *why, size_t why_size);
};

/* Ended by NULL. */
extern const struct bench_suite *const bench_suites[];

/*
 * Measures contenders by turns, ours first, after a round that does not count unless the table is fresh; adds a row for
 * each rival. Does nothing for a case that the table leaves out.
 */
void bench_measure(struct bench_table *table, const char *name, uint64_t n, unsigned int threads,
		   struct bench_contender *contenders, size_t nr);

/*
 * The same for several of ours beside one rival, which is the first; adds a row for each of ours, called as in names,
 * which must stay valid.
 */
void bench_measure_several(struct bench_table *table, const char *name, const char *const *names,
			   uint64_t n, unsigned int threads, struct bench_contender *contenders,
			   size_t nr);

#endif
