/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page is page.html with one JSON object in it. A browser is fast with some tens of thousands of rectangles; with
 * more events, those that would be drawn in the same place are merged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "watch/tool/bands.h"
#include "watch/tool/page.h"

/* page.html, by scripts/embed. */
extern const char watch_page_html[];

#define RECTS_MAX 80000

struct rect {
	uint64_t begin, end;
	uint64_t low, high; /* in its band */
	uint64_t events, bytes;
	uint32_t site;
	uint8_t band, cause;
	/* Its place in the drawing: columns, and rows of its band. */
	uint32_t from, to, bottom, top;
};

/* How finely a picture is divided: columns of the whole time, rows of each band. */
struct grid {
	uint64_t duration;
	const struct bands *bands;
	uint32_t columns, rows; /* 0: one place */
};

struct rects {
	struct rect *rect;
	size_t nr, max;
	uint32_t *hash; /* 1 + an index; 0: free */
	size_t hash_size;
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

static struct rect rect_of(const struct event *e, const struct grid *g)
{
	unsigned int band = bands_of(g->bands, e);
	uint64_t base = g->bands->band[band].start, bytes = tally_bytes(e->start, e->stop);
	struct rect r = {
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

	lay(&r, g);
	return r;
}

static bool same_place(const struct rect *a, const struct rect *b)
{
	return a->from == b->from && a->to == b->to && a->band == b->band &&
	       a->bottom == b->bottom && a->top == b->top && a->cause == b->cause &&
	       a->site == b->site;
}

static uint64_t hash_of(const struct rect *r)
{
	const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = ((uint64_t)r->from << 32 | r->to) * odd;

	h = (h ^ h >> 29 ^ ((uint64_t)r->bottom << 32 | r->top)) * odd;
	h = (h ^ h >> 29 ^ ((uint64_t)r->site << 16 | (uint32_t)(r->band << 8) | r->cause)) * odd;
	return h >> 20;
}

static uint32_t *slot_of(const struct rects *s, const struct rect *r)
{
	for (uint64_t i = hash_of(r);; i++) {
		uint32_t *slot = &s->hash[i & (s->hash_size - 1)];

		if (!*slot || same_place(&s->rect[*slot - 1], r))
			return slot;
	}
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

/* Room for max rectangles, and for merging them if hashed. 0 or -ENOMEM. */
static int rects_create(struct rects *s, size_t max, bool hashed)
{
	*s = (struct rects){.max = max, .hash_size = 1};
	while (s->hash_size < 2 * max)
		s->hash_size *= 2;
	s->rect = malloc((max + 1) * sizeof(*s->rect));
	s->hash = hashed ? calloc(s->hash_size, sizeof(*s->hash)) : NULL;
	return s->rect && (s->hash || !hashed) ? 0 : -ENOMEM;
}

static void rects_destroy(struct rects *s)
{
	free(s->rect);
	free(s->hash);
	*s = (struct rects){0};
}

/* False if there is no room for all. */
static bool fill(struct rects *s, const struct tally *t, const struct grid *g)
{
	for (size_t i = 0; i < t->nr; i++) {
		struct rect r = rect_of(&t->event[i], g);
		uint32_t *slot = s->hash ? slot_of(s, &r) : NULL;

		if (slot && *slot) {
			absorb(&s->rect[*slot - 1], &r);
			continue;
		}
		if (s->nr == s->max)
			return false;
		s->rect[s->nr++] = r;
		if (slot)
			*slot = (uint32_t)s->nr;
	}
	return true;
}

/*
 * Few events stay as they are. Otherwise tries grids from finer than a screen to coarser, until one is coarse enough;
 * at the end, one place for each cause and site, however many.
 */
static int make_rects(struct rects *s, const struct tally *t, struct grid *g)
{
	bool merge = t->nr > RECTS_MAX, enough = false;
	int r = 0;

	for (; !r && !enough; g->columns /= 2, g->rows /= 2) {
		rects_destroy(s);
		r = rects_create(s, merge && g->columns ? RECTS_MAX : t->nr, merge);
		enough = !r && fill(s, t, g);
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
#define CAUSE(ID, name, group) [MRN_CAUSE_##ID] = #group,
	static const char *const groups[] = {
#include "source/causes.def"
	};

	json_begin_array(j, "causes");
	for (unsigned int c = 0; c < MRN_NR_CAUSES; c++)
		json_string(j, NULL, mrn_cause_name((enum mrn_cause)c));
	json_end(j);
	json_begin_array(j, "groups");
	for (unsigned int c = 0; c < MRN_NR_CAUSES; c++)
		json_string(j, NULL, groups[c]);
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
	struct grid g = {(uint64_t)(run->seconds * 1e9), &bands, 4096, 256};
	struct rects rects = {0};
	struct json j;
	int err = bands_find(&bands, t->event, t->nr);

	if (!err)
		err = make_rects(&rects, t, &g);
	if (err) {
		rects_destroy(&rects);
		return err;
	}
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
	put_rects(&j, rects.rect, rects.nr);
	rects_destroy(&rects);
	return json_finish_short(&j, out);
}

/* In a script element, "<" can end it or begin a comment; JSON has it only in strings. */
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
