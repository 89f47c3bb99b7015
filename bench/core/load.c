/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/core/load.h"

#include <errno.h>

#include "bench/bench.h"
#include "bench/memory.h"
#include "os/clock.h"

#define WINDOWS 4
#define FEW	4096

static size_t nr_batches(const struct load *load)
{
	return load->windows * load->batches * load->threads;
}

static size_t size_of_items(const struct load *load)
{
	return nr_batches(load) * load->batch * load->item_size;
}

static const void *batch_of(const struct load *load, unsigned int round, size_t b,
			    unsigned int self)
{
	size_t at = (round % load->windows * load->batches + b) * load->threads + self;

	return (const char *)load->items + at * load->batch * load->item_size;
}

static void plan(struct load *load, size_t n, size_t ops)
{
	const struct load_kind *kind = load->kind;

	load->windows = WINDOWS;
	load->times = 1;
	load->batches = 1;
	load->batch = ops;
	switch (kind->op) {
	case LOAD_READ:
		load->item_size = sizeof(uint32_t);
		/* For few notifiers, the list of them must not cost more than they do. */
		if (kind->some < n) {
			load->windows = 1;
			load->batch = FEW;
			load->times = (unsigned int)(ops / FEW);
		}
		break;
	case LOAD_ANNOUNCE:
		load->item_size = sizeof(struct span);
		break;
	default:
		load->item_size = sizeof(struct job);
		/* At most a quarter of all are removed at a time. */
		load->batch = n / 4 / load->threads;
		if (load->batch > ops)
			load->batch = ops;
		if (load->batch == 0)
			load->batch = 1;
		load->batches = ops / load->batch;
	}
}

int load_create(struct load *load, const struct load_kind *kind, const struct layout *layout,
		unsigned int threads, bool quick)
{
	size_t nr;
	int err = 0;

	*load = (struct load){.kind = kind, .threads = threads};
	plan(load, layout->n, (quick ? kind->ops / 2 : kind->ops) / (layout->n > 10000 ? 1 : 4));
	nr = nr_batches(load) * load->batch;
	load->items = bench_alloc(size_of_items(load));
	if (!load->items)
		return -ENOMEM;
	if (kind->op == LOAD_READ)
		layout_indices(layout, kind->some, load->items, nr);
	else if (kind->op == LOAD_ANNOUNCE)
		layout_queries(layout, kind->query, load->items, nr);
	else
		err = layout_jobs(layout, load->items, load->batch, nr_batches(load), threads);
	if (err)
		load_destroy(load);
	return err;
}

void load_destroy(struct load *load)
{
	bench_free(load->items, size_of_items(load));
	*load = (struct load){0};
}

/* Removes and inserts; adds the time of the half that is measured. */
static int change(struct meter *m, const struct job *job, uint64_t *ns)
{
	const struct side_ops *ops = m->side->ops;
	uint64_t began = mrn_now_ns(), between;
	int err = ops->remove(m->side, job, m->load->batch);

	between = mrn_now_ns();
	if (!err)
		err = ops->insert(m->side, job, m->load->batch);
	*ns += m->load->kind->op == LOAD_REMOVE ? between - began : mrn_now_ns() - between;
	return err;
}

static int do_batch(struct meter *m, const void *items, uint64_t *ns)
{
	const struct side_ops *ops = m->side->ops;

	switch (m->load->kind->op) {
	case LOAD_READ:
		/* Nothing is invalidated, so no read may collide. */
		return ops->read(m->side, items, m->load->batch) ? -EBUSY : 0;
	case LOAD_ANNOUNCE:
		return ops->announce(m->side, items, m->load->batch);
	default:
		return change(m, items, ns);
	}
}

static void work(void *ctx, unsigned int self)
{
	struct meter *m = ctx;
	uint64_t ns = 0;
	int err = 0;

	for (unsigned int t = 0; t < m->load->times; t++)
		for (size_t b = 0; b < m->load->batches && !err; b++)
			err = do_batch(m, batch_of(m->load, m->round, b, self), &ns);
	m->of[self].ns = ns;
	m->of[self].err = err;
}

double meter_run(void *ctx)
{
	struct meter *m = ctx;
	const struct load *load = m->load;
	uint64_t began = mrn_now_ns(), all, half = 0;

	bench_crew_run(m->crew, work, m);
	all = mrn_now_ns() - began;
	m->round++;
	for (unsigned int i = 0; i < load->threads; i++) {
		if (half < m->of[i].ns)
			half = m->of[i].ns;
		if (!m->err)
			m->err = m->of[i].err;
	}
	return (double)(half ? half : all) / (double)(load->times * load->batches * load->batch) /
	       (double)load->threads;
}
