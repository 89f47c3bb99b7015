/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What managed memory survives: threads that die, handlers that are slow, files and frames and mappings
 * that have run out, and programs that unmap, move and fork what is not theirs.
 */
#include "tests/hmm/fixture.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "hmm/change.h"
#include "os/syscall.h"
#include "os/uffd.h"

static struct hmm_test_device device;
static struct hmm_view v;

static const unsigned long FAULT = HMM_PFN_REQ_FAULT;
static const unsigned long WRITE = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;

/* --------------------------------------------------------------------------------------- threads */

/* A device thread that goes on until it is cancelled; in a call it must not be. */
struct victim {
	struct hmm_rig *rig;
	char *p;
	int kind;
	struct hmm_view view;
	bool inside;
	struct test_gate running, dead;
	pthread_t thread;
};

static void when_cancelled(void *arg)
{
	struct victim *t = arg;

	CHECK(!t->inside);
	test_gate_open(&t->dead);
}

static void victim_round(struct victim *t, uint64_t round)
{
	uint64_t frames[4];
	char *p = t->p + PAGE(round % 4);

	t->inside = true;
	switch (t->kind) {
	case 0:
		view_try(&t->view, round % 2 ? FAULT : WRITE);
		break;
	case 1:
		if (mrn_hmm_pin(t->rig->hmm, p, PAGE(4), true, frames) > 0)
			mrn_hmm_unpin(t->rig->hmm, frames, 4, true);
		break;
	case 2:
		mrn_hmm_migrate_to_device(t->rig->hmm, &device.dev, p, PAGE(4), NULL);
		mrn_hmm_migrate_to_ram(t->rig->hmm, p, PAGE(4));
		break;
	default:
		mrn_hmm_reclaim(t->rig->hmm, p, PAGE(4));
		mrn_hmm_compact(t->rig->hmm, p, PAGE(4));
		break;
	}
	t->inside = false;
}

static void *victim_main(void *arg)
{
	struct victim *t = arg;

	pthread_cleanup_push(when_cancelled, t);
	for (uint64_t round = 0;; round++) {
		victim_round(t, round);
		test_gate_open(&t->running);
		pthread_testcancel();
	}
	pthread_cleanup_pop(1);
	return NULL;
}

TEST(threads_that_are_cancelled)
{
	enum { KINDS = 4 };
	static struct victim t[KINDS];
	HMM_RIG(rig, .frames = 128, .handlers = 2);
	char *p = region(&rig, 8, RW);

	if (TEST_TSAN)
		SKIP("ThreadSanitizer's runtime does not bear cancelled threads");
	device_init(&device, &rig, 64);
	fill_pages(p, 8, 1);
	for (int round = 0; round < ROUNDS(40); round++) {
		for (int k = 0; k < KINDS; k++) {
			t[k] = (struct victim){.rig = &rig, .p = p, .kind = k};
			view_init(&t[k].view, &rig, p, 8);
			CHECK_EQ(pthread_create(&t[k].thread, NULL, victim_main, &t[k]), 0);
		}
		for (int k = 0; k < KINDS; k++) {
			test_gate_wait(&t[k].running);
			CHECK_EQ(pthread_cancel(t[k].thread), 0);
		}
		for (int k = 0; k < KINDS; k++) {
			CHECK_EQ(pthread_join(t[k].thread, NULL), 0);
			CHECK(test_gate_is_open(&t[k].dead));
			view_exit(&t[k].view);
		}
		check_pages(p, 8, 1);
	}
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(8)), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* One that ends with a view still inserted and pins still held: both are everybody's to give back. */
static uint64_t left_behind[4];

static void *leave_things(void *arg)
{
	struct hmm_rig *rig = arg;

	CHECK_ERR(view_fault(&v, WRITE), 0);
	CHECK_EQ(mrn_hmm_pin(rig->hmm, (void *)v.range.start, PAGE(4), true, left_behind), 4);
	pthread_exit(NULL);
}

TEST(thread_that_leaves_things_behind)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	pthread_t t;

	view_init(&v, &rig, p, 4);
	CHECK_EQ(pthread_create(&t, NULL, leave_things, &rig), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	fill_pages(p, 4, 1);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(4)), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	mrn_hmm_unpin(rig.hmm, left_behind, 4, true);
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	ticks = ticks + 1;
}

/* Signals, as often as a timer sends them, change nothing. */
TEST(interrupted_all_the_time)
{
	struct sigaction sa = {.sa_handler = on_tick};
	struct itimerspec often = {{0, 50000}, {0, 50000}};
	struct sigevent to = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 32, RW);
	timer_t timer;

	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &to, &timer), 0);
	view_init(&v, &rig, p, 32);
	CHECK_EQ(timer_settime(timer, 0, &often, NULL), 0);
	for (uint64_t i = 1; i <= ROUNDS(40); i++) {
		fill_pages(p, 32, i);
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(32)), 32);
		CHECK_ERR(view_fault(&v, FAULT), 0);
		CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(32)), 32);
		check_pages(p, 32, i);
	}
	CHECK_EQ(timer_delete(timer), 0);
	CHECK(ticks);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------- slow handlers */

static char *slow_at;
static struct test_gate slow_in, slow_out, slow_served;

static void be_slow(uintptr_t addr)
{
	if (mrn_page_down(addr) != (uintptr_t)slow_at || test_gate_is_open(&slow_in))
		return;
	test_gate_open(&slow_in);
	test_gate_wait(&slow_out);
}

static void touch_main(void *arg)
{
	uint64_t *word = arg;

	*word = word_at(slow_at);
	test_gate_open(&slow_served);
}

