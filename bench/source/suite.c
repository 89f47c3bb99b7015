/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each source costs a program: the same work in processes with one source, or two, and in one without any. A
 * source affects all that its process does, so each contender is a process of its own.
 */
#include <errno.h>
#include <mrn/source.h>
#include <stdio.h>
#include <string.h>

#include "coverage/beside.h"
#include "bench/crew.h"
#include "bench/process.h"
#include "bench/source/request.h"
#include "bench/suites.h"
#include "source/kinds.h"

#define PROGRAM "mrn-bench-source"
/* None; each kind; and all together that AUTO takes anyway. */
#define MAX_CONTENDERS (MRN_NR_KINDS + 2)
#define MAX_CASES      16
/* In a round: each has its gap for mappings at another place (place.h). */
#define TURNS 8

/* ops: for a turn of about 10 ms. */
static const struct {
	const char *name;
	struct source_work w;
} cases[] = {
	{"map_unmap", {0, SOURCE_MAP, 1, 64 << 10, 400}},
	{"map_unmap_big", {0, SOURCE_MAP, 1, 1 << 20, 40}},
	{"map_unmap_watched", {0, SOURCE_MAP_WATCHED, 1, 64 << 10, 300}},
	{"getppid", {0, SOURCE_GETPPID, 1, 0, 6000}},
#ifdef __x86_64__
	{"getppid_bare", {0, SOURCE_GETPPID_BARE, 1, 0, 6000}},
#endif
	{"malloc_free", {0, SOURCE_MALLOC, 1, 1 << 20, 1200}},
	{"malloc_free_small", {0, SOURCE_MALLOC, 1, 64, 600000}},
	{"storm", {0, SOURCE_MAP, 2, 64 << 10, 200}},
};

#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

struct contender {
	const char *name;
	char names[sizeof(MRN_KIND_WORDS)];
	uint32_t sources;
	struct source_work w; /* of the case */
	struct bench_process process;
	int error; /* of a round: the first */
};

/* Also begins the work. */
static int start(struct contender *c)
{
	struct beside_environment env;
	int err = beside_environment_make(&env, c->sources & mrn_kinds_that(MRN_KIND_BY_NAME));

	if (err)
		return err;
	err = bench_process_start(&c->process, PROGRAM, env.env);
	beside_environment_free(&env);
	return err ? err : bench_process_begin(&c->process, &c->w, sizeof(c->w));
}

/* ------------------------------------------------------------------------------------- contenders */

static bool is_lack(int error)
{
	return error == -EPERM || error == -ENOSYS || error == -EOPNOTSUPP;
}

/* Says what the machine lacks, once: for two sources, only the missing one. */
static void say_left_out(struct bench_table *table, const struct contender *c, uint32_t *missing)
{
	char sentence[1024], *end;

	if (c->sources & *missing)
		return;
	*missing |= c->sources;
	snprintf(sentence, sizeof(sentence), "%s is left out: %s", c->name,
		 *c->process.why ? c->process.why : "this machine lacks it");
	end = sentence + strlen(sentence);
	while (end > sentence && (end[-1] == ' ' || end[-1] == '.'))
		*--end = '\0';
	if (table->say)
		table->say(sentence);
}

static int fail(char *why, size_t why_size, const struct contender *c, const char *what, int err)
{
	snprintf(why, why_size, "%s: %s: %s", c->name, what,
		 err == -ENOENT	 ? PROGRAM " is neither beside this program nor installed"
		 : err == -EPIPE ? PROGRAM " died"
				 : strerror(-err));
	return err;
}

/* Finds the contenders that this machine has, and their number. */
static int find_all(struct bench_table *table, struct contender *all, size_t *nr, char *why,
		    size_t why_size)
{
	const uint32_t together = MRN_ALL_KINDS & ~mrn_kinds_that(MRN_KIND_COSTLY);
	uint32_t missing = 0;

	for (uint32_t sources = 0; sources <= MRN_ALL_KINDS; sources++) {
		struct contender *c = &all[*nr];
		int err;

		if ((sources & (sources - 1)) && sources != together)
			continue;
		*c = (struct contender){
			.name = "none",
			.sources = sources,
			.w = {.sources = sources},
		};
		if (c->sources) {
			mrn_kinds_put_names(c->names, c->sources);
			c->name = c->names;
		}
		err = start(c);
		bench_process_stop(&c->process);
		if (!err)
			++*nr;
		else if (is_lack(err))
			say_left_out(table, c, &missing);
		else
			return fail(why, why_size, c, "start", err);
	}
	if (*nr < 2) {
		snprintf(why, why_size, "no source works here");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Each round in a new process: some are lucky with what the kernel gives them, and stay so. */
static void prepare(void *ctx)
{
	struct contender *c = ctx;
	int err;

	bench_process_stop(&c->process);
	err = start(c);
	if (err && !c->error)
		c->error = err;
}

static double round_of(void *ctx)
{
	struct contender *c = ctx;
	struct bench_tally tally;
	double ns = 0;
	int err = bench_process_round(&c->process, &ns, &tally);

	if (err && !c->error)
		c->error = err;
	return ns;
}

/* --------------------------------------------------------------------------------------- the cases */

static int measure(struct bench_table *table, size_t number, struct contender *all, size_t nr,
		   char *why, size_t why_size)
{
	/* Static, since rows keep the names. */
	static char text[MAX_CASES][MAX_CONTENDERS][48];
	const char *name = cases[number].name, *names[MAX_CONTENDERS] = {NULL};
	struct bench_contender contenders[MAX_CONTENDERS];
	struct source_work w = cases[number].w;

	if (table->quick)
		w.ops = w.ops / 3 + 1;
	for (size_t i = 0; i < nr; i++) {
		w.sources = all[i].sources;
		all[i].w = w;
		snprintf(text[number][i], sizeof(text[number][i]), "%s.%s", name, all[i].name);
		names[i] = text[number][i];
		contenders[i] = (struct bench_contender){
			.name = all[i].name,
			.run = round_of,
			.prepare = prepare,
			.ctx = &all[i],
		};
	}
	bench_measure_several(table, name, names, SOURCE_OTHERS, w.threads, contenders, nr);
	for (size_t i = 0; i < nr; i++)
		if (all[i].error)
			return fail(why, why_size, &all[i], name, all[i].error);
	return 0;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	static struct contender all[MAX_CONTENDERS];
	size_t nr = 0;
	int err;

	_Static_assert(NR_CASES <= MAX_CASES, "");
	table->turns = TURNS;
	table->fresh = true;
	err = find_all(table, all, &nr, why, why_size);
	for (size_t i = 0; !err && i < NR_CASES; i++) {
		if (cases[i].w.threads <= bench_processors())
			err = measure(table, i, all, nr, why, why_size);
		else if (table->say)
			table->say("storm is left out: it needs two processors");
	}
	while (nr)
		bench_process_stop(&all[--nr].process);
	return err;
}

const struct bench_suite bench_source = {
	.name = "source",
	.about = "sources: what each costs a program, beside one without",
	.run = run,
};
