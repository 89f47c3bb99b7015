/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/suppress.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/tool/options.h"
#include "tools/mrn/cli.h"
#include "watch/tool/program.h"

#define SAY(...) cli_say("mrn check", __VA_ARGS__)

struct line {
	struct line *next;
	uint32_t grades;
	char pattern[];
};

struct suppressions {
	struct line *first;
};

static uint32_t grades_of(const char *word, size_t length)
{
	uint32_t grades = 0;

	for (unsigned int g = 0; g < CHECK_NR_GRADES; g++)
		if ((length == 1 && *word == '*') || (strlen(check_grade_name(g)) == length &&
						      !strncmp(word, check_grade_name(g), length)))
			grades |= 1u << g;
	return grades;
}

/* 0; -EINVAL for a line that is none; -ENOMEM. */
static int add(struct suppressions *s, const char *text)
{
	const char *colon = strchr(text, ':');
	uint32_t grades = colon ? grades_of(text, (size_t)(colon - text)) : 0;
	struct line *l;

	if (!*text || *text == '#')
		return 0;
	if (!grades || !colon[1])
		return -EINVAL;
	l = malloc(sizeof(*l) + strlen(colon));
	if (!l)
		return -ENOMEM;
	l->grades = grades;
	strcpy(l->pattern, colon + 1);
	l->next = s->first;
	s->first = l;
	return 0;
}

static int read_lines(FILE *in, const char *path, struct suppressions *s)
{
	unsigned int number = 0;
	char *text = NULL;
	size_t size = 0;
	int r = 0;

	while (!r && (errno = 0, getline(&text, &size, in)) >= 0) {
		number++;
		text[strcspn(text, "\r\n")] = '\0';
		r = add(s, text);
	}
	if (!r && errno)
		r = -errno;
	free(text);
	if (r == -EINVAL)
		SAY("%s:%u: a line is GRADE:PATTERN, and GRADE is use, change, flight or *", path,
		    number);
	else if (r)
		SAY("%s: %s", path, strerror(-r));
	return r ? WATCH_CANNOT : 0;
}

int suppressions_read(const char *path, struct suppressions **out)
{
	FILE *in = path ? fopen(path, "re") : NULL;
	int r = 0;

	*out = NULL;
	if (!path)
		return 0;
	if (!in) {
		SAY("%s: %s", path, strerror(errno));
		return WATCH_CANNOT;
	}
	*out = calloc(1, sizeof(**out));
	if (*out)
		r = read_lines(in, path, *out);
	else
		SAY("no memory");
	fclose(in);
	return *out ? r : WATCH_CANNOT;
}

void suppressions_free(struct suppressions *s)
{
	struct line *l = s ? s->first : NULL;

	while (l) {
		struct line *next = l->next;

		free(l);
		l = next;
	}
	free(s);
}

/* ------------------------------------------------------------------------------------- matching */

/* The label is "function in module", or "module+offset". */
static bool matches(const char *pattern, const char *label)
{
	const char *in = strstr(label, " in ");
	char function[512];

	if (!fnmatch(pattern, label, 0))
		return true;
	if (!in)
		return false;
	snprintf(function, sizeof(function), "%.*s", (int)(in - label), label);
	return !fnmatch(pattern, function, 0) || !fnmatch(pattern, in + strlen(" in "), 0);
}

static bool meets(const struct line *l, const struct sites *sites, const struct collected_stack *s)
{
	for (uint32_t i = 0; i < s->nr; i++)
		if (matches(l->pattern, sites->site[s->frame[i]].label))
			return true;
	return false;
}

bool suppressions_name(const struct suppressions *s, const struct sites *sites,
		       const struct collected *item)
{
	for (const struct line *l = s ? s->first : NULL; l; l = l->next)
		if (l->grades >> item->finding.grade & 1 &&
		    (meets(l, sites, &item->registered) || meets(l, sites, &item->changed) ||
		     meets(l, sites, &item->used)))
			return true;
	return false;
}
