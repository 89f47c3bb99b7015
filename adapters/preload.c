/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source/kinds.h"

void mrn_preload_say(const char *host, bool refusal, const char *format, ...)
{
	const char *to = getenv("MRN_RUN_STATUS");
	bool file = to && strcmp(to, "-");
	int fd = STDERR_FILENO, n;
	char line[1024];
	va_list args;

	if (!to && !refusal)
		return;
	n = snprintf(line, sizeof(line), "mrn[%d]: %s: ", getpid(), host);
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (file)
		fd = open(to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	/* Nobody is left to be told if it fails. */
	if (fd < 0 || write(fd, line, (size_t)n) < 0)
		n = 0;
	/* It may have the number of a standard stream that the program has closed. */
	if (file && fd >= 0)
		close(fd);
}

int mrn_preload_kinds(char *why, size_t why_size)
{
	const char *names = getenv("MRN_RUN_SOURCE");
	int kinds = mrn_kinds_listed(names && *names ? names : MRN_AUTO);

	if (kinds >= 0)
		return kinds;
	snprintf(why, why_size, "MRN_RUN_SOURCE is \"%s\", and kinds are: " MRN_KIND_WORDS MRN_AUTO,
		 names);
	return -EINVAL;
}
