/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring's fixed buffers through the cache, beside transfers without registration, with one registration per
 * transfer, and with one for ever.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/io_uring/transfer.h"
#include "bench/suites.h"
#include "os/clock.h"
#include "os/random.h"

#define WAYS 4
/* So short that other load on the machine hits all ways alike. */
#define TURNS 8

struct contest {
	struct way way;
	const struct target *target;
	const uint8_t *order;
	uint64_t transfers; /* in a turn */
	int error;	    /* the first */
};

static double turn(void *ctx)
{
	struct contest *c = ctx;
	uint64_t began = mrn_now_ns();

	for (uint64_t i = 0; i < c->transfers && !c->error; i += TRANSFER_DEPTH)
		c->error = way_batch(&c->way, c->target, c->order + i % TRANSFER_BUFFERS);
	return (double)(mrn_now_ns() - began) / (double)c->transfers;
}

static void draw_order(uint8_t *order)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < TRANSFER_BUFFERS; i++) {
		size_t j = mrn_random_below(&seed, i + 1);

		order[i] = order[j];
		order[j] = (uint8_t)i;
	}
}

static int measure(struct bench_table *table, const char *name, const struct target *target,
		   size_t size, uint64_t transfers, struct mrn_source *source)
{
	static const struct way_ops *const ways[WAYS] = {&way_mrn, &way_plain, &way_register_each,
							 &way_registered_once};
	static struct contest contest[WAYS];
	struct bench_contender c[WAYS];
	uint8_t order[TRANSFER_BUFFERS];
	size_t opened = 0;
	char *memory[WAYS];
	int err = way_memory(size, memory, WAYS);

	if (err)
		return err;
	draw_order(order);
	for (; !err && opened < WAYS; opened++) {
		contest[opened] =
			(struct contest){.target = target, .order = order, .transfers = transfers};
		c[opened] = (struct bench_contender){.name = ways[opened]->name,
						     .run = turn,
						     .ctx = &contest[opened]};
		err = way_open(&contest[opened].way, ways[opened], source, size, memory[opened]);
		if (err)
			break;
	}
	if (!err)
		bench_measure(table, name, TRANSFER_DEPTH, 1, c, WAYS);
	for (size_t i = 0; i < opened; i++) {
		way_close(&contest[i].way);
		if (!err)
			err = contest[i].error;
	}
	way_memory_free(size, memory, WAYS);
	return err;
}

/* -------------------------------------------------------------------------------------------- the suite */

/* 0 or -errno. *send_zc: true if this kernel has the operation that the sockets need. */
static int look_at_kernel(bool *send_zc)
{
	struct io_uring_probe *probe;
	struct io_uring ring;
	int err = io_uring_queue_init(4, &ring, 0);

	if (err)
		return err;
	probe = io_uring_get_probe_ring(&ring);
	*send_zc = probe && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
	return 0;
}

static int run_all(struct bench_table *table, struct mrn_source *source, bool send_zc, char *why,
		   size_t why_size)
{
	static const struct {
		const char *name;
		int (*open)(struct target *target, size_t size);
		size_t size;
		uint64_t transfers;
	} cases[] = {
		{"file_4k", target_open_file, 4 << 10, 2048},
		{"file_64k", target_open_file, 64 << 10, 2048},
		{"tmpfs_4k", target_open_tmpfs, 4 << 10, 32768},
		{"tmpfs_64k", target_open_tmpfs, 64 << 10, 8192},
		{"socket_4k", target_open_socket, 4 << 10, 16384},
		{"socket_64k", target_open_socket, 64 << 10, 4096},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t transfers = cases[i].transfers / (table->quick ? 4 : 1) / TURNS;
		struct target target;
		int err;

		if (cases[i].open == target_open_socket && !send_zc)
			continue;
		err = cases[i].open(&target, cases[i].size);
		if (!err) {
			err = measure(table, cases[i].name, &target, cases[i].size, transfers,
				      source);
			target_close(&target);
		}
		if (err) {
			snprintf(why, why_size, "%s: %s", cases[i].name, strerror(-err));
			return err;
		}
	}
	return 0;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = MRN_COVER_PAGES,
		.why = why,
		.why_size = why_size,
	};
	struct mrn_source *source;
	bool send_zc;
	int err = look_at_kernel(&send_zc);

	if (err) {
		snprintf(why, why_size, "io_uring cannot be used here: %s; mrn demo says more",
			 strerror(-err));
		return -EOPNOTSUPP;
	}
	err = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source);
	if (err)
		return err;
	if (!send_zc && table->say)
		table->say("sockets are left out: SEND_ZC came with Linux 6.0");
	table->turns = TURNS;
	err = run_all(table, source, send_zc, why, why_size);
	mrn_source_detach(source);
	return err;
}

const struct bench_suite bench_io_uring = {
	.name = "io_uring",
	.about = "fixed buffers through the cache: files, tmpfs, sockets",
	.run = run,
};
