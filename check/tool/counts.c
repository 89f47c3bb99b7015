/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/counts.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "check/shared/check.h"
#include "check/tool/options.h"
#include "tools/mrn/print.h"

/* True for a place in a library by which programs change and register memory: it is called, and seldom to blame. */
static bool is_called(const struct sites *sites, const struct site *t)
{
	static const char *const names[] = {"ld-linux",	 "libc.so",	"libc-",       "libpthread",
					    "liburing.", "libibverbs.", "libmlx",      "libfabric.",
					    "libucm.",	 "libucp.",	"libucs.",     "libuct.",
					    "libcuda.",	 "libcudart.",	"libamdhip64."};
	const char *path = sites->file[t->at.file].path, *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (MRN_BROKEN(CHECK_CALLED))
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

/* The program's innermost frame of which the line is known; or else its innermost; or else the innermost. */
static const struct site *place_of(const struct collection *c, const struct collected *item)
{
	const struct collected_stack *s = item->finding.grade == CHECK_CHANGE ? &item->changed
									      : &item->used;
	const struct site *own = NULL;

	for (uint32_t i = 0; i < s->nr; i++) {
		const struct site *t = &c->sites.site[s->frame[i]];

		if (is_called(&c->sites, t))
			continue;
		if (t->line[0])
			return t;
		if (!own)
			own = t;
	}
	return own ? own : &c->sites.site[s->nr ? s->frame[0] : 0];
}

/* True if the same would be said of both. */
static bool reads_as(const struct collection *c, const struct collected *a,
		     const struct collected *b)
{
	const struct site *at = place_of(c, a), *bt = place_of(c, b);

	if (MRN_BROKEN(CHECK_APART))
		return a == b;
	return a->finding.grade == b->finding.grade && !strcmp(at->label, bt->label) &&
	       !strcmp(at->line, bt->line);
}

static bool is_said(const struct collection *c, uint32_t number)
{
	for (uint32_t i = 0; i < number; i++)
		if (c->item[i].printed && reads_as(c, &c->item[i], &c->item[number]))
			return true;
	return false;
}

static void print_times(FILE *out, const struct collection *c, const struct collected *item,
			uint64_t count, uint32_t reports)
{
	const struct site *t = place_of(c, item);
	char label[512], in[48] = "";

	snprintf(label, sizeof(label), "%s", t->label);
	print_plain(label);
	if (reports > 1)
		snprintf(in, sizeof(in), " in %" PRIu32 " reports", reports);
	fprintf(out, "mrn check: %" PRIu64 " times%s: the %s in %s%s%s%s\n", count, in,
		check_grade_name(item->finding.grade), label, t->line[0] ? " (" : "", t->line,
		t->line[0] ? ")" : "");
}

void counts_print(FILE *out, const struct collection *c)
{
	for (uint32_t i = 0; i < c->nr; i++) {
		uint32_t reports = 0;
		uint64_t count = 0;

		if (!c->item[i].printed || is_said(c, i))
			continue;
		for (uint32_t k = i; k < c->nr; k++) {
			if (!c->item[k].printed || !reads_as(c, &c->item[i], &c->item[k]))
				continue;
			reports++;
			count += c->item[k].finding.count;
		}
		if (count > reports)
			print_times(out, c, &c->item[i], count, reports);
	}
}
