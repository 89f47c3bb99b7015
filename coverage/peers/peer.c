/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each cause is tried in a forked child, which opens the peer's cache; the parent opens none, and sets a deadline.
 */
#include "coverage/peers/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coverage/cause/race.h"

#define DEADLINE_MS 6000
#define RACE_NS	    1500000000L
#define RACE_ROUNDS 2000

enum result { CAUGHT, MISSED, HANGS, IMPOSSIBLE, UNAVAILABLE, UNTRIED };

static const char *const result_names[] = {"caught",	 "missed",	"hangs",
					   "impossible", "unavailable", "untried"};

/* A child's findings, in memory shared with the parent. */
struct findings {
	enum result result;
	char why[160];
	const char *step; /* what it is doing, in case it hangs or dies */
	bool done;
	/* With a second thread that looks up during the change. */
	enum result race;
	unsigned int rounds, stale;
};

static struct findings *found;
static unsigned int registrations, pins, delay_ms;

int peer_register(struct pin *pin, char *addr, size_t length)
{
	int r;

	__atomic_add_fetch(&registrations, 1, __ATOMIC_RELAXED);
	r = pin_take(pin, addr, length);
	__atomic_add_fetch(&pins, 1, __ATOMIC_RELEASE);
	if (delay_ms)
		poll(NULL, 0, (int)delay_ms);
	return r;
}

static unsigned int registered(void)
{
	return __atomic_load_n(&registrations, __ATOMIC_RELAXED);
}

/* Sets the result. Always true, so that the caller can return it. */
__attribute__((format(printf, 2, 3))) static bool conclude(enum result result, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	found->result = result;
	vsnprintf(found->why, sizeof(found->why), fmt, args);
	va_end(args);
	return true;
}

/* How many bytes of the place the device reads as `byte`, through a registration got now; or -errno. */
static long look(const struct peer *peer, const struct cause_place *place, char byte)
{
	const struct pin *pin;
	void *entry;
	long n = peer->get(place->addr, place->length, &entry, &pin);

	if (n)
		return n;
	n = pin_count(pin, place->addr, place->length, byte);
	peer->put(entry);
	return n;
}

static bool failed(const char *what, const struct cause_place *place, long r)
{
	if (*place->why)
		return conclude(IMPOSSIBLE, "%s", place->why);
	return conclude(IMPOSSIBLE, "%s: %s", what, strerror((int)-r));
}

/* One cause without other threads. True if there is a result. */
static bool try_alone(const struct peer *peer, const struct cause *cause, struct cause_place *place)
{
	unsigned int before;
	bool keeps, fresh;
	long n;

	found->step = "in preparing";
	n = cause_prepare(cause, place);
	if (n)
		return failed("preparing fails", place, n);
	found->step = "in registering";
	n = look(peer, place, 'A');
	if (n != (long)place->length)
		return n < 0 ? failed("it cannot be registered", place, n)
			     : conclude(IMPOSSIBLE, "the device does not see what was written");
	before = registered();
	look(peer, place, 'A');
	keeps = registered() == before;
	found->step = "in the change";
	n = cause_change(place);
	if (n == -EAGAIN)
		return false;
	if (n)
		return failed("the call fails", place, n);
	found->step = "when the place is mapped or written again";
	n = cause_refill(place);
	if (n == -EAGAIN)
		return false;
	if (n)
		return failed("it cannot be mapped again", place, n);
	found->step = "in looking it up again";
	before = registered();
	n = look(peer, place, 'A');
	fresh = registered() != before;
	if (n < 0)
		return failed("it cannot be registered again", place, n);
	if (n && fresh)
		return conclude(IMPOSSIBLE, "a registration made now is stale");
	if (n)
		return conclude(MISSED, "%ld of %zu bytes come from pages that are gone", n,
				place->length);
	if (!fresh && !cause->keeps_page)
		return conclude(IMPOSSIBLE, "the pages stayed");
	if (!fresh)
		return conclude(MISSED,
				"nothing is told; a pinned page stays, so nothing is stale");
	return conclude(CAUGHT, "%s",
			keeps ? place->why
			      : "such memory is never cached: each look-up registers it");
}

/* ------------------------------------------------------------------------------------------ the race */

/*
 * Makes the thread use malloc. libfabric's memhooks deadlock on a thread's first malloc while holding their lock: a new
 * arena calls munmap, whose hook takes the lock again.
 */
static void enter(void *arg)
{
	void *volatile block = malloc(64);

	(void)arg;
	free(block);
}

