/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "watch/tool/sites.h"

/* --------------------------------------------------------------------------------------- files */

/*
 * The most files that are kept open, unless that is more than half of this process's limit. Others are looked up again
 * at the end.
 */
#define OPEN_MAX_FILES 256

static uint32_t most_open(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 2 > OPEN_MAX_FILES)
		return OPEN_MAX_FILES;
	return (uint32_t)limit.rlim_cur / 2;
}

static uint32_t add_file(struct sites *s, uint32_t pid, const struct watch_module *m)
{
	if (s->nr_files == s->max_files) {
		uint32_t max = s->max_files ? 2 * s->max_files : 64;
		struct origin *more = realloc(s->file, max * sizeof(*more));

		if (!more)
			return 0;
		s->file = more;
		s->max_files = max;
	}
	if (origin_init(&s->file[s->nr_files], pid, m, s->nr_files < s->max_open))
		return 0;
	return s->nr_files++;
}

/* The newest with that path and inode; 0: none. */
static uint32_t known_file(const struct sites *s, const struct watch_module *m)
{
	for (uint32_t i = s->nr_files; i-- > 1;)
		if (origin_is_of(&s->file[i], m))
			return i;
	return 0;
}

static uint32_t find_file(struct sites *s, uint32_t pid, const struct watch_module *m)
{
	uint32_t i = known_file(s, m);

	return i ? i : add_file(s, pid, m);
}

void sites_begin(struct sites *s, uint32_t pid, const struct watch_lane *lane)
{
	uint32_t n = watch_modules_of(lane);

	for (uint32_t k = 0; k < n; k++) {
		struct watch_module copy = lane->module[k], *m = &copy;
		uint32_t i;

		/* Whatever was written there. */
		m->path[sizeof(m->path) - 1] = '\0';
		i = m->path[0] == '/' ? find_file(s, pid, m) : 0;
		if (!i)
			continue;
		/* A file that was written to since is another program's. */
		origin_check(&s->file[i]);
		if (s->file[i].replaced)
			add_file(s, pid, m);
	}
}

/*
 * The module at pc at that time: the newest that was there by then; if that was unmapped before, or there is none, the
 * oldest that came later.
 */
static const struct watch_module *module_at(const struct watch_lane *lane, uint64_t pc,
					    uint64_t when)
{
	uint32_t n = watch_modules_of(lane);
	const struct watch_module *best = NULL;

	for (uint32_t i = n; i-- > 0;) {
		const struct watch_module *m = &lane->module[i];

		if (pc - m->start >= m->end - m->start)
			continue;
		if (m->since <= when) {
			uint64_t until = __atomic_load_n(&m->until, __ATOMIC_RELAXED);

			return !until || when < until ? m : best;
		}
		best = m;
	}
	return best;
}

/* The place of the call: one byte before the return address. */
static struct code_place place_of(struct sites *s, uint64_t pc, const struct watch_record *r,
				  const struct watch_lane *lane)
{
	const struct watch_module *m = pc ? module_at(lane, pc, r->begin) : NULL;
	uint64_t full = __atomic_load_n(&lane->full_since, __ATOMIC_RELAXED);

	/* It may be in a file that has found no room in the list. */
	if (!m && full && r->begin >= full)
		return (struct code_place){0, 0};
	if (!m || m->path[0] != '/')
		return (struct code_place){0, pc};
	return (struct code_place){find_file(s, r->pid, m), pc - 1 - m->start + m->offset};
}

/* --------------------------------------------------------------------------------------- sites */

static bool same(const struct code_place *a, const struct code_place *b)
{
	return a->file == b->file && a->offset == b->offset;
}

static uint32_t hash_of(const struct site *t)
{
	uint64_t h = t->at.offset * 31 + t->via.offset;

	h = (h * 31 + t->at.file) * 31 + t->via.file;
	return (uint32_t)(h * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static uint32_t *slot_of(const struct sites *s, const struct site *t)
{
	uint32_t i = hash_of(t);

	for (;; i++) {
		uint32_t *slot = &s->hash[i & (s->hash_size - 1)];

		if (!*slot || (same(&s->site[*slot - 1].at, &t->at) &&
			       same(&s->site[*slot - 1].via, &t->via)))
			return slot;
	}
}

/* Makes room for one more. The hash is at most half full. */
static bool grow(struct sites *s)
{
	uint32_t max = s->max ? 2 * s->max : 512;
	struct site *more;
	uint32_t *hash;

	if (s->nr < s->max)
		return true;
	more = realloc(s->site, max * sizeof(*more));
	if (!more)
		return false;
	s->site = more;
	hash = calloc(2 * (size_t)max, sizeof(*hash));
	if (!hash)
		return false;
	free(s->hash);
	s->hash = hash;
	s->hash_size = 2 * max;
	s->max = max;
	for (uint32_t i = 0; i < s->nr; i++)
		*slot_of(s, &s->site[i]) = i + 1;
	return true;
}

/* Without memory, returns the unknown site. */
static uint32_t find_or_add(struct sites *s, const struct site *t)
{
	uint32_t *slot;

	if (!grow(s))
		return 0;
	slot = slot_of(s, t);
	if (!*slot) {
		s->site[s->nr] = *t;
		*slot = ++s->nr;
	}
	return *slot - 1;
}

uint32_t sites_find(struct sites *s, const struct watch_record *r, const struct watch_lane *lane)
{
	struct site t = {
		.at = place_of(s, r->site, r, lane),
		.via = place_of(s, r->via, r, lane),
	};

	return find_or_add(s, &t);
}

int sites_create(struct sites *s)
{
	static const struct watch_module none;
	const struct site unknown = {0};

	*s = (struct sites){.max_open = most_open()};
	add_file(s, 0, &none);
	find_or_add(s, &unknown);
	if (s->nr && s->nr_files)
		return 0;
	sites_destroy(s);
	return -ENOMEM;
}

void sites_destroy(struct sites *s)
{
	for (uint32_t i = 0; i < s->nr_files; i++)
		origin_destroy(&s->file[i]);
	free(s->file);
	free(s->site);
	free(s->hash);
	*s = (struct sites){0};
}
