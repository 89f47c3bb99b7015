/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check/shared/check.h"
#include "os/clock.h"

int collection_create(struct collection *c, uint32_t ring_shift, void (*found)(void *arg),
		      void *arg)
{
	*c = (struct collection){.ring_shift = ring_shift, .found = found, .arg = arg};
	return sites_create(&c->sites);
}

void collection_destroy(struct collection *c)
{
	sites_destroy(&c->sites);
	free(c->item);
}

/* ------------------------------------------------------------------------------------- one process */

struct process {
	struct collection *c;
	uint32_t pid;
	const struct watch_lane *lane;
	struct check_log *log;
};

/*
 * The program may have written there by mistake: nothing is believed that is out of bounds. False if it is not complete yet,
 * as its number may be noted before it is.
 */
static bool place(const struct process *p, uint32_t number, struct collected_stack *out)
{
	const struct check_stack *s;

	out->nr = 0;
	if (!number || number > CHECK_STACKS)
		return true;
	s = &p->log->stack[number - 1];
	/* Acquire pairs with the recorder's release. */
	if (!__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE))
		return false;
	for (uint32_t i = 0; i < s->nr && i < CHECK_FRAMES; i++) {
		const struct watch_record r = {.pid = p->pid, .site = s->pc[i], .begin = s->since};

		out->frame[out->nr++] = sites_find(&p->c->sites, &r, p->lane);
	}
	return true;
}

static bool place_all(const struct process *p, struct collected *item)
{
	bool registered = place(p, item->finding.registered, &item->registered);
	bool changed = place(p, item->finding.changed, &item->changed);
	bool used = place(p, item->finding.used, &item->used);
	bool ended = place(p, item->finding.ended, &item->ended);

	return registered && changed && used && ended;
}

/*
 * True if there is time yet for the registration to end: whether a program ends it right after the change, or never, is what
 * tells an order that does no harm from a fault.
 */
static bool may_end(const struct check_finding *f)
{
	return f->grade == CHECK_CHANGE && !f->ended_at && !MRN_BROKEN(CHECK_ENDS) &&
	       (int64_t)(mrn_now_ns() - f->changed_at) < COLLECT_END_NS;
}

static bool is_sane(const struct check_finding *f)
{
	return f->grade < CHECK_NR_GRADES && f->of < CHECK_NR_INTERFACES;
}

/* ----------------------------------------------------------------------------------- all of them */

static bool same_stack(const struct collected_stack *a, const struct collected_stack *b)
{
	return a->nr == b->nr && !memcmp(a->frame, b->frame, a->nr * sizeof(*a->frame));
}

static bool same(const struct collected *a, const struct collected *b)
{
	return a->finding.grade == b->finding.grade && a->finding.of == b->finding.of &&
	       a->finding.unsure == b->finding.unsure && a->finding.cause == b->finding.cause &&
	       !strcmp(a->finding.op, b->finding.op) &&
	       same_stack(&a->registered, &b->registered) && same_stack(&a->changed, &b->changed) &&
	       same_stack(&a->used, &b->used);
}

/* The number of the one that is the same, after adding it if there is none. UINT32_MAX without memory. */
static uint32_t find(struct collection *c, const struct collected *item)
{
	for (uint32_t i = 0; i < c->nr; i++)
		if (same(&c->item[i], item))
			return i;
	if (c->nr == c->max) {
		uint32_t max = c->max ? 2 * c->max : 64;
		struct collected *more = realloc(c->item, max * sizeof(*more));

		if (!more) {
			c->no_memory = true;
			return UINT32_MAX;
		}
		c->item = more;
		c->max = max;
	}
	c->item[c->nr] = *item;
	return c->nr++;
}

/*
 * Takes one in if it is new; its place in the log keeps its number here. False if it is not complete yet, and so is left for
 * the next look; but at the last one what there is is all.
 */
static bool take_in(const struct process *p, struct check_finding *f, bool last)
{
	struct collected item;
	uint64_t ended_at;
	uint32_t number;

	if (!__atomic_load_n(&f->ready, __ATOMIC_ACQUIRE))
		return false;
	/* Acquire pairs with the recorder's release. */
	ended_at = __atomic_load_n(&f->ended_at, __ATOMIC_ACQUIRE);
	item = (struct collected){.finding = *f};
	item.finding.ended_at = ended_at;
	if (!is_sane(&item.finding) || item.finding.item - 1 < p->c->nr)
		return true;
	item.finding.op[sizeof(item.finding.op) - 1] = '\0';
	item.finding.count = 0;
	if (!last && may_end(&item.finding))
		return false;
	if (!place_all(p, &item) && !last && !MRN_BROKEN(CHECK_LOOKED_ONCE))
		return false;
	number = find(p->c, &item);
	f->item = number + 1;
	return true;
}

static void take_in_new(const struct process *p)
{
	const uint32_t n = __atomic_load_n(&p->log->findings, __ATOMIC_ACQUIRE);
	bool all = true;

	if (n == p->log->seen)
		return;
	for (size_t i = 0; i < CHECK_FINDINGS; i++) {
		struct check_finding *f = &p->log->finding[i];

		if (__atomic_load_n(&f->count, __ATOMIC_RELAXED))
			all &= take_in(p, f, false);
	}
	if (all || MRN_BROKEN(CHECK_LOOKED_ONCE))
		p->log->seen = n;
}

static void count(const struct process *p, struct check_finding *f)
{
	if (f->count && take_in(p, f, true) && f->item - 1 < p->c->nr)
		p->c->item[f->item - 1].finding.count += f->count;
}

static void take_in_all(const struct process *p)
{
	const uint64_t *from = (const uint64_t *)(const void *)&p->log->counts;
	uint64_t *to = (uint64_t *)(void *)&p->c->counts;

	for (size_t i = 0; i < sizeof(struct check_counts) / sizeof(*to); i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	if (!p->log->used)
		return;
	for (size_t i = 0; i < CHECK_FINDINGS; i++)
		count(p, &p->log->finding[i]);
	/* The process is gone, or will be. */
	for (size_t i = 0; i < CHECK_OPEN_MAX; i++) {
		p->log->open[i].unsure |= p->log->open[i].ready;
		count(p, &p->log->open[i]);
	}
}

void collection_look(void *collection, uint32_t pid, struct watch_lane *lane, bool last)
{
	struct collection *c = collection;
	struct check_log *log = watch_lane_besides(lane, c->ring_shift);
	const struct process p = {c, pid, lane, log};
	const uint32_t nr = c->nr;

	if (last)
		take_in_all(&p);
	else
		take_in_new(&p);
	if (c->nr > nr)
		c->found(c->arg);
	if (!last)
		return;
	/* To write to the tables takes memory, and most processes register nothing. */
	if (log->used)
		memset(log, 0, sizeof(*log));
	else
		log->counts = (struct check_counts){0};
}
