/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/work.h"

#include <errno.h>
#include <sys/mman.h>

#include "bench/bench.h"
#include "bench/crew.h"
#include "os/clock.h"
#include "os/random.h"

#define RW (PROT_READ | PROT_WRITE)

/* ------------------------------------------------------------------------------------------- the buffers */

/* Populated, as a device would have pinned it. */
static bool map_buffer(const struct work_place *p, size_t i)
{
	char *at = work_buffer(p, i);

	return mmap(at, WORK_BUFFER, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1,
		    0) == at;
}

static void shuffle(uint16_t *order, size_t n, uint64_t *seed)
{
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = mrn_random_below(seed, i + 1);
		uint16_t swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
}

/* All buffers equally often, each thread in an order of its own. */
static void draw_orders(struct work_place *p, uint32_t buffers, size_t length)
{
	for (size_t t = 0; t < WORK_MAX_THREADS; t++) {
		uint64_t seed = t;

		for (size_t i = 0; i < length; i++)
			p->order[t][i] = (uint16_t)(i % buffers);
		shuffle(p->order[t], length, &seed);
	}
}

static int make_place(struct work_side *side)
{
	struct work_place *p = &side->place;

	/* Twice as many as the cache holds; or one more, which is never cached. */
	p->buffers = side->w.kind == WORK_MISS ? 2 * side->w.buffers : side->w.buffers + 1;
	p->reserved_size = (p->buffers + 1) * WORK_STRIDE;
	p->reserved = mmap(NULL, p->reserved_size, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->reserved == MAP_FAILED)
		return -errno;
	p->memory = (char *)(((uintptr_t)p->reserved + WORK_STRIDE - 1) & ~(WORK_STRIDE - 1));
	for (size_t i = 0; i < p->buffers; i++)
		if (!map_buffer(p, i))
			return -errno;
	if (side->w.kind == WORK_MISS)
		draw_orders(p, p->buffers, p->buffers);
	else if (side->w.kind == WORK_INVALIDATE)
		draw_orders(p, side->w.buffers, side->w.buffers);
	else
		draw_orders(p, side->w.buffers, WORK_ORDER);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ rounds */

static void note(struct work_side *side, bool good)
{
	if (!good && !side->error)
		side->error = -EIO;
}

static double round_hits(struct work_side *side)
{
	static struct bench_crew crew;
	uint64_t began, took, before = side->registered;
	int err = bench_crew_start(&crew, side->w.threads);

	if (err) {
		side->error = err;
		return 0;
	}
	/* The other side had the processors' caches before. */
	side->ops = side->w.ops / 16 + 1;
	bench_crew_run(&crew, side->hits, side);
	side->ops = side->w.ops;
	began = mrn_now_ns();
	bench_crew_run(&crew, side->hits, side);
	took = mrn_now_ns() - began;
	bench_crew_stop(&crew);
	note(side, side->registered == before);
	return (double)took / (double)(side->w.ops * side->w.threads);
}

static void miss(struct work_side *side, uint64_t n)
{
	const struct work_place *p = &side->place;

	for (uint64_t i = 0; i < n; i++, side->next++)
		note(side, side->use(side, work_buffer(p, p->order[0][side->next % p->buffers])));
}

static double round_misses(struct work_side *side)
{
	uint64_t began, took, before;

	/* Fills the cache, too: from then on each registration evicts another. */
	miss(side, side->place.buffers);
	before = side->deregistered;
	began = mrn_now_ns();
	miss(side, side->w.ops);
	took = mrn_now_ns() - began;
	note(side, side->deregistered - before == side->w.ops);
	return (double)took / (double)side->w.ops;
}

/* Both caches clean up only when a look-up fails: so one follows, for the clean-up to count. */
static double unmap_all(struct work_side *side)
{
	const struct work_place *p = &side->place;
	uint32_t n = side->w.buffers;
	uint64_t began, took, before;

	for (size_t i = 0; i < n; i++)
		note(side, side->use(side, work_buffer(p, i)));
	before = side->deregistered;
	began = mrn_now_ns();
	for (size_t i = 0; i < n; i++)
		munmap(work_buffer(p, p->order[0][i]), WORK_BUFFER);
	note(side, side->use(side, work_buffer(p, n)));
	took = mrn_now_ns() - began;
	note(side, side->deregistered - before == n);

	munmap(work_buffer(p, n), WORK_BUFFER);
	for (size_t i = 0; i <= n; i++)
		note(side, map_buffer(p, i));
	return (double)took / n;
}

static double round_invalidations(struct work_side *side)
{
	uint64_t times = (side->w.ops + side->w.buffers - 1) / side->w.buffers;
	double sum = 0;

	for (uint64_t i = 0; i < times; i++)
		sum += unmap_all(side);
	return sum / (double)times;
}

double work_round(struct work_side *side)
{
	switch (side->w.kind) {
	case WORK_HIT:
		return round_hits(side);
	case WORK_MISS:
		return round_misses(side);
	default:
		return round_invalidations(side);
	}
}

/* ----------------------------------------------------------------------------------------- begin and end */

int work_begin(struct work_side *side, const struct work *w)
{
	int err;

	side->w = *w;
	side->registered = side->deregistered = 0;
	side->next = 0;
	side->error = 0;
	err = make_place(side);
	if (!err)
		err = side->open(side, w);
	/* A round of hits must have nothing but hits. */
	for (size_t i = 0; !err && w->kind == WORK_HIT && i < w->buffers; i++)
		if (!side->use(side, work_buffer(&side->place, i)))
			err = -EIO;
	if (err)
		work_end(side);
	return err;
}

void work_end(struct work_side *side)
{
	side->close(side);
	if (side->place.memory)
		munmap(side->place.reserved, side->place.reserved_size);
	side->place.memory = NULL;
}
