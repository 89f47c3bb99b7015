/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The catalog of causes: that each cause puts 'A' where it says, really changes it, and puts 'B' there.
 * The proof of a change is a pin taken before it: afterwards it still reads 'A'.
 */
#include "coverage/cause/cause.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "coverage/pin.h"
#include "tests/harness/test.h"

/* What a twin breaks. */
static bool without_change, keeps_no_page;
static bool nothing_is_expected;

/* Somebody else's malloc may come between, but not each time. */
#define TRIES 10

static bool is_all(const char *at, size_t length, char byte)
{
	return at[0] == byte && memcmp(at, at + 1, length - 1) == 0;
}

static void check_stale(const struct cause *cause, long still)
{
	const bool keeps = (cause->keeps_page && !keeps_no_page) || nothing_is_expected;

	CHECK_MSG(still >= 0, "%s: the device fails: %s", cause->name, strerror((int)-still));
	CHECK_MSG(keeps ? still == 0 : still > 0, "%s: %ld stale bytes", cause->name, still);
}

/* 0, -EAGAIN, or -EOPNOTSUPP and why. */
static int try_cause(const struct cause *cause, struct cause_place *place, bool pinned)
{
	struct pin pin;
	int r = cause_prepare(cause, place);

	CHECK_MSG(r == 0 || r == -EOPNOTSUPP, "%s: prepare: %s", cause->name, strerror(-r));
	if (r)
		return r;
	CHECK_MSG(is_all(place->addr, place->length, 'A'), "%s", cause->name);
	if (pinned) {
		r = pin_take(&pin, place->addr, place->length);
		CHECK_MSG(r == 0, "%s: pin: %s", cause->name, strerror(-r));
		CHECK_EQ(pin_count(&pin, place->addr, place->length, 'A'), place->length);
	}
	r = without_change ? 0 : cause_change(place);
	CHECK_MSG(r == 0 || r == -EAGAIN || r == -EOPNOTSUPP, "%s: change: %s", cause->name,
		  strerror(-r));
	if (!r) {
		r = cause_refill(place);
		CHECK_MSG(r == 0 || r == -EAGAIN, "%s: refill: %s", cause->name, strerror(-r));
	}
	if (!r) {
		CHECK_MSG(is_all(place->addr, place->length, 'B'), "%s", cause->name);
		if (pinned)
			check_stale(cause, pin_count(&pin, place->addr, place->length, 'A'));
	}
	if (pinned)
		pin_release(&pin);
	return r;
}

static void try_all(bool pinned)
{
	unsigned int made = 0;

	for (size_t i = 0; i < cause_count; i++) {
		const struct cause *cause = &cause_table[i];
		struct cause_place place;
		char why[128] = "";
		int r = -EAGAIN;

		CHECK(cause_find(cause->name) == cause);
		for (int n = 0; n < TRIES && r == -EAGAIN; n++) {
			r = try_cause(cause, &place, pinned);
			snprintf(why, sizeof(why), "%s", place.why);
			cause_drop(&place);
		}
		CHECK_MSG(r != -EAGAIN, "%s: each time somebody came between", cause->name);
		if (r) {
			CHECK(why[0]);
			NOTE("%s: skipped: %s", cause->name, why);
			continue;
		}
		CHECK_MSG(!why[0], "%s: %s", cause->name, why);
		made++;
	}
	NOTE("%u of %zu causes", made, cause_count);
	CHECK(made);
}

TEST(each_cause_prepares_changes_and_refills)
{
	try_all(false);
}

TEST(a_pin_taken_before_is_stale_after)
{
	int r = pin_open();

	if (r)
		SKIP("no io_uring with a table of buffers here (%s)", strerror(-r));
	try_all(true);
	pin_close();
}
TWIN(a_pin_taken_before_is_stale_after, nothing_changes, without_change = true);
TWIN(a_pin_taken_before_is_stale_after, pages_are_not_kept, keeps_no_page = true);

/* Of every single row: it is the change that makes the pin stale. */
TEST(without_the_change_no_pin_is_stale)
{
	int r = pin_open();

	if (r)
		SKIP("no io_uring with a table of buffers here (%s)", strerror(-r));
	without_change = nothing_is_expected = true;
	try_all(true);
	pin_close();
}

TEST(a_cause_is_dropped_wherever_it_stops)
{
	struct cause_place place;

	for (size_t i = 0; i < cause_count; i++) {
		cause_prepare(&cause_table[i], &place);
		cause_drop(&place);
		if (!cause_prepare(&cause_table[i], &place))
			cause_change(&place);
		cause_drop(&place);
	}
}

TEST(no_cause_of_that_name)
{
	CHECK(!cause_find("no such cause"));
	CHECK(!cause_find(""));
}

/* dlclose takes a library that the build makes. */
TEST(the_library_to_close_is_found)
{
	struct cause_place place;

	CHECK_ERR(cause_prepare(cause_find("dlclose"), &place), 0);
	cause_drop(&place);
}
