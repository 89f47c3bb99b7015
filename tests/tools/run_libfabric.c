/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn run: a program that knows nothing of mrn (tests/libfabric/program.c) has libfabric's cache, and that learns from mrn of
 * changes that libfabric's own monitor misses.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/tools/fixture.h"

static struct outcome o;

/* Under mrn run with this source; or without mrn. */
static void run_program(const char *source)
{
	const char *program = getenv("MRN_LIBFABRIC_PROGRAM"), *device = getenv("MRN_VERBS_DEVICE");

	CHECK(program && device);
	setenv("LD_PRELOAD", device, 1);
	setenv("FI_PROVIDER", "verbs", 1);
	if (source)
		RUN(&o, "run", "--for", "libfabric", "--source", source, "--", program);
	else
		RUN(&o, "run", "--for", "ucx", "--", program);
	unsetenv("LD_PRELOAD");
	if (o.status == 77)
		SKIP("nothing can be pinned here: %s", o.err);
	if (strstr(o.err, "not installed"))
		SKIP("%s", o.err);
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
}

TEST(libfabric_alone_is_stale)
{
	run_program(NULL);
	CHECK_MSG(!strcmp(o.out, "kept A\n"), "%s", o.out);
}

TEST(libfabric_learns_of_bare_calls)
{
	run_program("auto");
	CHECK_MSG(!strcmp(o.out, "kept B\n"), "%s%s", o.out, o.err);
	CHECK_MSG(strstr(o.err, "libfabric: installed, memory is watched by interpose+uffd"), "%s",
		  o.err);
	CHECK_MSG(strstr(o.err, " registrations kept, "), "%s", o.err);
	CHECK_MSG(!strstr(o.err, " 0 registrations kept"), "%s", o.err);
}

/* What the test is worth. */
TEST(interpose_alone_misses_them)
{
	run_program("interpose");
	CHECK_MSG(!strcmp(o.out, "kept A\n"), "%s%s", o.out, o.err);
}

/* With --for, any program installs it. */
TEST(a_source_that_nobody_knows_is_refused)
{
	RUN(&o, "run", "--for", "libfabric", "--", "env", "MRN_RUN_SOURCE=nonsense", "true");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(strstr(o.err, "not installed: MRN_RUN_SOURCE is \"nonsense\", and kinds are"),
		  "%s", o.err);
}
