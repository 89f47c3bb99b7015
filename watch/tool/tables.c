/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/print.h"
#include "watch/tool/symbols.h"
#include "watch/tool/tables.h"
#include "watch/shared/runtimes.h"

/* ----------------------------------------------------------------------------------- by call site */

struct row {
	const struct site *site;
	unsigned int cause;
	uint64_t events, bytes;
};

static int by_label(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int r = strcmp(a->site->label, b->site->label);

	return r ? r : (int)a->cause - (int)b->cause;
}

static int by_events(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	if (a->events != b->events)
		return a->events < b->events ? 1 : -1;
	return by_label(x, y);
}

/* One row for each function and cause, however many call sites; most events first. */
static struct row *site_rows(const struct tally *t, size_t *n)
{
	struct row *rows = calloc((size_t)t->sites.nr * MRN_NR_CAUSES + 1, sizeof(*rows));
	size_t nr = 0, kept = 0;

	*n = 0;
	if (!rows)
		return NULL;
	for (uint32_t i = 0; i < t->sites.nr && i < t->nr_by_site; i++)
		for (unsigned int c = 0; c < MRN_NR_CAUSES; c++)
			if (t->by_site[i][c].events)
				rows[nr++] = (struct row){&t->sites.site[i], c,
							  t->by_site[i][c].events,
							  t->by_site[i][c].bytes};
	qsort(rows, nr, sizeof(*rows), by_label);
	for (size_t i = 0; i < nr; i++) {
		if (kept && !by_label(&rows[kept - 1], &rows[i])) {
			rows[kept - 1].events += rows[i].events;
			rows[kept - 1].bytes += rows[i].bytes;
		} else {
			rows[kept++] = rows[i];
		}
	}
	qsort(rows, kept, sizeof(*rows), by_events);
	*n = kept;
	return rows;
}

/* Causes that have occurred, most events first. */
static size_t cause_order(const struct tally *t, unsigned int order[MRN_NR_CAUSES])
{
	size_t n = 0;

	for (unsigned int c = 0; c < MRN_NR_CAUSES; c++) {
		size_t at = n;

		if (!t->cause[c].events)
			continue;
		for (n++; at && t->cause[order[at - 1]].events < t->cause[c].events; at--)
			order[at] = order[at - 1];
		order[at] = c;
	}
	return n;
}

/* ------------------------------------------------------------------------------------- for people */

void tables_size(char *text, size_t size, uint64_t bytes)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	unsigned int u = 0;

	for (; value >= 1024 && u < 5; u++)
		value /= 1024;
	snprintf(text, size, u ? "%.1f %s" : "%.0f %s", value, unit[u]);
}

static void duration(char *text, size_t size, uint64_t ns)
{
	if (ns < 10000)
		snprintf(text, size, "%" PRIu64 " ns", ns);
	else if (ns < 10000000)
		snprintf(text, size, "%.1f us", (double)ns / 1e3);
	else
		snprintf(text, size, "%.1f ms", (double)ns / 1e6);
}

static double rate(uint64_t events, const struct watch_run *run)
{
	return run->seconds > 0 ? (double)events / run->seconds : 0;
}

static void print_causes(FILE *out, const struct tally *t, const struct watch_run *run)
{
	unsigned int order[MRN_NR_CAUSES];
	size_t n = cause_order(t, order);

	fprintf(out, "\n%-16s %10s %12s %10s %10s %10s\n", "cause", "events", "bytes", "per second",
		"p50", "p99");
	for (size_t i = 0; i < n; i++) {
		const struct cause_tally *c = &t->cause[order[i]];
		char bytes[32], p50[32], p99[32];

		tables_size(bytes, sizeof(bytes), c->bytes);
		duration(p50, sizeof(p50), histogram_percentile(&c->ns, 50));
		duration(p99, sizeof(p99), histogram_percentile(&c->ns, 99));
		fprintf(out, "%-16s %10" PRIu64 " %12s %10.0f %10s %10s\n",
			mrn_cause_name((enum mrn_cause)order[i]), c->events, bytes,
			rate(c->events, run), p50, p99);
	}
}

/* The width that the other columns leave. */
#define SITE_WIDTH (PRINT_WIDTH - 43)

/* " in libfoo.so, via munmap": the end of a function's name. */
static const char *last_in(const char *label)
{
	const char *at = strstr(label, " in "), *next = at;

	for (; next; next = strstr(next + 1, " in "))
		at = next;
	return at;
}

static void print_sites(FILE *out, const struct row *rows, size_t n)
{
	enum { SHOWN = 20 };

	fprintf(out, "\n%-16s %10s %12s   %s\n", "cause", "events", "bytes", "call site");
	for (size_t i = 0; i < n && i < SHOWN; i++) {
		const char *label = rows[i].site->label;
		char bytes[32], place[2 * PRINT_WIDTH];

		/* A long name keeps the module, and the libc function that was called. */
		print_cut(place, sizeof(place), label, last_in(label), SITE_WIDTH);
		print_plain(place);
		tables_size(bytes, sizeof(bytes), rows[i].bytes);
		fprintf(out, "%-16s %10" PRIu64 " %12s   %s\n",
			mrn_cause_name((enum mrn_cause)rows[i].cause), rows[i].events, bytes,
			place);
	}
	if (n > SHOWN)
		fprintf(out, "(%zu more; --json has all)\n", n - SHOWN);
}

/* A process that writes to the log may be killed, or be a foreign program: shows complete sentences only. */
static bool is_reason(const struct watch_reason *r)
{
	return r->state == WATCH_REASON_THERE && r->processes &&
	       memchr(r->text, '\0', sizeof(r->text));
}

