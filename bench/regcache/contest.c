/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/contest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/process.h"
#include "coverage/beside.h"

#define MAX_CONTESTANTS 8

struct contestant contest_mrn(const struct work *w)
{
	return (struct contestant){"mrn", CONTEST_MRN, *w};
}

struct contestant contest_ucx(const struct work *w)
{
	return (struct contestant){"ucx", CONTEST_UCX, *w};
}

struct contestant contest_plain(const struct work *w, enum work_plain which)
{
	static const char *const names[WORK_NR_PLAIN] = {
		[WORK_LOOK_UP] = "look-up",    [WORK_PLAIN] = "plain",
		[WORK_EACH] = "register-each", [WORK_ONCE] = "registered-once",
		[WORK_ARMING] = "arming",
	};
	struct contestant c = {names[which], CONTEST_PLAIN, *w};

	c.w.contender = which;
	return c;
}

bool contest_has_ucx(void)
{
	char path[4096];

	return beside_find(path, sizeof(path), CONTEST_UCX) == 0;
}

/* In a row. */
struct runner {
	const struct contestant *contestant;
	struct bench_tally tally;
	int error;
	char why[sizeof((struct bench_process *)0)->why];
};

static int start(struct bench_process *process, const char *program)
{
	struct beside_environment env;
	int err = beside_environment_make(&env, false);

	if (err)
		return err;
	err = bench_process_start(process, program, env.env);
	beside_environment_free(&env);
	return err;
}

static void add(struct bench_tally *sum, const struct bench_tally *t)
{
	sum->gets += t->gets;
	sum->hits += t->hits;
	sum->checked += t->checked;
	sum->stale += t->stale;
}

static double round_of(void *ctx)
{
	struct runner *r = ctx;
	struct bench_process process = {0};
	struct bench_tally tally = {0};
	double ns = 0;
	int err = start(&process, r->contestant->program);

	if (!err)
		err = bench_process_begin(&process, &r->contestant->w, sizeof(r->contestant->w));
	if (!err)
		err = bench_process_round(&process, &ns, &tally);
	if (err)
		memcpy(r->why, process.why, sizeof(r->why));
	r->error = err;
	add(&r->tally, &tally);
	bench_process_stop(&process);
	return err ? -1 : ns;
}

static int check(const char *name, const struct runner *r, char *why, size_t why_size)
{
	const struct contestant *c = r->contestant;

	if (r->error)
		snprintf(why, why_size, "%s: %s: %s", name, c->name,
			 *r->why	       ? r->why
			 : r->error == -ENOENT ? "its program is missing"
			 : r->error == -EPIPE  ? "its program died"
					       : strerror(-r->error));
	return r->error;
}

int contest_measure(struct bench_table *table, const char *name, uint64_t n,
		    const struct contestant *contestants, size_t nr, char *why, size_t why_size)
{
	static struct runner runner[MAX_CONTESTANTS];
	struct bench_contender c[MAX_CONTESTANTS];

	if (nr > MAX_CONTESTANTS)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		runner[i] = (struct runner){.contestant = &contestants[i]};
		c[i] = (struct bench_contender){
			.name = contestants[i].name,
			.run = round_of,
			.ctx = &runner[i],
			.tally = &runner[i].tally,
		};
	}
	table->fresh = true;
	bench_measure(table, name, n, contestants[0].w.threads, c, nr);
	for (size_t i = 0; i < nr; i++) {
		int err = check(name, &runner[i], why, why_size);

		if (err)
			return err;
	}
	if (runner[0].tally.stale) {
		snprintf(why, why_size, "%s: %s: %ju of %ju checked transfers read what was stale",
			 name, contestants[0].name, (uintmax_t)runner[0].tally.stale,
			 (uintmax_t)(runner[0].tally.checked + runner[0].tally.stale));
		return -EBADMSG;
	}
	return 0;
}
