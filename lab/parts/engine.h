/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's engine: threads of the device that execute jobs, in the order of their submission.
 */
#ifndef LAB_ENGINE_H
#define LAB_ENGINE_H

#include "lab/parts/fence.h"
#include "lab/lab.h"

struct lab_job {
	/* Executes the job, in a thread of the device; then its fence, if any, is signalled. */
	void (*run)(struct lab_job *job, struct lab_thread *t);
	struct dma_fence *fence; /* the engine puts this reference after signalling; or NULL */
	struct lab_job *next;
};

struct lab_engine;

int lab_engine_create(struct lab *lab, unsigned int threads, struct lab_engine **out);
/* Never waits: may be called with the driver lock held. From here on run owns the job. */
void lab_engine_submit(struct lab_engine *e, struct lab_job *job);
/* Executes what has been submitted, and ends. */
void lab_engine_destroy(struct lab_engine *e);

#endif