/* While one holds a fault, everything else goes on, the page itself included. */
TEST(handler_that_is_slow)
{
	HMM_RIG(rig, .frames = 128, .handlers = 2);
	char *p = region(&rig, 16, RW);
	struct test_thread t;
	uint64_t word = 0;

	device_init(&device, &rig, 16);
	fill_pages(p, 16, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(16)), 16);
	slow_at = p + PAGE(3);
	mrn_check_hmm_fault_hook = be_slow;
	test_thread(&t, touch_main, &word);
	test_gate_wait(&slow_in);
	/* Faults of others; and changes of the page, with all that it has. */
	for (size_t i = 4; i < 16; i++)
		check_page(p + PAGE(i), i, 1);
	check_page(p, 0, 1);
	view_init(&v, &rig, p, 16);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	check_page(frame_of(&rig, v.pfns[3]), 3, 1);
	*frame_of(&rig, v.pfns[3]) = 77;
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(4), NULL), 4);
	CHECK_EQ(mrn_hmm_migrate_to_ram(rig.hmm, p, PAGE(4)), 4);
	CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(4)), 4);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)), 4);
	CHECK(!test_gate_is_open(&slow_served));
	test_gate_open(&slow_out);
	test_join(&t);
	CHECK_EQ(word, 77);
	mrn_check_hmm_fault_hook = NULL;
	view_exit(&v);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* All handlers are: who faults waits, who does not need one does not. */
TEST(the_only_handler_is_slow)
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 4, RW);
	struct test_thread t;
	uint64_t frames[4], word = 0;

	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(4)), 4);
	slow_at = p + PAGE(2);
	mrn_check_hmm_fault_hook = be_slow;
	test_thread(&t, touch_main, &word);
	test_gate_wait(&slow_in);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, frames), 4);
	*(uint64_t *)mrn_hmm_frame(rig.hmm, frames[2]) = 5;
	mrn_hmm_unpin(rig.hmm, frames, 4, true);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)), 4);
	CHECK(!test_gate_is_open(&slow_served));
	test_gate_open(&slow_out);
	test_join(&t);
	CHECK_EQ(word, 5);
	mrn_check_hmm_fault_hook = NULL;
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* At the end every handler hears of it, whoever is told first. */
TEST(many_handlers_end)
{
	for (int i = 0; i < ROUNDS(150); i++) {
		HMM_RIG(rig, .frames = 64, .handlers = 8);
		char *p = region(&rig, 1, RW);

		CHECK_EQ(try_write(p, 1), 0);
		/* Something to be told about, too. */
		mrn_hmm_workers_kick(&rig.hmm->workers);
		free_region(&rig, p);
		hmm_rig_exit(&rig);
	}
}

/* ------------------------------------------------------------------------------- what has run out */

TEST(no_space_in_the_file)
{
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	static struct hmm_rig rig;
	char *p;

	if (full < 0)
		SKIP("no /dev/full");
	hmm_rig_init(&rig, (struct mrn_hmm_opts){.frames = 64, .backing_fd = full});
	p = region(&rig, 8, RW);
	fill_pages(p, 8, 1);
	for (int i = 0; i < 2; i++) {
		CHECK_ERR(mrn_hmm_reclaim(rig.hmm, p, PAGE(8)), -ENOSPC);
		CHECK_EQ(stats_of(&rig).frames_used, 8);
		CHECK_ERR(mrn_hmm_writeback(rig.hmm, p, PAGE(8)), -ENOSPC);
		check_pages(p, 8, 1);
	}
	CHECK_EQ(stats_of(&rig).swapped_out, 0);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
	close(full);
}

TEST(file_that_must_not_grow)
{
	struct rlimit limit, old;
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){PAGE(3) + 100, old.rlim_max};
	fill_pages(p, 8, 1);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	CHECK_ERR(mrn_hmm_reclaim(rig.hmm, p, PAGE(8)), -EFBIG);
	CHECK_EQ(stats_of(&rig).frames_used, 5);
	CHECK_ERR(mrn_hmm_writeback(rig.hmm, p, PAGE(8)), -EFBIG);
	check_pages(p, 8, 1);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(8)), 8);
	check_pages(p, 8, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* Whatever reading says, the thread is told. */
TEST(file_that_cannot_be_read)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	char *kept = malloc(PAGE(4));

	catch_signals();
	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)), 4);
	CHECK(kept);
	CHECK_EQ(pread(rig.backing, kept, PAGE(4), 0), (ssize_t)PAGE(4));
	CHECK_EQ(ftruncate(rig.backing, 0), 0);
	CHECK_EQ(try_read(p + PAGE(1) + 24), SIGBUS);
	CHECK(hmm_signal.addr == p + PAGE(1) + 24);
	view_init(&v, &rig, p, 4);
	CHECK_ERR(view_fault(&v, FAULT), -EIO);
	CHECK_EQ(pwrite(rig.backing, kept, PAGE(4), 0), (ssize_t)PAGE(4));
	free(kept);
	CHECK_ERR(view_fault(&v, FAULT), 0);
	check_pages(p, 4, 1);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

