/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/opts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 4096 /* bytes that any version's options may have */

int mrn_explain_in(char *why, size_t why_size, int err, const char *format, ...)
{
	va_list args;

	if (why && why_size) {
		va_start(args, format);
		vsnprintf(why, why_size, format, args);
		va_end(args);
	}
	return err;
}

/* In the caller's structure, whose version has the two members at why. */
static int explain_size(const char *theirs, size_t why, int err, const char *text)
{
	char *to;
	size_t room;

	memcpy(&to, theirs + why, sizeof(to));
	memcpy(&room, theirs + why + sizeof(to), sizeof(room));
	return mrn_explain_in(to, room, err, "%s", text);
}

static bool is_zero(const char *from, const char *to)
{
	while (from < to && !*from)
		from++;
	return from == to;
}

int mrn_opts_take(void *ours, size_t size, size_t why, const void *theirs)
{
	const char *from = theirs;
	size_t their_size;

	memcpy(&their_size, from, sizeof(their_size));
	/* Forgotten: the rest of the structure is there all the same. */
	if (!their_size)
		return explain_size(from, why, -EINVAL,
				    "the options' size is 0: set .size = sizeof(the structure).");
	/* No size at all: neither is what would be why. */
	if (their_size < why + sizeof(char *) + sizeof(size_t) || their_size > LARGEST)
		return -EINVAL;
	if (their_size > size && !is_zero(from + size, from + their_size))
		return explain_size(from, why, -E2BIG,
				    "the options set what this version of the library lacks.");
	memset(ours, 0, size);
	memcpy(ours, theirs, their_size < size ? their_size : size);
	return 0;
}

int mrn_figures_give(void *theirs, size_t their_size, const void *ours, size_t size)
{
	if (!theirs || !their_size)
		return -EINVAL;
	memset(theirs, 0, their_size);
	memcpy(theirs, ours, their_size < size ? their_size : size);
	return 0;
}
