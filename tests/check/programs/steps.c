/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/check/programs/steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/raw.h"

void steps_fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(2);
}

void steps_skip(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(77);
}

static void map(char *at, size_t length)
{
	if (mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != at)
		steps_fail("mmap", errno);
	memset(at, 'B', length);
}

static __attribute__((noinline)) void change(char *p, size_t length)
{
	if (munmap(p, length))
		steps_fail("munmap", errno);
	map(p, length);
}

/* What functions in front of libc, or written over it, do not see. */
static __attribute__((noinline)) void change_bare(char *p, size_t length)
{
	/* There may be no sixth argument, and none is needed. */
	if (test_raw4(SYS_munmap, (long)p, (long)length, 0, 0) ||
	    test_raw4(SYS_mmap, (long)p, (long)length, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) != (long)p)
		steps_fail("munmap", EIO);
	memset(p, 'B', length);
}

static void change_rights(char *p, size_t length)
{
	if (mprotect(p, length, PROT_NONE) || mprotect(p, length, PROT_READ | PROT_WRITE))
		steps_fail("mprotect", errno);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "none", *dash = strchr(word, '-');
	const char *step = dash ? dash + 1 : word;
	char way[32] = "", *p;

	if (dash)
		snprintf(way, sizeof(way), "%.*s", (int)(dash - word), word);
	p = mmap(NULL, STEPS_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		steps_fail("mmap", errno);
	madvise(p, STEPS_LENGTH, MADV_NOHUGEPAGE);
	memset(p, 'A', STEPS_LENGTH);
	steps_open(way);
	steps_register(p, STEPS_LENGTH);
	if (!strcmp(step, "stale") || !strcmp(step, "changed") || !strcmp(step, "again"))
		change(p, STEPS_LENGTH);
	else if (!strcmp(step, "part"))
		change(p + STEPS_LENGTH / 2, STEPS_LENGTH / 2);
	else if (!strcmp(step, "bare"))
		change_bare(p, STEPS_LENGTH);
	else if (!strcmp(step, "mprotect"))
		change_rights(p, STEPS_LENGTH);
	else if (strcmp(step, "none"))
		steps_fail(step, EINVAL);
	if (!strcmp(step, "again")) {
		steps_unregister();
		steps_register(p, STEPS_LENGTH);
	}
	if (strcmp(step, "changed"))
		steps_use(p, STEPS_LENGTH / 2);
	steps_unregister();
	return 0;
}