TEST(no_frames_is_a_bus_error)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 32, RW);
	uint64_t frame;

	catch_signals();
	fill_pages(p, 16, 1);
	for (size_t i = 16; i < 24; i++) {
		char *at = p + PAGE(i) + 8 * i;

		CHECK_EQ(i % 2 ? try_read(at) : try_write(at, 1), SIGBUS);
		CHECK(hmm_signal.addr == at);
	}
	CHECK_EQ(stats_of(&rig).unserved, 8);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p + PAGE(20), PAGE(1), false, &frame), -ENOMEM);
	/* There is one again, and the same instruction gets it. */
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(1)), 0);
	CHECK_EQ(try_write(p + PAGE(20), 20), 0);
	CHECK_EQ(try_write(p + PAGE(21), 21), SIGBUS);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(16)), 15);
	CHECK_EQ(try_write(p + PAGE(21), 21), 0);
	CHECK_EQ(word_at(p + PAGE(20)), 20);
	CHECK_EQ(word_at(p), 0);
	for (size_t i = 1; i < 14; i++)
		check_page(p + PAGE(i), i, 1);
	/* A page on its way back needs one, too. */
	device_init(&device, &rig, 16);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(5), PAGE(1), NULL), 1);
	CHECK_EQ(try_read(p + PAGE(14)), 0);
	CHECK_EQ(try_read(p + PAGE(5)), SIGBUS);
	CHECK_ERR(mrn_hmm_migrate_to_ram(rig.hmm, p, PAGE(32)), -ENOMEM);
	CHECK_ERR(mrn_hmm_compact(rig.hmm, p + PAGE(6), PAGE(1)), -ENOMEM);
	check_page(p + PAGE(6), 6, 1);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(20), PAGE(2)), 0);
	check_page(p + PAGE(5), 5, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(ten_thousand_regions, .timeout_s = 60)
{
	size_t n = test_is_sanitized() ? 1000 : 10000;
	HMM_RIG(rig, .frames = 1 << 16);
	char **p = calloc(n, sizeof(*p));
	uint64_t begin = test_now_ns(), made, touched;
	struct test_rand rand;

	CHECK(p);
	test_rand_init(&rand, 0);
	for (size_t i = 0; i < n; i++)
		p[i] = region(&rig, 2, RW);
	made = test_now_ns();
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(try_write(p[i] + PAGE(i % 2), i), 0);
	touched = test_now_ns();
	for (size_t i = 0; i < n; i += 7) {
		view_init(&v, &rig, p[i], 2);
		CHECK_ERR(view_fault(&v, FAULT), 0);
		CHECK_EQ(*frame_of(&rig, v.pfns[i % 2]), i);
		CHECK_EQ(*frame_of(&rig, v.pfns[(i + 1) % 2]), 0);
		view_exit(&v);
	}
	/* In any order. */
	for (size_t left = n; left; left--) {
		size_t i = test_rand_below(&rand, left);

		CHECK_EQ(word_at(p[i] + PAGE(0)) + word_at(p[i] + PAGE(1)) < n, 1);
		free_region(&rig, p[i]);
		p[i] = p[left - 1];
	}
	NOTE("%zu regions: made in %ju ms, touched in %ju ms, faulted and freed in %ju ms", n,
	     (uintmax_t)(made - begin) / 1000000, (uintmax_t)(touched - made) / 1000000,
	     (uintmax_t)(test_now_ns() - touched) / 1000000);
	free(p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------ the limit of mappings */

/*
 * An area of as many mappings as there may be. Its first KNOBS are pages of their own that can be given
 * back and taken again, one mapping each.
 */
enum { KNOBS = 200, AREA_PAGES = 140000 };

static char *area;
static bool knob_taken[KNOBS];

static bool take_knob(size_t i)
{
	void *at = area + PAGE(2 * i + 1);

	knob_taken[i] = mmap(at, PAGE(1), PROT_READ,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == at;
	return knob_taken[i];
}

static void give_knob(size_t i)
{
	CHECK_EQ(munmap(area + PAGE(2 * i + 1), PAGE(1)), 0);
	knob_taken[i] = false;
}

static void use_up_mappings(void)
{
	size_t n = 0;

	area = mmap(NULL, PAGE(AREA_PAGES), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	CHECK(area != MAP_FAILED);
	while (2 * n + 2 < AREA_PAGES && !mprotect(area + PAGE(2 * n + 1), PAGE(1), PROT_READ))
		n++;
	if (2 * n + 2 >= AREA_PAGES)
		SKIP("vm.max_map_count is large");
	for (size_t i = 0; i < KNOBS; i++)
		knob_taken[i] = true;
}

/* So many are left. */
static void leave_mappings(size_t left)
{
	size_t given = 0;

	for (size_t i = 0; i < KNOBS; i++)
		if (!knob_taken[i] && !take_knob(i))
			break;
	for (size_t i = 0; i < KNOBS && given < left; i++) {
		if (!knob_taken[i])
			continue;
		give_knob(i);
		given++;
	}
	CHECK_EQ(given, left);
}

/* Each of them comes out or says -ENOMEM, and what it says is so. */
TEST(no_mappings_left, .timeout_s = 60)
{
	enum { OPS = 6 };
	HMM_RIG(rig, .frames = 256);

	catch_signals();
	if (test_is_sanitized())
		SKIP("sanitizers need mappings of their own");
	use_up_mappings();
	for (size_t n = 0; n < 5 * OPS; n++) {
		size_t left = n / OPS, op = n % OPS;
		char *p, *q;
		long r = 0;
		void *at;

		leave_mappings(KNOBS - 2);
		p = region(&rig, 16, RW);
		q = region(&rig, 16, RW);
		fill_pages(p, 16, 1);
		fill_pages(q, 16, 2);
		if (op == 1)
			CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(4), PAGE(8)), 0);
		leave_mappings(left);
		switch (op) {
		case 0:
			r = mrn_hmm_unmap(rig.hmm, p + PAGE(5), PAGE(6));
			break;
		case 1:
			r = mrn_hmm_map(rig.hmm, p + PAGE(5), PAGE(6), RW);
			break;
		case 2:
			r = mrn_hmm_protect(rig.hmm, p + PAGE(5), PAGE(6), RD);
			break;
		case 3:
			r = mrn_hmm_move(rig.hmm, q + PAGE(5), p + PAGE(5), PAGE(6));
			break;
		case 4:
			r = mrn_hmm_compact(rig.hmm, p + PAGE(5), PAGE(6));
			break;
		default:
			r = mrn_hmm_alloc(rig.hmm, PAGE(4), RW, 0, &at);
			break;
		}
		CHECK_MSG(r == -ENOMEM || r == (op == 4 ? 6 : 0), "op %zu left %zu: %ld", op, left,
			  r);
		if (left == 0 && op != 5)
			CHECK_MSG(r == -ENOMEM, "op %zu", op);
		/* Touches of what is there need none. */
		for (size_t i = 0; i < 16; i++) {
			bool middle = i >= 5 && i < 11;
			bool hole = op == 1 ? i >= 4 && i < 12 && !(middle && !r)
					    : op == 0 && middle && !r;

			if (op != 3)
				CHECK_MSG(try_read(p + PAGE(i)) == (hole ? SIGSEGV : 0),
					  "op %zu left %zu: %ld, page %zu", op, left, r, i);
			if (op == 2)
				CHECK_EQ(try_write(p + PAGE(i), word_of(i, 0, 1)),
					 middle && !r ? SIGSEGV : 0);
			if (!hole && op != 3 && !(op == 1 && middle))
				check_page(p + PAGE(i), i, 1);
		}
		if (op != 3)
			check_pages(q, 16, 2);
		if (op == 5 && !r)
			free_region(&rig, at);
		leave_mappings(KNOBS / 2);
		/* Moved or not: each page is in one place. */
		for (size_t i = 5; i < 11 && op == 3; i++) {
			if (try_read(q + PAGE(i)) == 0)
				check_page(q + PAGE(i), i, 2);
			else
				check_page(p + PAGE(i), i, 2);
		}
		for (size_t i = 0; i < 5 && op == 3; i++) {
			check_page(p + PAGE(i), i, 1);
			check_page(q + PAGE(i), i, 2);
		}
		if (r < 0 && op == 0)
			CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(5), PAGE(6)), 0);
		if (r < 0 && op == 1)
			CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(5), PAGE(6), RW), 0);
		free_region(&rig, p);
		free_region(&rig, q);
	}
	hmm_rig_exit(&rig);
}

