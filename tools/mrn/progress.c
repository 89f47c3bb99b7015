/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/mrn/progress.h"

#define ERASE "\033[K"

static void put(const char *text, int length)
{
	/* A line that does not appear is no reason to stop. */
	if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

/* A line that is wrapped is not erased. */
static int columns(void)
{
	struct winsize size;

	return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 1 ? size.ws_col - 1 : 79;
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
	if (length > 1 + columns())
		length = 1 + columns();
	length += snprintf(line + length, sizeof(ERASE), ERASE);
	put(line, length);
}

void progress_remove(void)
{
	static const char erase[] = "\r" ERASE;

	if (isatty(STDERR_FILENO))
		put(erase, sizeof(erase) - 1);
}
