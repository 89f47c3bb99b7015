/* SPDX-License-Identifier: BSD-3-Clause */
/* The rounds of hits, misses and invalidations. */
#include <sys/mman.h>

#include "bench/crew.h"
#include "bench/regcache/side.h"
#include "os/clock.h"

/* Nanoseconds for each of ops by each thread; fn does s->run of them. A shorter run first warms up. */
static double timed(struct side *s, void (*fn)(void *ctx, unsigned int self), uint64_t warm,
		    uint64_t ops)
{
	static struct bench_crew crew;
	uint64_t began, took;
	int err = bench_crew_start(&crew, s->w.threads);

	if (err) {
		s->error = err;
		return 0;
	}
	s->run = warm;
	bench_crew_run(&crew, fn, s);
	for (unsigned int i = 0; i < s->w.caches; i++)
		s->cache[i].registered = s->cache[i].deregistered = 0;
	s->run = ops;
	began = mrn_now_ns();
	bench_crew_run(&crew, fn, s);
	took = mrn_now_ns() - began;
	bench_crew_stop(&crew);
	return (double)took / (double)(ops * s->w.threads);
}

double round_of_hits(struct side *s)
{
	double ns;

	for (size_t i = 0; i < s->w.buffers; i++)
		side_note(s, side_use(&s->cache[0], place_buffer(&s->place, i), s->w.length));
	ns = timed(s, s->ops->hits, s->w.ops / 16 + 1, s->w.ops);
	/* Nothing but hits. */
	side_note(s, s->cache[0].registered == 0);
	return ns;
}

static void miss(void *side, unsigned int self)
{
	struct side *s = side;
	const uint16_t *order = s->place.order[self];
	struct cache *c = side_cache(s, self);
	uint64_t n = s->run, next = s->next[self];
	bool good = true;

	for (uint64_t i = 0; i < n; i++, next++)
		good &= side_use(c, place_buffer(&s->place, order[next % (2 * s->w.buffers)]),
				 s->w.length);
	s->next[self] = next;
	side_note(s, good);
}

/* There should be none; a range that could not be kept is in nobody's way, and others stay longer. */
static void count_hits(struct side *s)
{
	uint64_t registered = 0, gets = s->w.ops * s->w.threads;

	for (unsigned int i = 0; i < s->w.caches; i++)
		registered += s->cache[i].registered;
	if (registered < gets)
		s->tally = (struct bench_tally){.gets = gets, .hits = gets - registered};
}

double round_of_misses(struct side *s)
{
	/* The first run fills the cache: from then on each registration evicts another. */
	double ns = timed(s, miss, 2 * s->w.buffers, s->w.ops);

	count_hits(s);
	return ns;
}

/* ------------------------------------------------------------------------------- all buffers at a time */

/* Caches clean up only when a look-up fails: the use of one more buffer makes this one fail. */
static void clean_up(struct side *s)
{
	char *spare = place_buffer(&s->place, s->w.buffers);

	side_note(s, side_use(&s->cache[0], spare, s->w.length));
}

static void change_all(struct side *s)
{
	const struct place *p = &s->place;

	for (size_t i = 0; i < s->w.buffers; i++) {
		char *at = place_buffer(p, p->order[0][i]);

		side_note(s, s->w.kind == WORK_DONTNEED ? madvise(at, p->length, MADV_DONTNEED) == 0
							: munmap(at, p->length) == 0);
	}
}

static void map_again(struct side *s)
{
	const struct place *p = &s->place;

	munmap(place_buffer(p, s->w.buffers), p->length);
	for (size_t i = 0; i <= s->w.buffers; i++)
		side_note(s, place_map(p, i));
}

static void use_all(struct side *s)
{
	const struct place *p = &s->place;

	for (size_t i = 0; i < s->w.buffers; i++)
		side_note(s, side_use(&s->cache[0], place_buffer(p, p->order[0][i]), p->length));
}

static uint64_t time_of(struct side *s, void (*fn)(struct side *s))
{
	uint64_t began = mrn_now_ns();

	fn(s);
	return mrn_now_ns() - began;
}

static void invalidate_all(struct side *s)
{
	change_all(s);
	clean_up(s);
}

static uint64_t times(const struct side *s)
{
	return (s->w.ops + s->w.buffers - 1) / s->w.buffers;
}

/* The first time does not count. */
double round_of_fresh_misses(struct side *s)
{
	uint64_t took = 0;

	for (uint64_t i = 0; i <= times(s); i++) {
		uint64_t before = s->cache[0].registered, ns = time_of(s, use_all);

		side_note(s, s->cache[0].registered - before == s->w.buffers);
		took += i ? ns : 0;
		invalidate_all(s);
		map_again(s);
	}
	return (double)took / (double)(times(s) * s->w.buffers);
}

double round_of_invalidations(struct side *s)
{
	uint64_t took = 0;

	for (uint64_t i = 0; i <= times(s); i++) {
		uint64_t before, ns;

		use_all(s);
		before = s->cache[0].deregistered;
		ns = time_of(s, invalidate_all);
		side_note(s, s->cache[0].deregistered - before == s->w.buffers);
		took += i ? ns : 0;
		map_again(s);
	}
	return (double)took / (double)(times(s) * s->w.buffers);
}