/* ----------------------------------------------------------------------------------------- strangers */

/* How long a loss may take to be noticed; a twin, in which it never is, need not wait for it. */
static unsigned int patience = 10000;
static struct test_gate lost;
static char *lost_from, *lost_to;

/* Opens when all of the range has been announced as gone, and is. */
static void note_lost(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (!e->is_end || !(e->flags & MRN_RANGE_AFTER))
		return;
	CHECK_EQ(e->event, MMU_NOTIFY_UNMAP);
	CHECK(e->start >= (uintptr_t)lost_from && e->end <= (uintptr_t)lost_to);
	for (char *p = lost_from; p < lost_to; p += PAGE(1))
		if (page_at(rig, p).state != PAGE_HOLE)
			return;
	test_gate_open(&lost);
}

static void watch_for_loss(struct hmm_rig *rig, char *p, size_t n)
{
	lost_from = p;
	lost_to = p + PAGE(n);
	lost = TEST_GATE_INIT;
	rig->log.hook = note_lost;
}

/* Memory of somebody else's where ours was; as one who knows nothing writes to it. */
static bool try_strangers_memory(char *p, size_t n)
{
	void *at = mmap(p, PAGE(n), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (at != p)
		return false;
	fill_pages(p, n, 9);
	return true;
}

static void strangers_memory(char *p, size_t n)
{
	if (try_strangers_memory(p, n))
		return;
	if (test_is_sanitized())
		SKIP("the sanitizer's own memory is there now");
	FAIL("somebody else's memory is there now");
}

static int munmap_raw(void *p, size_t length)
{
	return (int)mrn_sys2(SYS_munmap, (long)p, (long)length);
}

static void munmap_half(int (*unmap)(void *p, size_t length))
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 16, RW), *other = region(&rig, 16, RW);
	unsigned long pfns[16];
	uint64_t frames[16];

	device_init(&device, &rig, 32);
	fill_pages(p, 16, 1);
	fill_pages(other, 16, 2);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(9), PAGE(1)), 1);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(10), PAGE(1), NULL), 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(11), PAGE(1), true, frames), 1);
	view_init(&v, &rig, p, 16);
	CHECK_ERR(view_snapshot(&v), 0);
	watch_for_loss(&rig, p + PAGE(8), 8);
	CHECK_EQ(unmap(p + PAGE(8), PAGE(8)), 0);
	strangers_memory(p + PAGE(8), 8);
	CHECK(test_gate_wait_ms(&lost, patience));
	settle(&rig, p, 16);
	rig.log.hook = NULL;
	/* Gone: what they had is given back, but for what is pinned. */
	CHECK(v.calls);
	CHECK_EQ(stats_of(&rig).frames_used, 8 + 16 + 1);
	CHECK_EQ(device.in_use, 0);
	check_page(mrn_hmm_frame(rig.hmm, frames[0]), 11, 1);
	mrn_hmm_unpin(rig.hmm, frames, 1, false);
	CHECK_EQ(stats_of(&rig).frames_used, 8 + 16);
	CHECK_ERR(view_snapshot(&v), 0);
	for (size_t i = 0; i < 16; i++)
		CHECK_EQ(v.pfns[i] == HMM_PFN_ERROR, i >= 8);
	CHECK_ERR(view_fault(&v, FAULT), -EFAULT);
	view_exit(&v);
	/* Nothing that is done to the region reaches the stranger. */
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(8), PAGE(8), RW), -ENOTCONN);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(6), PAGE(4), RW), -ENOTCONN);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(16), RD), -ENOMEM);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(6), other, PAGE(4)), -EFAULT);
	CHECK_ERR(mrn_hmm_move(rig.hmm, other, p + PAGE(6), PAGE(4)), -ENOTCONN);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(16), false, frames), -EFAULT);
	CHECK_ERR(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(16), &rig, pfns), -EFAULT);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(16), NULL), 8);
	CHECK_EQ(mrn_hmm_migrate_to_ram(rig.hmm, p, PAGE(16)), 8);
	CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(16)), 8);
	CHECK_EQ(mrn_hmm_writeback(rig.hmm, p, PAGE(16)), 8);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(16)), 0);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(16)), 8);
	check_pages(p, 8, 1);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(7), PAGE(2)), 0);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(16)), 0);
	check_pages(p + PAGE(8), 8, 9);
	free_region(&rig, p);
	check_pages(p + PAGE(8), 8, 9);
	check_pages(other, 16, 2);
	CHECK_EQ(munmap(p + PAGE(8), PAGE(8)), 0);
	free_region(&rig, other);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(munmap_by_a_stranger)
{
	munmap_half(munmap);
}
TWIN(munmap_by_a_stranger, losses_are_not_noticed, BREAK(HMM_LOST); patience = 300);

