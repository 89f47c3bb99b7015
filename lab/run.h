/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Running a model: for `mrn lab` and for tests.
 */
#ifndef LAB_RUN_H
#define LAB_RUN_H

#include "lab/lab.h"

/* Ended by NULL. */
extern const struct lab_driver *const lab_drivers[];

const struct lab_driver *lab_find_driver(const char *name);
/* The index of a step, or -1. */
int lab_find_step(const struct lab_driver *driver, const char *step);

/* How often an operation began again: 0, 1, 2, 3-4, 5-8, 9-16, 17-32, more. */
#define LAB_RETRY_BUCKETS 8

/* The largest number of driver threads. */
#define LAB_MAX_THREADS 8

struct lab_config {
	uint64_t ops;
	unsigned int threads; /* of the driver */
	uint64_t seed;
	int broken; /* a step, or -1 */
	bool stop_at_finding;
	/* Called now and then, in lab_run's thread; or NULL. */
	void (*progress)(void *arg, const struct lab_driver *driver, uint64_t ops,
			 uint64_t findings);
	void *arg;
};

struct lab_result {
	uint64_t ops, faults, retries, invalidations, refusals;
	uint64_t stale, asserts, leaks;
	double ns_per_op;
	uint64_t histogram[LAB_RETRY_BUCKETS];
	/* The first finding, and the last events before it; "" without one. */
	char finding[4096];
};

static inline uint64_t lab_result_findings(const struct lab_result *r)
{
	return r->stale + r->asserts + r->leaks;
}

/*
 * 0, or -errno with a sentence in why. One run at a time in a process. A run that finds that the driver has left
 * something alive leaves its own memory, too.
 */
int lab_run(const struct lab_driver *driver, const struct lab_config *config,
	    struct lab_result *result, char *why, size_t why_size);

#endif
