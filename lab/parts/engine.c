/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "lab/held.h"

#define MAX_THREADS 4

struct lab_engine {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct lab_job *first, **last;
	bool ending;
	struct lab_thread *thread[MAX_THREADS];
	unsigned int nr;
};

static struct lab_job *next_job(struct lab_engine *e)
{
	struct lab_job *job;

	lab_spin_lock(&e->lock);
	while (!e->first && !e->ending)
		pthread_cond_wait(&e->more, &e->lock);
	job = e->first;
	if (job) {
		e->first = job->next;
		if (!e->first)
			e->last = &e->first;
	}
	lab_unlock(&e->lock);
	return job;
}

static void execute(void *arg, struct lab_thread *t)
{
	struct lab_engine *e = arg;
	struct lab_job *job;

	while ((job = next_job(e))) {
		/* run may free the job. */
		struct dma_fence *fence = job->fence;

		job->run(job, t);
		if (fence) {
			dma_fence_signal(fence);
			dma_fence_put(fence);
		}
	}
}

int lab_engine_create(struct lab *lab, unsigned int threads, struct lab_engine **out)
{
	struct lab_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	lab_hold(LAB_ENGINES);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->more, NULL);
	e->last = &e->first;
	for (; e->nr < threads && e->nr < MAX_THREADS; e->nr++) {
		e->thread[e->nr] = lab_thread_start(lab, execute, e);
		if (!e->thread[e->nr]) {
			lab_engine_destroy(e);
			return -EAGAIN;
		}
	}
	*out = e;
	return 0;
}

void lab_engine_submit(struct lab_engine *e, struct lab_job *job)
{
	job->next = NULL;
	lab_spin_lock(&e->lock);
	*e->last = job;
	e->last = &job->next;
	pthread_cond_signal(&e->more);
	lab_unlock(&e->lock);
}

void lab_engine_destroy(struct lab_engine *e)
{
	lab_might_sleep("waits for an engine");
	lab_spin_lock(&e->lock);
	e->ending = true;
	pthread_cond_broadcast(&e->more);
	lab_unlock(&e->lock);
	for (unsigned int i = 0; i < e->nr; i++)
		lab_thread_join(e->thread[i]);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->more);
	free(e);
	lab_let_go(LAB_ENGINES);
}
