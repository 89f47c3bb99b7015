/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "tools/mrn/coverage/coverage.h"
#include "tools/mrn/json.h"

static const char *const names[] = VERDICT_NAMES;

static void heading(const struct coverage_options *o)
{
	printf("%-22s", "cause");
	for (int s = 0; s < COVERAGE_SOURCES; s++)
		if (o->source[s])
			printf(" %-14s", coverage_sources[s]);
	putchar('\n');
}

/* Reasons, each once: many have the same. */
static void reasons(const struct coverage_options *o, const struct coverage_row *rows, size_t n)
{
	for (int s = 0; s < COVERAGE_SOURCES; s++)
		for (size_t i = 0; i < n && o->source[s]; i++) {
			const char *why = rows[i].cell[s].why;
			bool is_new = *why;

			for (size_t j = 0; j < i && is_new; j++)
				is_new = strcmp(rows[j].cell[s].why, why) != 0;
			if (!is_new)
				continue;
			printf("\n%s, %s: %s\n   ", coverage_sources[s],
			       names[rows[i].cell[s].verdict], why);
			for (size_t j = i; j < n; j++)
				if (!strcmp(rows[j].cell[s].why, why))
					printf(" %s", rows[j].cause->name);
			putchar('\n');
		}
}

void coverage_report_text(const struct coverage_options *o, const struct coverage_row *rows,
			  size_t n)
{
	heading(o);
	for (size_t i = 0; i < n; i++) {
		printf("%-22s", rows[i].cause->name);
		for (int s = 0; s < COVERAGE_SOURCES; s++)
			if (o->source[s])
				printf(" %-14s", names[rows[i].cell[s].verdict]);
		putchar('\n');
	}
	reasons(o, rows, n);
}

int coverage_report_json(const struct coverage_options *o, const struct coverage_row *rows,
			 size_t n)
{
	struct json j;

	json_start(&j);
	json_begin_array(&j, "rows");
	for (size_t i = 0; i < n; i++)
		for (int s = 0; s < COVERAGE_SOURCES; s++) {
			if (!o->source[s])
				continue;
			json_begin_object(&j, NULL);
			json_string(&j, "cause", rows[i].cause->name);
			json_string(&j, "source", coverage_sources[s]);
			json_string(&j, "result", names[rows[i].cell[s].verdict]);
			json_string(&j, "why", rows[i].cell[s].why);
			json_end(&j);
		}
	json_end(&j);
	return json_finish(&j, stdout);
}
