/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn run: a program that knows nothing of libmrn, with UCX's real cache (coverage/peers/ucx.c), learns of changes that
 * UCX's own hooks miss.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/fixture.h"

static struct outcome o;

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	if (!value || !*value)
		SKIP("%s is not set", name);
	return value;
}

TEST(wrong_options_are_one_line)
{
	REFUSED("run");
	REFUSED("run", "--nonsense");
	REFUSED("run", "--for", "nonsense", "true");
	REFUSED("run", "--source", "nonsense", "true");
}

TEST(the_exit_status_is_the_program_s_own)
{
	RUN(&o, "run", "--for", "ucx", "--", "sh", "-c", "exit 7");
	CHECK_EQ(o.status, 7);
	CHECK_MSG(!*o.err, "%s", o.err);
	RUN(&o, "run", "--for", "ucx", "--", "/no/such/program");
	CHECK_EQ(o.status, 127);
	CHECK_EQ(lines(o.err), 1);
}

TEST(a_static_program_is_refused)
{
	RUN(&o, "run", "--for", "ucx", "--", variable("MRN_SMALL_STATIC"));
	CHECK_EQ(o.status, 125);
	CHECK_MSG(strstr(o.err, "statically"), "%s", o.err);
}

TEST(what_was_preloaded_stays)
{
	setenv("LD_PRELOAD", "libm.so.6", 1);
	RUN(&o, "run", "--for", "ucx", "--", "sh", "-c",
	    "echo $LD_PRELOAD $UCX_MEM_MMAP_HOOK_MODE");
	unsetenv("LD_PRELOAD");
	CHECK_MSG(strstr(o.out, "libmrn-ucx-preload.so") && strstr(o.out, ":libm.so.6 none"), "%s",
		  o.out);
}

/* A raw munmap, which UCX's hooks miss. */
#define CAUSE  "munmap_raw"
#define RESULT "\"result\": \"caught\""
#define RACE   "\"race\": \"caught\""

TEST(interpose_misses_what_it_cannot_see)
{
	RUN(&o, "run", "--for", "ucx", "--source", "interpose", "--", variable("MRN_PEER_UCX"),
	    CAUSE);
	CHECK_EQ(o.status, 0);
	CHECK_MSG(strstr(o.out, "\"result\": \"missed\""), "%s", o.out);
}

TEST(ucx_is_told_and_says_so)
{
	RUN(&o, "run", "--for", "ucx", "--source", "dispatch", "--", variable("MRN_PEER_UCX"),
	    CAUSE);
	CHECK_EQ(o.status, 0);
	if (strstr(o.err, "not installed"))
		SKIP("%s", o.err);
	CHECK_MSG(strstr(o.err, "seen by dispatch"), "%s", o.err);
	CHECK_MSG(strstr(o.out, RESULT) && strstr(o.out, RACE), "%s", o.out);
}

TEST(quiet_says_nothing)
{
	RUN(&o, "run", "--quiet", "--for", "ucx", "--", variable("MRN_PEER_UCX"), "munmap");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(!*o.err, "%s", o.err);
	CHECK_MSG(strstr(o.out, RESULT), "%s", o.out);
}

/* What mrn run sets can be changed on the way to the program. */
TEST(a_source_that_nobody_knows_is_refused)
{
	char command[4096];

	snprintf(command, sizeof(command), "MRN_RUN_SOURCE=interpose+nonsense %s munmap; true",
		 variable("MRN_PEER_UCX"));
	RUN(&o, "run", "--for", "ucx", "--", "sh", "-c", command);
	CHECK_MSG(strstr(o.err,
			 "not installed: MRN_RUN_SOURCE is \"interpose+nonsense\", and kinds are"),
		  "%s", o.err);
	CHECK_MSG(!strstr(o.out, RESULT), "%s", o.out);
}

TEST(sources_may_be_listed)
{
	RUN(&o, "run", "--for", "ucx", "--source", "interpose+dispatch", "--",
	    variable("MRN_PEER_UCX"), "munmap");
	CHECK_EQ(o.status, 0);
	if (strstr(o.err, "not installed"))
		SKIP("%s", o.err);
	CHECK_MSG(strstr(o.err, "seen by interpose+dispatch"), "%s", o.err);
}

/* A source that cannot serve: UCX goes on without a cache, and a sentence says why. */
TEST(a_source_that_cannot_serve_is_said)
{
	char command[4096];

	snprintf(command, sizeof(command), "%s munmap; true", variable("MRN_PEER_UCX"));
	RUN(&o, "run", "--for", "ucx", "--source", "uffd", "--", "sh", "-c", command);
	CHECK_MSG(strstr(o.err, "not installed: only interpose and dispatch"), "%s", o.err);
	CHECK_MSG(!strstr(o.out, RESULT), "%s", o.out);
}
