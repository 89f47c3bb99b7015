/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <unistd.h>

#include "tools/mrn/demo/demo.h"

static void put(const char *text, int length)
{
	/* A line that does not appear is no reason to stop. */
	if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

void demo_progress_show(const char *way, double elapsed, double seconds, uint64_t transfers,
			uint64_t stale)
{
	char line[128];

	if (!isatty(STDERR_FILENO))
		return;
	put(line,
	    snprintf(line, sizeof(line), "\r%-5s %5.1f of %.1f s, %ju transfers, %ju stale\033[K",
		     way, elapsed, seconds, (uintmax_t)transfers, (uintmax_t)stale));
}

void demo_progress_remove(void)
{
	static const char erase[] = "\r\033[K";

	if (isatty(STDERR_FILENO))
		put(erase, sizeof(erase) - 1);
}
