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

/* Looks at a word in any of the pages. Contenders that hold another pin than one of this memory are right or not by luck. */
static void check(struct app *me, const struct pin *pin, char *addr, size_t length)
{
	char *at = addr + mrn_random_below(&me->seed, length - 8);
	bool here;

	if (!device_can_read(pin))
		return;
	here = at >= pin->addr && at + 8 <= pin->addr + pin->length;
	if (!here)
		at = pin->addr;
	if (device_reads_now(pin, at))
		me->tally.checked += here;
	else
		me->tally.stale++;
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

static void sum_up(struct side *s, const struct app *me)
{
	s->tally.gets += me->tally.gets;
	s->tally.checked += me->tally.checked;
	s->tally.stale += me->tally.stale;
	side_note(s, !me->failed);
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

double round_of_application(struct side *s)
{
	static struct app app[WORK_MAX_THREADS];
	uint64_t took;

	team.run = app_malloc;
	took = run_threads(s, app);
	for (unsigned int i = 0; i < s->w.threads; i++)
		sum_up(s, &app[i]);
	/* A get that is no hit registers. */
	if (s->tally.gets > s->cache[0].registered)
		s->tally.hits = s->tally.gets - s->cache[0].registered;
	return (double)took / (double)s->tally.gets;
}