TEST(raw_munmap_by_a_stranger)
{
	munmap_half(munmap_raw);
}

/* What the kernel gives out again may not be taken for a region of its own. */
TEST(lost_addresses_come_back_as_a_region)
{
	HMM_RIG(rig, .frames = 4096);
	char *p = region(&rig, 64, RW), *q[32];

	fill_pages(p, 64, 1);
	CHECK_EQ(munmap(p + PAGE(32), PAGE(32)), 0);
	for (size_t i = 0; i < 32; i++) {
		q[i] = region(&rig, 32, RW);
		fill_pages(q[i], 32, 2 + i);
		CHECK(q[i] + PAGE(32) <= p || q[i] >= p + PAGE(64));
	}
	check_pages(p, 32, 1);
	for (size_t i = 0; i < 32; i++)
		check_pages(q[i], 32, 2 + i);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(64)), 0);
	free_region(&rig, p);
	for (size_t i = 0; i < 32; i++) {
		check_pages(q[i], 32, 2 + i);
		free_region(&rig, q[i]);
	}
	hmm_rig_exit(&rig);
}

/* While a change has the pages in hand: it comes out, and then they are lost. */
static struct test_gate entered, leave;
static char *held;
static long held_result;

static void migrate_main(void *arg)
{
	struct hmm_rig *rig = arg;

	held_result = mrn_hmm_migrate_to_device(rig->hmm, &device.dev, held, PAGE(4), NULL);
}

TEST(munmap_of_what_is_being_changed)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 16, RW);
	struct test_thread t;

	device_init(&device, &rig, 32);
	for (int back = 0; back < 2; back++) {
		char *at = p + PAGE(8 * (size_t)back);

		held = at + PAGE(2);
		fill_pages(at, 8, 1);
		entered = leave = TEST_GATE_INIT;
		device.leave = &leave;
		device.entered = &entered;
		test_thread(&t, migrate_main, &rig);
		test_gate_wait(&entered);
		watch_for_loss(&rig, at, 8);
		CHECK_EQ(munmap(at, PAGE(8)), 0);
		strangers_memory(at, 8);
		/* Not as long as somebody is at them. */
		CHECK(!test_gate_wait_ms(&lost, 20));
		device.entered = NULL;
		test_gate_open(&leave);
		test_join(&t);
		CHECK_EQ(held_result, 4);
		CHECK(test_gate_wait_ms(&lost, patience));
		settle(&rig, at, 8);
		rig.log.hook = NULL;
		CHECK_EQ(device.in_use, 0);
		check_pages(at, 8, 9);
	}
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	free_region(&rig, p);
	check_pages(p, 8, 9);
	CHECK_EQ(munmap(p, PAGE(16)), 0);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(munmap_of_what_is_being_changed, losses_are_not_noticed, BREAK(HMM_LOST); patience = 300);

/* A hole in the middle of what is lost, made by the change that kept the others from being lost. */
static void unmap_main(void *arg)
{
	struct hmm_rig *rig = arg;

	int err = mrn_hmm_unmap(rig->hmm, held, PAGE(1));

	/* -ENOMEM: it was no longer mapped. */
	CHECK(!err || err == -ENOMEM);
}

static void stop_in_hide(uintptr_t addr)
{
	if (addr != (uintptr_t)held || test_gate_is_open(&entered))
		return;
	test_gate_open(&entered);
	test_gate_wait(&leave);
}

static void munmap_and_use(void *arg)
{
	CHECK_EQ(munmap(lost_from, (size_t)(lost_to - lost_from)), 0);
	strangers_memory(lost_from, (size_t)(lost_to - lost_from) / PAGE(1));
	test_gate_open(&slow_served);
}

/* Between the look whether a page is ours and what is done to it nobody else gets its address. */
TEST(what_is_looked_at_stays_ours)
{
	HMM_RIG(rig, .frames = 64, .handlers = 2);
	char *p = region(&rig, 8, RW);
	struct test_thread t, stranger;

	catch_signals();
	fill_pages(p, 8, 1);
	settle(&rig, p, 8);
	held = p + PAGE(3);
	watch_for_loss(&rig, p, 8);
	mrn_check_hmm_cpu_hook = stop_in_hide;
	test_thread(&t, unmap_main, &rig);
	test_gate_wait(&entered);
	test_thread(&stranger, munmap_and_use, NULL);
	/* It has to wait, and must not get through; in a twin it does. */
	test_gate_wait_ms(&slow_served, 50);
	test_gate_open(&leave);
	test_join(&t);
	test_join(&stranger);
	mrn_check_hmm_cpu_hook = NULL;
	check_pages(p, 8, 9);
	/* Though page 3 may be a hole already, and no page to be lost. */
	CHECK(test_gate_wait_ms(&lost, patience));
	settle(&rig, p, 8);
	rig.log.hook = NULL;
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	free_region(&rig, p);
	check_pages(p, 8, 9);
	hmm_rig_exit(&rig);
}
TWIN(what_is_looked_at_stays_ours, events_are_read_whatever_goes_on, BREAK(HMM_OURS));

/* Devices at work, and every change there is, while pages are unmapped behind their backs. */
struct worker {
	struct hmm_rig *rig;
	char *p;
	unsigned int number;
	bool maps; /* holes, too */
	uint64_t rounds;
	struct hmm_view view;
	struct test_thread thread;
};

static uint32_t workers_end;

enum { SHARED = 64 };

