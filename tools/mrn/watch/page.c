/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page is page.html with one JSON object in it. A browser is quick with some tens of thousands of
 * rectangles; where there are more events, those that would be drawn in the same place are made one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/watch/bands.h"
#include "tools/mrn/watch/page.h"

/* page.html, by scripts/embed. */
extern const char watch_page_html[];

#define RECTS_MAX 80000

struct rect {
	uint64_t begin, end;
	uint64_t low, high; /* in its band */
	uint64_t events, bytes;
	uint32_t site;
	uint8_t band, cause;
	/* Where it is drawn: columns, and rows of its band. */
	uint32_t from, to, bottom, top;
};

/* How finely a picture is cut: columns of the whole time, rows of each band. */
struct grid {
	uint64_t duration;
	const struct bands *bands;
	uint32_t columns, rows;
};

/* ----------------------------------------------------------------------------------- making fewer */

static uint32_t cell(uint64_t at, uint64_t whole, uint32_t cells)
{
	return whole ? (uint32_t)((double)at / (double)whole * cells) : 0;
}

static void lay(struct rect *r, const struct grid *g)
{
	const struct band *b = &g->bands->band[r->band];

	r->from = cell(r->begin, g->duration, g->columns);
	r->to = cell(r->end, g->duration, g->columns);
	r->bottom = cell(r->low, b->stop - b->start, g->rows);
	r->top = cell(r->high, b->stop - b->start, g->rows);
}

#define COMPARE(member)                                        \
	do {                                                   \
		if (a->member != b->member)                    \
			return a->member < b->member ? -1 : 1; \
	} while (0)

static int by_place(const void *x, const void *y)
{
	const struct rect *a = x, *b = y;

	COMPARE(from);
	COMPARE(to);
	COMPARE(band);
	COMPARE(bottom);
	COMPARE(top);
	COMPARE(cause);
	COMPARE(site);
	return 0;
}

static void absorb(struct rect *into, const struct rect *r)
{
	into->begin = r->begin < into->begin ? r->begin : into->begin;
	into->end = r->end > into->end ? r->end : into->end;
	into->low = r->low < into->low ? r->low : into->low;
	into->high = r->high > into->high ? r->high : into->high;
	into->events += r->events;
	into->bytes += r->bytes;
}

static size_t merge(struct rect *r, size_t n, const struct grid *g)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		lay(&r[i], g);
	qsort(r, n, sizeof(*r), by_place);
	for (size_t i = 0; i < n; i++) {
		if (kept && !by_place(&r[kept - 1], &r[i]))
			absorb(&r[kept - 1], &r[i]);
		else
			r[kept++] = r[i];
	}
	return kept;
}

/* From finer than a screen to coarser; at the end, one place for each cause and site. */
static size_t make_fewer(struct rect *r, size_t n, const struct bands *bands, uint64_t duration)
{
	struct grid g = {duration, bands, 4096, 256};

	while (n > RECTS_MAX && g.columns) {
		n = merge(r, n, &g);
		g.columns /= 2;
		g.rows /= 2;
	}
	return n;
}

static struct rect *rects_of(const struct tally *t, const struct bands *bands)
{
	struct rect *r = calloc(t->nr + 1, sizeof(*r));

	for (size_t i = 0; r && i < t->nr; i++) {
		const struct event *e = &t->event[i];
		unsigned int band = bands_of(bands, e);
		uint64_t base = bands->band[band].start, bytes = tally_bytes(e->start, e->stop);

		r[i] = (struct rect){
			.begin = e->begin,
			.end = e->end,
			.low = bytes ? e->start - base : 0,
			.high = bytes ? e->stop - base : 0,
			.events = 1,
			.bytes = bytes,
			.site = e->site,
			.band = (uint8_t)band,
			.cause = e->cause,
		};
	}
	return r;
}

/* --------------------------------------------------------------------------------------- as JSON */

static void put_bands(struct json *j, const struct bands *bands)
{
	json_begin_array(j, "bands");
	for (unsigned int i = 0; i < bands->nr; i++) {
		const struct band *b = &bands->band[i];
		char start[32];

		snprintf(start, sizeof(start), "0x%" PRIx64, b->start);
		json_begin_object(j, NULL);
		json_string(j, "start", start);
		json_u64(j, "size", b->stop - b->start);
		if (bands->everything && i == bands->nr - 1)
			json_string(j, "name", "all addresses");
		json_end(j);
	}
	json_end(j);
}

static void put_names(struct json *j, const struct tally *t)
{
	json_begin_array(j, "causes");
	for (unsigned int c = 0; c < MRN_NR_CAUSES; c++)
		json_string(j, NULL, mrn_cause_name((enum mrn_cause)c));
	json_end(j);
	json_begin_array(j, "sites");
	for (uint32_t i = 0; i < t->sites.nr; i++)
		json_string(j, NULL, t->sites.site[i].label);
	json_end(j);
}

static void put_rects(struct json *j, const struct rect *r, size_t n)
{
	json_begin_array(j, "rects");
	for (size_t i = 0; i < n; i++) {
		json_u64(j, NULL, r[i].begin);
		json_u64(j, NULL, r[i].end);
		json_u64(j, NULL, r[i].band);
		json_u64(j, NULL, r[i].low);
		json_u64(j, NULL, r[i].high);
		json_u64(j, NULL, r[i].cause);
		json_u64(j, NULL, r[i].site);
		json_u64(j, NULL, r[i].events);
		json_u64(j, NULL, r[i].bytes);
	}
	json_end(j);
}

static int put_data(FILE *out, const struct tally *t, const struct watch_run *run)
{
	struct bands bands;
	struct rect *r;
	struct json j;
	size_t n;
	int err = bands_find(&bands, t->event, t->nr);

	if (err)
		return err;
	r = rects_of(t, &bands);
	if (!r)
		return -ENOMEM;
	n = make_fewer(r, t->nr, &bands, (uint64_t)(run->seconds * 1e9));
	json_start(&j);
	json_string(&j, "program", run->program);
	json_string(&j, "source", run->source);
	json_real3(&j, "seconds", run->seconds);
	json_u64(&j, "events", t->events);
	json_u64(&j, "bytes", t->bytes);
	json_u64(&j, "dropped", run->dropped);
	json_u64(&j, "lost", run->unpaired + t->lost);
	put_bands(&j, &bands);
	put_names(&j, t);
	put_rects(&j, r, n);
	free(r);
	return json_finish_short(&j, out);
}

/* In a script element, "<" can end it or begin a comment; in JSON it stands in strings only. */
static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("\\u003c", out);
		else
			putc(*text, out);
	}
}

int page_write(FILE *out, const struct tally *t, const struct watch_run *run)
{
	static const char mark[] = "@DATA@";
	const char *gap = strstr(watch_page_html, mark);
	char *data = NULL;
	size_t size;
	FILE *f = open_memstream(&data, &size);
	int r;

	if (!f)
		return -errno;
	r = put_data(f, t, run);
	if (fclose(f) && !r)
		r = -ENOMEM;
	if (!r) {
		errno = 0;
		fwrite(watch_page_html, 1, (size_t)(gap - watch_page_html), out);
		put_escaped(out, data);
		fputs(gap + sizeof(mark) - 1, out);
		r = cli_flush(out);
	}
	free(data);
	return r;
}
