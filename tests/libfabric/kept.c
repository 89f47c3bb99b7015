/* SPDX-License-Identifier: BSD-3-Clause */
/* Which registrations libfabric keeps, and for how long. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/libfabric/table.h"
#include "tests/harness/sync.h"
#include "tests/libfabric/fixture.h"
#include "tests/verbs/device/device.h"

TEST(the_first_registration_is_kept)
{
	struct fid_domain *domain;
	char *p;

	fixture_install(0, 0);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	CHECK(fixture_is_kept(domain, p));
	CHECK_EQ(fixture_look(domain, p), 'A');
	CHECK(fixture_is_kept(domain, p));
}

/* Whoever asks then is ahead of the look at what a fork does. */
TEST(nothing_is_kept_before_a_domain_has_been_opened)
{
	uintptr_t addr;
	char *p;

	fixture_install(0, 0);
	p = fixture_map(NULL, 'A');
	addr = (uintptr_t)p;
	for (int i = 0; i < 3; i++) {
		mrn_libfabric_begin(p, LENGTH);
		CHECK(!mrn_fabric_accept(addr, LENGTH));
	}
	CHECK_EQ(fixture_stats().fork_unsafe, 0);
	fixture_domain();
	mrn_libfabric_begin(p, LENGTH);
	CHECK(mrn_fabric_accept(addr, LENGTH));
}

/* And so after a change: the range is watched anew before it is pinned. */
TEST(the_first_registration_after_a_change_is_kept)
{
	struct fid_domain *domain;
	char *p;

	fixture_install(0, 0);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	for (char fill = 'A'; fill < 'Q'; fill++) {
		fixture_map(p, fill);
		CHECK_EQ(fixture_look(domain, p), fill);
		CHECK(fixture_is_kept(domain, p));
	}
}

/* libfabric says after the pin that there is one: what is pinned next is watched before. */
TEST(without_begin_the_second_is_kept)
{
	struct fid_domain *domain;
	char *p;

	fixture_begins = false;
	fixture_install(0, 0);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	CHECK(!fixture_is_kept(domain, p));
	CHECK(fixture_is_kept(domain, p));
	CHECK_EQ(fixture_stats().begun, 0);
}

/* Two caches have a registration of one range. What makes one of them forget it makes both. */
TEST(a_change_is_told_to_each_domain)
{
	struct fid_domain *one, *two;
	char *p;

	fixture_install(0, 0);
	one = fixture_domain();
	two = fixture_domain();
	p = fixture_map(NULL, 'A');
	CHECK(fixture_is_kept(one, p));
	CHECK(fixture_is_kept(two, p));
	fixture_map(p, 'B');
	CHECK_EQ(fixture_look(one, p), 'B');
	CHECK_EQ(fixture_look(two, p), 'B');
	CHECK(fixture_is_kept(one, p));
}
TWIN(a_change_is_told_to_each_domain, no_purge,
     (BREAK_LATER(fixture_break, FABRIC_PURGE), BREAK_LATER(fixture_break, FABRIC_REAPER)));

static void wait_for_dropped(uint64_t n)
{
	while (fixture_stats().dropped < n)
		test_sleep_ms(1);
}

/* Without a question from libfabric, the reaper drops what has changed. */
TEST(what_has_changed_is_dropped)
{
	struct fid_domain *domain;
	uint64_t before, ranges;
	char *p;

	fixture_install(0, 0);
	domain = fixture_domain();
	before = fixture_stats().dropped;
	p = fixture_map(NULL, 'A');
	CHECK(fixture_is_kept(domain, p));
	ranges = fixture_stats().ranges;
	munmap(p, LENGTH);
	wait_for_dropped(before + 1);
	CHECK(fixture_stats().ranges <= ranges);
}
TWIN(what_has_changed_is_dropped, no_reaper, BREAK_LATER(fixture_break, FABRIC_REAPER),
     .accept_timeout = true, .timeout_s = 3);

/* A table of 64 ranges, and libfabric's cache of 1024: the ranges that were found valid least recently make room. */
TEST(the_table_is_bounded)
{
	enum { RANGES = 300 };
	struct fid_domain *domain;
	char *p[RANGES];

	fixture_install(0, 64);
	domain = fixture_domain();
	for (int i = 0; i < RANGES; i++) {
		p[i] = fixture_map(NULL, (char)i);
		CHECK_EQ(fixture_look(domain, p[i]), (char)i);
		/* Used all the time. */
		CHECK_EQ(fixture_look(domain, p[0]), 0);
		/* An eighth is kept free. */
		while (fixture_stats().ranges > 56)
			test_sleep_ms(1);
	}
	CHECK(fixture_stats().ranges <= 64);
	CHECK_EQ(fixture_stats().full, 0);
	/* All but p[0] and the last ones are forgotten; libfabric keeps no registration that nobody watches. */
	CHECK(verbs_device_live() <= 2 * 64);
	for (int i = 0; i < RANGES; i++) {
		fixture_map(p[i], 'z');
		CHECK_EQ(fixture_look(domain, p[i]), 'z');
	}
}
TWIN(the_table_is_bounded, no_room, BREAK_LATER(fixture_break, FABRIC_BOUND),
     .accept_timeout = true, .timeout_s = 5);

/* libfabric's devices are the parent's; what little a child does with our code must not hang, nor find anything valid. */
TEST(a_forked_child_keeps_nothing)
{
	uintptr_t addr;
	struct fid_domain *domain;
	pid_t child;
	int status;
	char *p;

	fixture_install(0, 0);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	addr = (uintptr_t)p;
	CHECK(fixture_is_kept(domain, p));
	CHECK(mrn_fabric_valid(addr, LENGTH));
	/* Held for ever, in the child. */
	pthread_mutex_lock(&mrn_fabric.lock);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		mrn_libfabric_begin(p, LENGTH);
		_exit(mrn_fabric_valid(addr, LENGTH) || mrn_fabric_accept(addr, LENGTH));
	}
	pthread_mutex_unlock(&mrn_fabric.lock);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	p[0] = 'B';
	CHECK_EQ(fixture_look(domain, p), 'B');
	CHECK(fixture_is_kept(domain, p));
}