static void worker_main(void *arg)
{
	struct worker *k = arg;
	struct mrn_hmm *hmm = k->rig->hmm;
	struct test_rand rand;
	uint64_t frames[4];
	unsigned long pfns[4];

	test_rand_init(&rand, k->number);
	for (; !LOAD(&workers_end); k->rounds++) {
		char *p = k->p + PAGE(test_rand_below(&rand, SHARED - 4));

		switch (test_rand_below(&rand, 10)) {
		case 0:
			mrn_hmm_discard(hmm, p, PAGE(4));
			break;
		case 1:
			mrn_hmm_reclaim(hmm, p, PAGE(4));
			break;
		case 2:
			mrn_hmm_compact(hmm, p, PAGE(4));
			break;
		case 3:
			mrn_hmm_protect(hmm, p, PAGE(4), test_rand_below(&rand, 2) ? RD : RW);
			break;
		case 4:
			mrn_hmm_migrate_to_device(hmm, &device.dev, p, PAGE(4), pfns);
			break;
		case 5:
			mrn_hmm_writeback(hmm, p, PAGE(4));
			break;
		case 6:
			mrn_hmm_make_exclusive(hmm, p, PAGE(4), k, pfns);
			break;
		case 7:
			if (mrn_hmm_pin(hmm, p, PAGE(4), true, frames) > 0)
				mrn_hmm_unpin(hmm, frames, 4, true);
			break;
		case 8:
			if (!k->maps)
				break;
			mrn_hmm_unmap(hmm, p, PAGE(1));
			mrn_hmm_map(hmm, p, PAGE(1), RW);
			break;
		default:
			view_try(&k->view, FAULT);
			break;
		}
	}
}

TEST(munmap_while_devices_work, .timeout_s = 60)
{
	enum { WORKERS = 3 };
	static struct worker k[WORKERS];
	uint64_t end = test_now_ns() + UINT64_C(1500000000), rounds = 0, munmaps = 0, taken = 0;
	HMM_RIG(rig, .frames = 512, .handlers = 2);

	device_init(&device, &rig, 128);
	while (test_now_ns() < end) {
		char *p = region(&rig, SHARED, RW), *mine;
		bool got[SHARED / 8];

		workers_end = 0;
		for (unsigned int i = 0; i < WORKERS; i++) {
			k[i] = (struct worker){.rig = &rig, .p = p, .number = i};
			view_init(&k[i].view, &rig, p, SHARED);
			test_thread(&k[i].thread, worker_main, &k[i]);
		}
		/* Piece by piece; each is used at once by who comes to own it. */
		for (size_t i = 0; i < SHARED; i += 8, munmaps++) {
			mine = p + PAGE(i);
			CHECK_EQ(i % 16 ? munmap(mine, PAGE(8)) : munmap_raw(mine, PAGE(8)), 0);
			/* Unless another thread's allocator has been faster. */
			got[i / 8] = try_strangers_memory(mine, 8);
			taken += !got[i / 8];
			if (got[i / 8])
				check_pages(mine, 8, 9);
		}
		STORE(&workers_end, 1);
		for (unsigned int i = 0; i < WORKERS; i++) {
			test_join(&k[i].thread);
			view_exit(&k[i].view);
			rounds += k[i].rounds;
		}
		free_region(&rig, p);
		for (size_t i = 0; i < SHARED; i += 8) {
			if (!got[i / 8])
				continue;
			check_pages(p + PAGE(i), 8, 9);
			CHECK_EQ(munmap(p + PAGE(i), PAGE(8)), 0);
		}
		CHECK_EQ(stats_of(&rig).frames_used, 0);
		forget_events(&rig);
	}
	NOTE("%ju pieces unmapped, %ju calls meanwhile; %ju were taken by others",
	     (uintmax_t)munmaps, (uintmax_t)rounds, (uintmax_t)taken);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(madvise_by_a_stranger)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	fill_pages(p, 8, 1);
	/* It is shared memory: what is not needed is there all the same. */
	CHECK_EQ(madvise(p, PAGE(8), MADV_DONTNEED), 0);
	check_pages(p, 8, 1);
	view_init(&v, &rig, p, 8);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	CHECK_EQ(mrn_hmm_writeback(rig.hmm, p, PAGE(1)), 1);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	CHECK_EQ(mrn_hmm_writeback(rig.hmm, p, PAGE(1)), 1);
	/* What is removed reads as zeros, for the CPU and for devices, and stays so. */
	CHECK_EQ(madvise(p, PAGE(2), MADV_REMOVE), 0);
	check_zeros(p, 2);
	CHECK_ERR(view_fault(&v, FAULT), 0);
	CHECK_EQ(*frame_of(&rig, v.pfns[0]), 0);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(8)), 8);
	check_zeros(p, 2);
	for (size_t i = 2; i < 8; i++)
		check_page(p + PAGE(i), i, 1);
	CHECK_EQ(madvise(p + PAGE(2), PAGE(1), MADV_REMOVE), 0);
	CHECK_EQ(try_write(p + PAGE(2) + 8, 3), 0);
	CHECK_EQ(word_at(p + PAGE(2)), 0);
	CHECK_EQ(word_at(p + PAGE(2) + 8), 3);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* To us, a part that is moved away is a part that is lost. */
TEST(mremap_by_a_stranger)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 16, RW), *moved;

	fill_pages(p, 16, 1);
	watch_for_loss(&rig, p + PAGE(4), 4);
	moved = mremap(p + PAGE(4), PAGE(4), PAGE(4), MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, PAGE(4), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CHECK(moved != MAP_FAILED);
	CHECK(test_gate_wait_ms(&lost, patience));
	settle(&rig, p, 16);
	rig.log.hook = NULL;
	CHECK_EQ(stats_of(&rig).frames_used, 12);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(4), PAGE(4), RW), -ENOTCONN);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(16)), 12);
	check_pages(p, 4, 1);
	for (size_t i = 8; i < 16; i++)
		check_page(p + PAGE(i), i, 1);
	CHECK_EQ(munmap(moved, PAGE(4)), 0);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------------------------- fork */

