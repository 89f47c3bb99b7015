/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/app.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bench/regcache/device.h"
#include "os/clock.h"
#include "os/random.h"

/* One transfer in so many is checked: a check is a transfer by io_uring, which takes as long as tens of hits. */
#define CHECK_EVERY 32

size_t app_draw_size(struct app *me, size_t least, unsigned int doublings)
{
	size_t base = least << mrn_random_below(&me->seed, doublings);

	return base + mrn_random_below(&me->seed, base);
}

bool app_draw(struct app *me, unsigned int of_thousand)
{
	return mrn_random_below(&me->seed, 1000) < of_thousand;
}

char *app_alloc(struct app *me, size_t length)
{
	char *p = malloc(length);

	me->failed |= !p;
	return p;
}

/* Looks at a word in any of the pages. A pin of other memory only takes its time. */
static void check(struct app *me, const struct pin *pin, char *addr, size_t length)
{
	char *at = addr + mrn_random_below(&me->seed, length - 8);
	bool now;

	if (!device_can_read(pin))
		return;
	if (at < pin->addr || at + 8 > pin->addr + pin->length) {
		device_reads_now(pin, pin->addr);
		return;
	}
	now = device_reads_now(pin, at);
	me->tally.checked += now;
	me->tally.stale += !now;
}

static void transfer(struct app *me, char *addr, size_t length)
{
	const struct side_ops *ops = me->side->ops;
	void *held = ops->get(me->cache, addr, length);

	if (!held) {
		me->failed = true;
		return;
	}
	if (me->tally.gets++ % CHECK_EVERY == 0)
		check(me, ops->pin(held), addr, length);
	ops->put(me->cache, held);
}

void app_send(struct app *me, char *addr, size_t length)
{
	place_touch(addr, length);
	transfer(me, addr, length);
}

void app_receive(struct app *me, char *addr, size_t length)
{
	transfer(me, addr, length);
	place_touch(addr, length);
}

/* -------------------------------------------------------------------------------------------- a round */

static struct {
	pthread_barrier_t ready;
	void (*run)(struct app *me);
} team;

static void *work(void *arg)
{
	struct app *me = arg;

	pthread_barrier_wait(&team.ready);
	team.run(me);
	return NULL;
}

static void begin_thread(struct app *me, struct side *s, unsigned int self)
{
	*me = (struct app){.side = s, .cache = &s->cache[0], .seed = self, .steps = s->w.ops};
}

/* Not the main thread: glibc gives it another heap than all others. */
static uint64_t run_threads(struct side *s, struct app *app)
{
	pthread_t thread[WORK_MAX_THREADS];
	unsigned int started = 0;
	uint64_t began;

	pthread_barrier_init(&team.ready, NULL, s->w.threads + 1);
	for (; started < s->w.threads; started++) {
		begin_thread(&app[started], s, started);
		if (pthread_create(&thread[started], NULL, work, &app[started]))
			/* Those that wait at the barrier would wait for ever. */
			abort();
	}
	pthread_barrier_wait(&team.ready);
	began = mrn_now_ns();
	for (unsigned int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&team.ready);
	return mrn_now_ns() - began;
}

static void sum_up(struct side *s, const struct app *app)
{
	uint64_t registered = s->cache[0].registered;
	struct bench_tally *t = &s->tally;

	for (unsigned int i = 0; i < s->w.threads; i++) {
		t->gets += app[i].tally.gets;
		t->checked += app[i].tally.checked;
		t->stale += app[i].tally.stale;
		side_note(s, !app[i].failed);
	}
	/* A get that is no hit registers, perhaps twice. */
	t->hits = t->gets > registered ? t->gets - registered : 0;
}

double round_of_application(struct side *s)
{
	static struct app app[WORK_MAX_THREADS];
	uint64_t took;
	double ns;

	team.run = s->w.kind == WORK_MALLOC ? app_malloc
		   : s->w.kind == WORK_MPI  ? app_mpi
					    : app_storage;
	took = run_threads(s, app);
	sum_up(s, app);
	ns = (double)took / (double)s->tally.gets;
	/* Nothing hits or misses. */
	if (!s->cache[0].registered)
		s->tally = (struct bench_tally){0};
	return ns;
}
