/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "bench/crew.h"
#include "os/atomic.h"

/* With fewer processors than threads, the thread that this one waits for may need this processor. */
static void spin(unsigned int *spins)
{
	mrn_cpu_relax();
	if (++*spins % 1024 == 0)
		sched_yield();
}

unsigned int bench_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned int)CPU_COUNT(&set);
}

/* Pins to the self-th of the processors allowed before. */
static void pin(const struct bench_crew *crew, unsigned int self)
{
	cpu_set_t one;
	unsigned int left = self % (unsigned int)CPU_COUNT(&crew->before);

	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &crew->before) && left-- == 0) {
			CPU_SET(cpu, &one);
			break;
		}
	/* If it is refused the figures only vary more. */
	sched_setaffinity(0, sizeof(one), &one);
}

static void *work(void *arg)
{
	struct bench_crew *crew = arg;
	unsigned int self = __atomic_add_fetch(&crew->started, 1, __ATOMIC_RELAXED), spins = 0;

	pin(crew, self);
	for (uint32_t run = 1;; run++) {
		/* Both pair: what fn has done comes before bench_crew_run returns. */
		__atomic_add_fetch(&crew->waiting, 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(&crew->run, __ATOMIC_ACQUIRE) != run)
			spin(&spins);
		if (crew->leave)
			return NULL;
		crew->fn(crew->ctx, self);
	}
}

static void await_all(struct bench_crew *crew)
{
	unsigned int spins = 0;

	while (__atomic_load_n(&crew->waiting, __ATOMIC_ACQUIRE) != crew->nr - 1)
		spin(&spins);
}

static void release(struct bench_crew *crew)
{
	/* No other thread touches it before run goes up. */
	__atomic_store_n(&crew->waiting, 0, __ATOMIC_RELAXED);
	__atomic_add_fetch(&crew->run, 1, __ATOMIC_RELEASE);
}

int bench_crew_start(struct bench_crew *crew, unsigned int nr)
{
	*crew = (struct bench_crew){.nr = 1};
	if (nr > BENCH_MAX_CREW)
		return -EINVAL;
	if (sched_getaffinity(0, sizeof(crew->before), &crew->before))
		CPU_SET(0, &crew->before);
	for (; crew->nr < nr; crew->nr++) {
		int err = pthread_create(&crew->thread[crew->nr], NULL, work, crew);

		if (err) {
			bench_crew_stop(crew);
			return -err;
		}
	}
	pin(crew, 0);
	await_all(crew);
	return 0;
}

void bench_crew_stop(struct bench_crew *crew)
{
	await_all(crew);
	crew->leave = true;
	release(crew);
	for (unsigned int i = 1; i < crew->nr; i++)
		pthread_join(crew->thread[i], NULL);
	sched_setaffinity(0, sizeof(crew->before), &crew->before);
}

void bench_crew_run(struct bench_crew *crew, void (*fn)(void *ctx, unsigned int self), void *ctx)
{
	crew->fn = fn;
	crew->ctx = ctx;
	release(crew);
	fn(ctx, 0);
	await_all(crew);
}
