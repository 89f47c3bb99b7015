/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/mrn/progress.h"

#define ERASE "\033[K"

static void put(const char *text, int length)
{
	/* A line that does not appear is no reason to stop. */
	if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

void progress_show(const char *format, ...)
{
	char line[160] = "\r";
	va_list args;
	int length;

	if (!isatty(STDERR_FILENO))
		return;
	va_start(args, format);
	length = 1 + vsnprintf(line + 1, sizeof(line) - sizeof(ERASE), format, args);
	va_end(args);
	if (length > (int)(sizeof(line) - sizeof(ERASE)))
		length = (int)(sizeof(line) - sizeof(ERASE));
	length += snprintf(line + length, sizeof(ERASE), ERASE);
	put(line, length);
}

void progress_remove(void)
{
	static const char erase[] = "\r" ERASE;

	if (isatty(STDERR_FILENO))
		put(erase, sizeof(erase) - 1);
}