static void use(void *arg, const struct cause_place *place)
{
	const struct peer *peer = arg;
	const struct pin *pin;
	void *entry;

	if (!peer->get(place->addr, place->length, &entry, &pin))
		peer->put(entry);
}

static long look_by(void *arg, const struct cause_place *place, char byte)
{
	return look(arg, place, byte);
}

static unsigned int pinned(void *arg)
{
	return __atomic_load_n(&pins, __ATOMIC_ACQUIRE);
}

static void try_race(const struct peer *peer, const struct cause *cause)
{
	const struct cause_cache cache = {(void *)(uintptr_t)peer, enter, use, look_by,
					  delay_ms ? pinned : NULL};
	struct cause_race race;

	found->step = "with a second thread that looks it up";
	cause_race_try(cause, &cache, RACE_NS, RACE_ROUNDS, &race);
	found->rounds = race.rounds;
	found->stale = race.stale;
	if (race.rounds)
		found->race = race.stale ? MISSED : CAUGHT;
}

/* ---------------------------------------------------------------------------------- a child, a parent */

static void be_child(const struct peer *peer, const struct cause *cause)
{
	struct cause_place place;
	int r;

	found->step = "in opening the device";
	r = pin_open();
	if (r) {
		conclude(UNAVAILABLE, "no io_uring that pins: %s", strerror(-r));
		return;
	}
	found->step = "in opening the peer";
	r = peer->open();
	if (r) {
		conclude(UNAVAILABLE, "the peer cannot be opened: %s", strerror(-r));
		return;
	}
	conclude(IMPOSSIBLE, "another thread interfered each time");
	for (int i = 0; i < 20; i++) {
		const bool done = try_alone(peer, cause, &place);

		cause_drop(&place);
		if (done)
			break;
	}
	found->done = true;
	if (found->result == CAUGHT && !getenv("PEER_ALONE"))
		try_race(peer, cause);
}

/* Waits for the child's end: false if it is late. */
static bool wait_for(pid_t child, int *status)
{
	for (int ms = 0; ms < DEADLINE_MS; ms += 5) {
		if (waitpid(child, status, WNOHANG) == child)
			return true;
		poll(NULL, 0, 5);
	}
	kill(child, SIGKILL);
	waitpid(child, status, 0);
	return false;
}

static void print_row(const struct peer *peer, const struct cause *cause)
{
	printf("{\"cause\": \"%s\", \"peer\": \"%s%s\", \"result\": \"%s\", \"why\": \"%s\", "
	       "\"keeps_page\": %s, ",
	       cause->name, peer->name, delay_ms ? "-slow" : "", result_names[found->result],
	       found->why, cause->keeps_page ? "true" : "false");
	printf("\"race\": \"%s\", \"race_rounds\": %u, \"race_missed\": %u}\n",
	       result_names[found->race], found->rounds, found->stale);
	fflush(stdout);
}

/* The child is gone: sets its result. */
static void judge(bool in_time, int status)
{
	if (!found->done && !in_time)
		conclude(HANGS, "%s", found->step);
	else if (!found->done && WIFSIGNALED(status))
		conclude(IMPOSSIBLE, "dies of %s %s", strsignal(WTERMSIG(status)), found->step);
	else if (!in_time)
		found->race = HANGS;
}

static int try_cause(const struct peer *peer, const struct cause *cause)
{
	int status = 0;
	pid_t child;

	memset(found, 0, sizeof(*found));
	/* If a change was missed without a second thread, do not try with one. */
	found->race = UNTRIED;
	child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		/* Skip the peer's exit handlers: what it hooked may be gone. */
		be_child(peer, cause);
		_exit(0);
	}
	judge(wait_for(child, &status), status);
	if (found->result == UNAVAILABLE) {
		fprintf(stderr, "%s: %s\n", peer->name, found->why);
		return 77;
	}
	print_row(peer, cause);
	return 0;
}

int peer_main(const struct peer *peer, int argc, char **argv)
{
	const char *delay = getenv("PEER_DELAY_MS");
	int r = 0;

	delay_ms = delay ? (unsigned int)atoi(delay) : 0;

	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (found == MAP_FAILED)
		return 1;
	if (argc <= 1)
		for (size_t i = 0; i < cause_count && !r; i++)
			r = try_cause(peer, &cause_table[i]);
	for (int i = 1; i < argc && !r; i++) {
		const struct cause *cause = cause_find(argv[i]);

		if (!cause) {
			fprintf(stderr, "no cause of this name: %s\n", argv[i]);
			return 2;
		}
		r = try_cause(peer, cause);
	}
	return r < 0 ? 1 : r;
}
