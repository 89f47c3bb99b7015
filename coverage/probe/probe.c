/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/probe/probe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coverage/pin.h"
#include "source/kinds.h"

void probe_conclude(struct probe *p, enum verdict verdict, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	p->verdict = verdict;
	vsnprintf(p->why, sizeof(p->why), format, args);
	va_end(args);
}

/* For AUTO what is available, even if it is not all. */
static int attach(struct probe *p, unsigned int kinds, uint64_t need)
{
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.need = need,
		.why = p->why,
		.why_size = sizeof(p->why),
	};
	struct mrn_coverage c;
	int r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &p->source);

	if (r == -EOPNOTSUPP && kinds == MRN_SOURCE_AUTO) {
		opts.need = 0;
		r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &p->source);
	}
	if (r)
		return r;
	mrn_source_coverage(p->source, &c);
	p->need = need & (c.bracketed | c.before_return | c.use_once);
	return 0;
}

static int say(const struct probe *p)
{
	static const char *const names[] = VERDICT_NAMES;

	printf("%s\t%s\n", names[p->verdict], p->why);
	return 0;
}

/* Asks for all that the source covers; for io_uring only if that is the cause, since it prevents reuse. */
static int run(struct probe *p, unsigned int kinds)
{
	uint64_t need = mrn_kinds_cover(kinds == MRN_SOURCE_AUTO ? MRN_ALL_KINDS : kinds);
	int r;

	if (p->cause->by_ring && (need & MRN_COVER_ALL_CALLERS))
		need |= MRN_COVER_IO_URING;
	r = attach(p, kinds, need);
	if (r) {
		p->verdict = VERDICT_UNSUPPORTED;
		if (!*p->why)
			probe_conclude(p, VERDICT_UNSUPPORTED, "%s", strerror(-r));
		say(p);
		return PROBE_NO_SOURCE;
	}
	if (p->cause->ends_program) {
		probe_replaced(p);
		return say(p);
	}
	probe_announcement(p);
	if (p->verdict != VERDICT_UNSUPPORTED && p->has_device)
		probe_cached(p);
	return say(p);
}

int main(int argc, char **argv)
{
	struct probe p = {.cause = argc == 3 ? cause_find(argv[2]) : NULL};
	int kinds = argc == 3 ? mrn_kinds_named(argv[1]) : -1;

	if (argc == 3 && !strcmp(argv[1], PROBE_AFTER)) {
		probe_judge_replaced(&p, argv[2]);
		return say(&p);
	}
	/* Before the source: io_uring may start a kernel thread that blocks all signals. */
	p.has_device = pin_open() == 0;
	if (p.cause && kinds >= 0)
		return run(&p, (unsigned int)kinds);
	fprintf(stderr, PROBE_PROGRAM ": this is run by mrn coverage\n");
	return 2;
}
