/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/coverage/coverage.h"
#include "tools/mrn/json.h"
#include "tools/mrn/print.h"

static const char *const names[] = VERDICT_NAMES;

void coverage_report_heading(const struct coverage_options *o)
{
	printf("%-22s", "cause");
	for (unsigned int s = 0; s < COVERAGE_SOURCES; s++)
		if (o->source[s])
			printf(" %-13s", coverage_source(s));
	print_row_end();
}

void coverage_report_row(const struct coverage_options *o, const struct coverage_row *row)
{
	printf("%-22s", row->cause->name);
	for (unsigned int s = 0; s < COVERAGE_SOURCES; s++)
		if (o->source[s])
			printf(" %-13s", names[row->cell[s].verdict]);
	print_row_end();
}

/* The causes for which a source has this reason, each after a blank. */
static void name_causes(const struct coverage_row *rows, size_t n, unsigned int source,
			const char *why)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(rows[i].cell[source].why, why))
			fprintf(f, " %s", rows[i].cause->name);
	if (!fclose(f))
		print_filled("    ", "    ", text);
	free(text);
}

/* Each reason once: many causes share one. */
void coverage_report_reasons(const struct coverage_options *o, const struct coverage_row *rows,
			     size_t n)
{
	for (unsigned int s = 0; s < COVERAGE_SOURCES; s++)
		for (size_t i = 0; i < n && o->source[s]; i++) {
			const char *why = rows[i].cell[s].why;
			bool is_new = *why;
			char first[64];

			for (size_t j = 0; j < i && is_new; j++)
				is_new = strcmp(rows[j].cell[s].why, why) != 0;
			if (!is_new)
				continue;
			putchar('\n');
			snprintf(first, sizeof(first), "%s, %s: ", coverage_source(s),
				 names[rows[i].cell[s].verdict]);
			print_filled(first, "  ", why);
			name_causes(rows, n, s, why);
		}
}

int coverage_report_json(const struct coverage_options *o, const struct coverage_row *rows,
			 size_t n)
{
	struct json j;

	json_start(&j);
	json_begin_array(&j, "rows");
	for (size_t i = 0; i < n; i++)
		for (unsigned int s = 0; s < COVERAGE_SOURCES; s++) {
			if (!o->source[s])
				continue;
			json_begin_object(&j, NULL);
			json_string(&j, "cause", rows[i].cause->name);
			json_string(&j, "source", coverage_source(s));
			json_string(&j, "result", names[rows[i].cell[s].verdict]);
			json_string(&j, "why", rows[i].cell[s].why);
			json_end(&j);
		}
	json_end(&j);
	return json_finish(&j, stdout);
}