static void child_of(struct hmm_rig *rig, char *p, uint64_t *frames)
{
	struct mrn_hmm_device fresh = {.ops = &test_device_ops, .pages = 1};
	struct mrn_hmm *hmm = rig->hmm;
	struct mrn_hmm_stats stats;
	unsigned long pfns[4];
	uint8_t dirty[4];
	void *at;

	for (size_t i = 0; i < 8; i++)
		CHECK_EQ(try_read(p + PAGE(i)), SIGSEGV);
	CHECK_ERR(mrn_hmm_alloc(hmm, PAGE(1), RW, 0, &at), -ESTALE);
	CHECK_ERR(mrn_hmm_free(hmm, p), -ESTALE);
	CHECK_ERR(mrn_hmm_unmap(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_map(hmm, p, PAGE(1), RW), -ESTALE);
	CHECK_ERR(mrn_hmm_move(hmm, p, p + PAGE(2), PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_protect(hmm, p, PAGE(1), RD), -ESTALE);
	CHECK_ERR(mrn_hmm_discard(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_reap(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_compact(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_reclaim(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_writeback(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_take_soft_dirty(hmm, p, PAGE(1), dirty), -ESTALE);
	CHECK_ERR(mrn_hmm_soft_dirty(hmm, p, PAGE(1), dirty), -ESTALE);
	CHECK_ERR(mrn_hmm_pin(hmm, p, PAGE(1), true, frames + 4), -ESTALE);
	CHECK_ERR(mrn_hmm_device_add(hmm, &fresh), -ESTALE);
	CHECK_ERR(mrn_hmm_device_remove(hmm, &device.dev), -ESTALE);
	CHECK_ERR(mrn_hmm_migrate_to_device(hmm, &device.dev, p, PAGE(1), pfns), -ESTALE);
	CHECK_ERR(mrn_hmm_migrate_to_ram(hmm, p, PAGE(1)), -ESTALE);
	CHECK_ERR(mrn_hmm_make_exclusive(hmm, p, PAGE(1), hmm, pfns), -ESTALE);
	CHECK_ERR(mrn_hmm_get_stats(hmm, &stats, sizeof(stats)), -ESTALE);
	CHECK_ERR(hmm_range_fault(&v.range), -ESTALE);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), -ESTALE);
	/* These say nothing, and do nothing. */
	mrn_hmm_set_dirty(hmm, frames[0]);
	mrn_hmm_unpin(hmm, frames, 4, true);
	CHECK_ERR(mrn_hmm_destroy(hmm), -ESTALE);
	_exit(0);
}

static void fork_one(uint64_t quarantine, int backing_fd)
{
	HMM_RIG(rig, .frames = 64, .quarantine = quarantine, .backing_fd = backing_fd);
	char *p = region(&rig, 8, RW);
	uint64_t frames[8];
	int status;
	pid_t pid;

	catch_signals();
	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, frames), 4);
	/* Nobody's but the pins': a child that drops its copies of them must not take them away. */
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(2)), 0);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(4), PAGE(1), NULL), 1);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(7), PAGE(1)), 0);
	view_init(&v, &rig, p, 7);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child_of(&rig, p, frames);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	for (size_t i = 0; i < 4; i++)
		check_page(mrn_hmm_frame(rig.hmm, frames[i]), i, 1);
	check_zeros(p, 2);
	for (size_t i = 2; i < 7; i++)
		check_page(p + PAGE(i), i, 1);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	view_exit(&v);
	mrn_hmm_unpin(rig.hmm, frames, 4, true);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(child_has_nothing_and_takes_nothing)
{
	fork_one(0, 0);
	fork_one(16, -1);
}

/* Each lock that there is, held at the fork as by another thread: the child's copy of it is held for ever. */
enum { REGIONS, DEVICES, REGION, FRAMES, BACKING, OURS, WORKERS, KEEPER, BUSY, LOCKS };

static void set_lock(struct mrn_hmm_region *r, int which, bool hold)
{
	static mrn_sigmask mask;
	struct mrn_hmm *hmm = r->hmm;
	struct mrn_mutex *const mutex[LOCKS] = {
		[REGIONS] = &hmm->regions_lock,
		[DEVICES] = &hmm->devices_lock,
		[REGION] = &r->lock,
		[FRAMES] = &hmm->frames.lock,
		[BACKING] = &hmm->backing.lock,
		[WORKERS] = &hmm->workers.lock,
		[KEEPER] = &hmm->keeper.lock,
	};

	if (which == OURS && hold)
		mask = mrn_write_lock(&hmm->ours);
	else if (which == OURS)
		mrn_write_unlock(&hmm->ours, mask);
	else if (which == BUSY)
		(hold ? mrn_hmm_lock : mrn_hmm_unlock)(r, 0, 8);
	else if (hold)
		mrn_mutex_lock(mutex[which]);
	else
		mrn_mutex_unlock(mutex[which]);
}

TEST(child_waits_for_no_lock)
{
	HMM_RIG(rig, .frames = 64, .quarantine = 8);
	char *p = region(&rig, 8, RW);
	struct mrn_hmm_region *r;
	uint64_t frames[8];
	int status;

	catch_signals();
	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, frames), 4);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(4), PAGE(1), NULL), 1);
	view_init(&v, &rig, p, 8);
	r = mrn_hmm_region_get(rig.hmm, (uintptr_t)p);
	CHECK(r);
	for (int which = 0; which < LOCKS; which++) {
		pid_t pid;

		settle(&rig, p, 8);
		set_lock(r, which, true);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			/* The writer's lock blocks signals, and the child wants its SIGSEGV. */
			mrn_signals_restore(0);
			child_of(&rig, p, frames);
		}
		set_lock(r, which, false);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
	mrn_hmm_region_put(r);
	view_exit(&v);
	mrn_hmm_unpin(rig.hmm, frames, 4, true);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* And nobody waits for a child, which has copies of the descriptors as long as it likes. */
TEST(end_with_a_child_alive)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	pid_t pid;

	fill_pages(p, 8, 1);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		for (;;)
			pause();
	/* With the region still there. */
	CHECK_ERR(mmu_notifier_unregister(&rig.log.mn, rig.mm), 0);
	CHECK_ERR(mrn_hmm_destroy(rig.hmm), 0);
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	close(rig.backing);
}

