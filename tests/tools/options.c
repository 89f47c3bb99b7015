/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options of the mrn command: right ones, wrong ones, none.
 */
#include <string.h>

#include "tests/tools/fixture.h"

TEST(wrong_options_are_one_line)
{
	REFUSED("nonsense");
	REFUSED("--nonsense");
	REFUSED("demo", "--nonsense");
	REFUSED("demo", "nonsense");
	REFUSED("demo", "--seconds");
	REFUSED("demo", "--seconds", "0");
	REFUSED("demo", "--seconds", "-1");
	REFUSED("demo", "--seconds", "five");
	REFUSED("demo", "--seconds", "nan");
	REFUSED("demo", "--threads", "0");
	REFUSED("demo", "--threads", "1000");
	REFUSED("demo", "--threads", "4x");
	REFUSED("demo", "--size", "1");
	REFUSED("demo", "--size", "256Q");
	REFUSED("demo", "--size", "256KK");
	REFUSED("demo", "--size", "99999999999999999999");
	REFUSED("demo", "--size", "99999999999G");
	REFUSED("demo", "--seed", "-1");
	REFUSED("demo", "--seed", "");
	REFUSED("demo", "--json=yes");
	REFUSED("lab", "nonsense");
	REFUSED("lab", "--driver", "nonsense");
	REFUSED("lab", "--break", "nonsense");
	REFUSED("lab", "--list-steps=all");
	REFUSED("lab", "--driver", "gntdev", "--break", "no_retry");
	REFUSED("lab", "--ops", "0");
	REFUSED("lab", "--threads", "9");
	REFUSED("lab", "--seed", "x");
	REFUSED("bench");
	REFUSED("bench", "nonsense");
	REFUSED("bench", "hmm", "nonsense");
	REFUSED("bench", "hmm", "--rounds", "0");
	REFUSED("bench", "core", "--max-n", "0");
	REFUSED("bench", "core", "--max-n", "some");
	REFUSED("bench", "hmm", "--quick", "--rounds", "1", "--case", "none");
}

TEST(no_command_is_one_line)
{
	static struct outcome o;

	run_tool(&o, (const char *const[]){NULL});
	CHECK_EQ(o.status, 2);
	CHECK_EQ(lines(o.err), 1);
}

TEST(help_and_version)
{
	static struct outcome o;

	RUN(&o, "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "demo"));
	CHECK(strstr(o.out, "coverage"));
	CHECK(strstr(o.out, "lab"));
	CHECK(strstr(o.out, "bench"));
	CHECK(strstr(o.out, "watch"));
	CHECK(!*o.err);
	RUN(&o, "--version");
	CHECK_EQ(o.status, 0);
	CHECK(!strncmp(o.out, "mrn ", 4));
	RUN(&o, "demo", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "--seconds"));
	CHECK(strstr(o.out, "--size"));
	RUN(&o, "lab", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "--break"));
	RUN(&o, "watch", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "PROGRAM"));
	CHECK(strstr(o.out, "--children"));
	RUN(&o, "bench", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "core"));
	CHECK(strstr(o.out, "hmm"));
	RUN(&o, "bench", "hmm", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "--rounds"));
	CHECK(strstr(o.out, "--max-n"));
	RUN(&o, "demo", "--version");
	CHECK_EQ(o.status, 0);
	CHECK(!strncmp(o.out, "mrn ", 4));
}