/* Only the recorder notes this cause, when a source is lost. */
static void print_sources_lost(FILE *out, const struct tally *t)
{
	const uint64_t n = t->cause[MRN_CAUSE_DETACH].events;

	if (n)
		fprintf(out,
			"%" PRIu64
			" time%s (detach) a process did what its source cannot go on with: less of it is seen since.\n",
			n, n == 1 ? "" : "s");
}

static void print_unfollowed(FILE *out, const struct watch_run *run)
{
	for (unsigned int i = 0; i < WATCH_REASONS; i++) {
		const struct watch_reason *r = &run->reasons[i];

		if (is_reason(r))
			fprintf(out, "%" PRIu32 " process%s could not be followed: %s\n",
				r->processes, r->processes == 1 ? "" : "es", r->text);
	}
}

/* Why so little is seen of a program with a sanitizer. One line, or "". */
static const char *unseen(const struct watch_run *run)
{
#define NAME(init, name) name,
	static const char *const names[] = {WATCH_RUNTIMES(NAME)};
	static char text[256];
	size_t n = 0;

	*text = '\0';
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (run->runtimes >> i & 1)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? ", " : "",
					      names[i]);
	if (n)
		snprintf(text + n, sizeof(text) - n,
			 " frees memory by calls of its own, which interpose does not see.");
	return text;
}

static void print_losses(FILE *out, const struct tally *t, const struct watch_run *run)
{
	if (run->dropped)
		fprintf(out,
			"%" PRIu64
			" were dropped, for they came faster than they were read: try more --records.\n",
			run->dropped);
	if (run->unpaired)
		fprintf(out,
			"%" PRIu64
			" were lost: too many at once, or cut off (a process killed, a handler's jump).\n",
			run->unpaired);
	if (t->lost)
		fprintf(out, "%" PRIu64 " are in no table or file by site, for want of memory.\n",
			t->lost);
	print_sources_lost(out, t);
	print_unfollowed(out, run);
	if (*unseen(run))
		fprintf(out, "%s\n", unseen(run));
	if (!symbols_are_there())
		fputs("Functions have no names here: this command was built without libdw.\n", out);
}

int tables_print(FILE *out, const struct tally *t, const struct watch_run *run)
{
	char bytes[32], *program = strdup(run->program);
	struct row *rows;
	size_t n;

	rows = site_rows(t, &n);
	if (!rows || !program) {
		free(rows);
		free(program);
		return -ENOMEM;
	}
	errno = 0;
	tables_size(bytes, sizeof(bytes), t->bytes);
	fprintf(out, "%s: %" PRIu64 " invalidation%s of %s in %.3f s, %" PRIu64 " %s, seen by %s\n",
		print_plain(program), t->events, t->events == 1 ? "" : "s", bytes, run->seconds,
		run->processes, run->processes == 1 ? "process" : "processes", run->source);
	if (t->events) {
		print_causes(out, t, run);
		print_sites(out, rows, n);
	}
	print_losses(out, t, run);
	free(program);
	free(rows);
	return cli_flush(out);
}

/* ----------------------------------------------------------------------------------------- as JSON */

static uint64_t unfollowed(const struct watch_run *run)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < WATCH_REASONS; i++)
		if (is_reason(&run->reasons[i]))
			n += run->reasons[i].processes;
	return n;
}

static void json_unfollowed(struct json *j, const struct watch_run *run)
{
	json_begin_array(j, "unwatched");
	for (unsigned int i = 0; i < WATCH_REASONS; i++) {
		const struct watch_reason *r = &run->reasons[i];

		if (!is_reason(r))
			continue;
		json_begin_object(j, NULL);
		json_string(j, "why", r->text);
		json_u64(j, "processes", r->processes);
		json_end(j);
	}
	json_end(j);
}

int tables_print_json(FILE *out, const struct tally *t, const struct watch_run *run)
{
	unsigned int order[MRN_NR_CAUSES];
	size_t n = cause_order(t, order), nr_rows;
	struct row *rows = site_rows(t, &nr_rows);
	struct json j;

	if (!rows)
		return -ENOMEM;
	json_start(&j);
	json_string(&j, "program", run->program);
	json_string(&j, "source", run->source);
	json_real3(&j, "seconds", run->seconds);
	json_u64(&j, "processes", run->processes);
	json_u64(&j, "unwatched_processes", unfollowed(run));
	json_u64(&j, "events", t->events);
	json_u64(&j, "bytes", t->bytes);
	json_u64(&j, "dropped", run->dropped);
	json_u64(&j, "lost", run->unpaired + t->lost);
	json_unfollowed(&j, run);
	json_string(&j, "unseen", unseen(run));
	json_begin_array(&j, "causes");
	for (size_t i = 0; i < n; i++) {
		const struct cause_tally *c = &t->cause[order[i]];

		json_begin_object(&j, NULL);
		json_string(&j, "cause", mrn_cause_name((enum mrn_cause)order[i]));
		json_u64(&j, "events", c->events);
		json_u64(&j, "bytes", c->bytes);
		json_real(&j, "per_second", rate(c->events, run));
		json_u64(&j, "p50_ns", histogram_percentile(&c->ns, 50));
		json_u64(&j, "p99_ns", histogram_percentile(&c->ns, 99));
		json_end(&j);
	}
	json_end(&j);
	json_begin_array(&j, "sites");
	for (size_t i = 0; i < nr_rows; i++) {
		json_begin_object(&j, NULL);
		json_string(&j, "cause", mrn_cause_name((enum mrn_cause)rows[i].cause));
		json_string(&j, "site", rows[i].site->label);
		json_string(&j, "line", rows[i].site->line);
		json_u64(&j, "events", rows[i].events);
		json_u64(&j, "bytes", rows[i].bytes);
		json_end(&j);
	}
	free(rows);
	return json_finish(&j, out);
}