/* While others are at work, whatever locks they hold. */
TEST(fork_at_any_time)
{
	static struct worker k[2];
	HMM_RIG(rig, .frames = 512, .handlers = 2);
	char *p = region(&rig, SHARED, RW);
	int status;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer's runtime does not bear a fork of a process with threads");
	device_init(&device, &rig, 128);
	for (unsigned int i = 0; i < 2; i++) {
		k[i] = (struct worker){.rig = &rig, .p = p, .number = i, .maps = true};
		view_init(&k[i].view, &rig, p, SHARED);
		test_thread(&k[i].thread, worker_main, &k[i]);
	}
	for (int i = 0; i < ROUNDS(60); i++) {
		struct mrn_hmm_stats stats;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			CHECK_ERR(mrn_hmm_get_stats(rig.hmm, &stats, sizeof(stats)), -ESTALE);
			CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(1)), -ESTALE);
			CHECK_ERR(mrn_hmm_destroy(rig.hmm), -ESTALE);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
	STORE(&workers_end, 1);
	for (unsigned int i = 0; i < 2; i++) {
		test_join(&k[i].thread);
		view_exit(&k[i].view);
	}
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------- what the kernel lacks */

static size_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* From now on this system call fails; with arg 1 only, if that is not 0. */
static void forbid(unsigned int nr, unsigned int arg1, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arg1, 1, 0),
		BPF_STMT(BPF_RET | BPF_K,
			 arg1 ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	/* Not this call: past the two that forbid. */
	code[1].jf = 4;
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP("no seccomp filters here");
}

static void create_fails(int want, const char *because)
{
	char why[256] = "";
	struct mrn_hmm_opts o = {.size = sizeof(o),
				 .frames = 64,
				 .handlers = 3,
				 .why = why,
				 .why_size = sizeof(why)};
	struct mrn_hmm *hmm = NULL;
	size_t files = open_files();

	CHECK_ERR(mrn_hmm_create(&o, &hmm), want);
	CHECK(!hmm);
	CHECK_EQ(open_files(), files);
	CHECK_MSG(strstr(why, because), "why: %s", why);
	NOTE("%s", why);
	/* A sentence that has no room is cut. */
	o.why_size = 5;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), want);
	CHECK(strlen(why) < 5);
}

TEST(no_permission_for_a_userfaultfd)
{
	forbid(SYS_ioctl, USERFAULTFD_IOC_NEW, EPERM);
	forbid(SYS_userfaultfd, 0, EPERM);
	create_fails(-EPERM, "vm.unprivileged_userfaultfd");
}

TEST(no_userfaultfd_in_the_kernel)
{
	forbid(SYS_userfaultfd, 0, ENOSYS);
	create_fails(-ENOSYS, "CONFIG_USERFAULTFD");
}

TEST(no_files_left)
{
	forbid(SYS_eventfd2, 0, EMFILE);
	create_fails(-EMFILE, "");
	forbid(SYS_memfd_create, 0, EMFILE);
	create_fails(-EMFILE, "frames");
}

TEST(no_threads_left)
{
	if (test_is_sanitized())
		SKIP("a sanitizer's runtime dies when no thread can be made");
	forbid(SYS_clone3, 0, EAGAIN);
	forbid(SYS_clone, 0, EAGAIN);
	create_fails(-EAGAIN, "");
}

/* ---------------------------------------------------------------------------------------------- end */

static unsigned int releases;

static void see_release(struct hmm_view *view, const struct mmu_notifier_range *range)
{
	releases += range->event == MMU_NOTIFY_RELEASE;
}

TEST(end_with_pages_in_every_state)
{
	HMM_RIG(rig, .frames = 128, .quarantine = 16, .handlers = 3);
	char *p = region(&rig, 32, RW), *q = region(&rig, 8, RW);
	unsigned long pfn;
	uint64_t frame;

	catch_signals();
	device_init(&device, &rig, 16);
	fill_pages(p, 32, 1);
	fill_pages(q, 8, 1);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(2)), 0);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(2), PAGE(2)), 0);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(4), PAGE(2)), 2);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(6), PAGE(3), NULL), 3);
	CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p + PAGE(9), PAGE(1), &rig, &pfn), 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(10), PAGE(1), true, &frame), 1);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(11), PAGE(1), PROT_NONE), 0);
	watch_for_loss(&rig, p + PAGE(20), 4);
	CHECK_EQ(munmap(p + PAGE(20), PAGE(4)), 0);
	CHECK(test_gate_wait_ms(&lost, patience));
	rig.log.hook = NULL;
	strangers_memory(p + PAGE(20), 4);
	view_init(&v, &rig, p, 32);
	v.hook = see_release;
	CHECK_EQ(rig.log.released, 0);
	CHECK_ERR(mrn_hmm_destroy(rig.hmm), 0);
	CHECK_EQ(releases, 1);
	CHECK_EQ(rig.log.released, 1);
	CHECK_EQ(device.in_use, 0);
	CHECK_EQ(device.frees, 3);
	CHECK(!device.dev.hmm);
	check_pages(p + PAGE(20), 4, 9);
	CHECK_EQ(try_read(p), SIGSEGV);
	CHECK_EQ(try_read(q), SIGSEGV);
	view_exit(&v);
	CHECK_ERR(mmu_notifier_unregister(&rig.log.mn, rig.mm), 0);
}

/* Frames are a file of memory's: what its limit refuses is an error, and no signal. */
TEST(a_limit_on_files)
{
	const struct rlimit limit = {4096, RLIM_INFINITY};
	char why[512] = "";
	struct mrn_hmm_opts o = {.size = sizeof(o),
				 .frames = 64,
				 .why = why,
				 .why_size = sizeof(why)};
	struct mrn_hmm *hmm;
	int r = mrn_hmm_create(&o, &hmm);

	if (r)
		SKIP("%s", why);
	CHECK_ERR(mrn_hmm_destroy(hmm), 0);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EFBIG);
}
