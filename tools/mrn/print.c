/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/mrn/print.h"

const char *print_count(char text[PRINT_TEXT], uint64_t value, int width)
{
	static const char unit[] = "kMGTPE";
	int n = snprintf(text, PRINT_TEXT, "%" PRIu64, value);

	for (size_t u = 0; n > width && unit[u]; u++) {
		value /= 1000;
		n = snprintf(text, PRINT_TEXT, "%" PRIu64 "%c", value, unit[u]);
	}
	return text;
}

const char *print_real(char text[PRINT_TEXT], double value, int decimals, int width)
{
	int n;

	do
		n = snprintf(text, PRINT_TEXT, "%.*f", decimals, value);
	while (n > width && decimals-- > 0);
	return n > width && value < 1e18 ? print_count(text, (uint64_t)value, width) : text;
}

/* Does not cut inside a character. */
static size_t whole_characters(const char *text, size_t n)
{
	while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void print_cut(char *text, size_t size, const char *label, const char *keep, size_t width)
{
	static const char dots[] = "...";
	size_t end = keep ? strlen(keep) : 0;

	if (strlen(label) <= width) {
		snprintf(text, size, "%s", label);
		return;
	}
	/* Some of the beginning is worth more than the end. */
	if (end + strlen(dots) + width / 4 > width)
		end = 0;
	snprintf(text, size, "%.*s%s%s", (int)whole_characters(label, width - strlen(dots) - end),
		 label, dots, end ? keep : "");
}

char *print_plain(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return text;
}

void print_filled(const char *first, const char *indent, const char *text)
{
	size_t column = strlen(first);
	bool begun = false;

	fputs(first, stdout);
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		size_t n = strcspn(text, " ");

		if (begun && column + 1 + n > PRINT_WIDTH) {
			printf("\n%s", indent);
			column = strlen(indent);
			begun = false;
		}
		column += n + begun;
		printf("%s%.*s", begun ? " " : "", (int)n, text);
		begun = true;
		text += n;
	}
	putchar('\n');
}

void print_row_end(void)
{
	putchar('\n');
	fflush(stdout);
}
