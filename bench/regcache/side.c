/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/side.h"

#include <errno.h>
#include <string.h>

#include "bench/regcache/device.h"

void side_note(struct side *s, bool good)
{
	int none = 0;

	if (!good)
		__atomic_compare_exchange_n(&s->error, &none, -EIO, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

static double round_of(struct side *s)
{
	switch (s->w.kind) {
	case WORK_HIT:
		return round_of_hits(s);
	case WORK_MISS:
		return round_of_misses(s);
	case WORK_MISS_FRESH:
		return round_of_fresh_misses(s);
	case WORK_INVALIDATE:
	case WORK_DONTNEED:
		return round_of_invalidations(s);
	default:
		return round_of_application(s);
	}
}

static int open_caches(struct side *s, char *why, size_t why_size)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < s->w.caches; i++) {
		s->cache[i] = (struct cache){.side = s};
		err = s->ops->open(&s->cache[i], &s->w, why, why_size);
	}
	return err;
}

static int open_all(struct side *s, const struct work *w, char *why, size_t why_size)
{
	int err = work_is_application(w) ? 0 : place_open(&s->place, w);

	s->w = *w;
	memset(s->next, 0, sizeof(s->next));
	return err ? err : open_caches(s, why, why_size);
}

static void close_all(struct side *s)
{
	for (unsigned int i = 0; i < s->w.caches; i++)
		s->ops->close(&s->cache[i]);
	place_close(&s->place);
}

/* What leaves a process as a program has it that has run for a while. */
static int hit_miss_and_invalidate(struct side *s, char *why, size_t why_size)
{
	static const uint32_t kinds[] = {WORK_MISS, WORK_HIT, WORK_INVALIDATE, WORK_MISS};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct work w = {
			.kind = kinds[i],
			.buffers = 128,
			.threads = 1,
			.caches = 1,
			.length = 16 << 10,
			.ops = 1024,
		};

		err = open_all(s, &w, why, why_size);
		if (!err)
			round_of(s);
		close_all(s);
		err = err ? err : s->error;
	}
	return err;
}

static const struct side_ops *const *all;
static size_t nr_all;

static int begin(void *ctx, const void *work, size_t size, char *why, size_t why_size)
{
	struct side *s = ctx;
	struct work w;
	int err = 0;

	if (size != sizeof(w))
		return -EINVAL;
	memcpy(&w, work, size);
	if (w.contender >= nr_all)
		return -EINVAL;
	s->ops = all[w.contender];
	if (w.pins)
		err = device_open(w.max_bytes ? w.max_bytes : (w.buffers + 1) * w.length, why,
				  why_size);
	if (!err && w.later)
		err = hit_miss_and_invalidate(s, why, why_size);
	return err ? err : open_all(s, &w, why, why_size);
}

static int one_round(void *ctx, double *ns, struct bench_tally *tally)
{
	struct side *s = ctx;

	*ns = round_of(s);
	*tally = s->tally;
	return s->error;
}

int side_serve(const struct side_ops *const *contenders, size_t nr)
{
	static struct side side;
	static const struct bench_process_ops process = {begin, one_round};
	int status;

	all = contenders;
	nr_all = nr;
	status = bench_process_serve(&process, &side);
	/* A ring's pins count for a while after the process has ended, and the next one's with them. */
	close_all(&side);
	return status;
}
