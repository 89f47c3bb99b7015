/* SPDX-License-Identifier: BSD-3-Clause */
/* Invalidation in two passes: what comes before what, and who is finished. */
#include "tests/core/two_pass.h"

enum { DEVICES = 5 };

/* ------------------------------------------------------------------------------------------- order */

/* Devices whose ranges begin at pages 4, 5, ..., in which order they are called, and all have page 19; one list notifier. */
struct stage {
	struct mrn_mm *mm;
	struct device d[DEVICES];
	struct mmu_notifier mn;
	bool refuse; /* the list notifier */
	unsigned int started, started_at, ended;
};

static int list_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct stage *s = container_of(mn, struct stage, mn);

	if (s->refuse && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	s->started++;
	s->started_at = next_moment();
	return 0;
}

static void list_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	container_of(mn, struct stage, mn)->ended++;
}

static void stage_init(struct stage *s)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = list_start,
						    .invalidate_range_end = list_end};

	memset(s, 0, sizeof(*s));
	s->mm = new_mm();
	for (unsigned int i = 0; i < DEVICES; i++) {
		device_init(&s->d[i]);
		device_insert(&s->d[i], s->mm, 4 + i, 20);
		device_publish(&s->d[i]);
	}
	s->mn.ops = &ops;
	CHECK_ERR(mmu_notifier_register(&s->mn, s->mm), 0);
}

static void stage_destroy(struct stage *s)
{
	for (int i = 0; i < DEVICES; i++)
		device_remove(&s->d[i]);
	CHECK_ERR(mmu_notifier_unregister(&s->mn, s->mm), 0);
	destroy_idle(s->mm);
}

/* Each of the first so many has been called so often, each time in two passes. */
static void check_finished(struct stage *s, int devices, unsigned int times)
{
	for (int i = 0; i < DEVICES; i++) {
		unsigned int n = i < devices ? times : 0;

		CHECK_EQ(s->d[i].starts, n);
		CHECK_EQ(s->d[i].finishes, n);
		CHECK_EQ(s->d[i].alone, 0);
		CHECK(!s->d[i].in_use);
		CHECK_EQ(device_has_shadow(&s->d[i]), !n);
	}
}

static void order(unsigned int slots)
{
	struct mmu_notifier_range r, elsewhere;
	struct stage s;
	struct consumer one_pass;

	mrn_check_slots = slots;
	stage_init(&s);
	elsewhere = pages(s.mm, 50, 51);
	if (slots == 1)
		start(&elsewhere);
	consumer_init(&one_pass);
	consumer_insert(&one_pass, s.mm, 6, 20);
	r = pages(s.mm, 19, 20);
	errno = ENOTTY;
	start(&r);
	CHECK_EQ(errno, ENOTTY);
	CHECK_EQ(one_pass.calls, 1);
	check_finished(&s, DEVICES, 1);
	for (int i = 0; i < DEVICES; i++) {
		for (int k = 0; k < DEVICES; k++)
			CHECK(s.d[i].started_at < s.d[k].finished_at);
		CHECK(s.d[i].finished_at < s.started_at);
		CHECK(i == 0 || s.d[i - 1].finished_at < s.d[i].finished_at);
		CHECK_EQ(mmu_range_read_begin(&s.d[i].mrn), 0); /* its own token (P4) */
	}
	CHECK_EQ(s.started, 1 + (slots == 1));
	end(&r);
	if (slots == 1)
		end(&elsewhere);
	CHECK_EQ(s.ended, s.started);
	for (int i = 0; i < DEVICES; i++)
		device_publish(&s.d[i]);
	consumer_remove(&one_pass);
	stage_destroy(&s);
}

TEST(a1_each_first_pass_comes_before_any_finish)
{
	order(MRN_TOKEN_SLOTS);
	order(1);
}
TWIN(a1_each_first_pass_comes_before_any_finish, finish_at_once, BREAK(A1_PASSES));
TWIN(a1_each_first_pass_comes_before_any_finish, no_finish, BREAK(A1_FINISH));

/* A notifier that is told of no such event gets neither pass; of the end of the mm, both. */
TEST(events_and_release)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5);
	struct device d;

	device_init(&d);
	d.mrn.events = 1u << MMU_NOTIFY_CLEAR;
	device_insert(&d, mm, 4, 8);
	device_publish(&d);
	start(&r);
	CHECK_EQ(d.starts, 0);
	CHECK(device_has_shadow(&d));
	end(&r);
	CHECK_EQ(mrn_mm_destroy(mm), 0);
	CHECK_EQ(d.starts, 1);
	CHECK_EQ(d.finishes, 1);
	CHECK(!device_has_shadow(&d));
	device_remove(&d);
}
TWIN(events_and_release, no_finish, BREAK(A1_FINISH));

/* ops that lack a function are refused. Which ones there are is seen from invalidate first. */
TEST(both_functions_are_needed)
{
	static const struct mmu_range_notifier_ops no_finish = {.invalidate_start = device_start},
						   no_start = {.invalidate_finish = device_finish};
	const struct mmu_range_notifier_ops *bad[] = {&no_finish, &no_start};
	struct mrn_mm *mm = new_mm();
	struct device d;

	for (int i = 0; i < 2; i++) {
		device_init(&d);
		d.mrn.ops = bad[i];
		CHECK_ERR(mmu_range_notifier_insert(&d.mrn, PAGE(4), PAGE(1), mm), -EINVAL);
	}
	destroy_idle(mm);
}

/* ops as a program has them that was compiled before there were two passes: nothing behind the first function is read. */
TEST(ops_of_an_earlier_version)
{
	char *end_of_page, *memory = mmap(NULL, 2 * mrn_page_size(), PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	CHECK(memory != MAP_FAILED);
	CHECK_EQ(mprotect(memory + mrn_page_size(), mrn_page_size(), PROT_NONE), 0);
	consumer_init(&c);
	end_of_page = memory + mrn_page_size() - sizeof(c.mrn.ops->invalidate);
	memcpy(end_of_page, &c.mrn.ops->invalidate, sizeof(c.mrn.ops->invalidate));
	c.mrn.ops = (const struct mmu_range_notifier_ops *)(const void *)end_of_page;
	consumer_insert(&c, mm, 4, 8);
	start_and_end(mm, 4, 5);
	CHECK_EQ(c.calls, 1);
	consumer_remove(&c);
	destroy_idle(mm);
	munmap(memory, 2 * mrn_page_size());
}

/* --------------------------------------------------------------------------------- in use, and nested */

static struct test_gate in_finish, leave_finish;

static void hold_finish(struct device *d)
{
	d->in_finish = NULL;
	test_gate_open(&in_finish);
	test_gate_wait(&leave_finish);
}

static void *start_and_end_19(void *mm)
{
	start_and_end(mm, 19, 20);
	return NULL;
}

/* While one start is in a finish, another one gets through without it. */
TEST(a1_a_second_start_needs_no_finish)
{
	struct mmu_notifier_range r;
	struct stage s;
	pthread_t first;

	stage_init(&s);
	r = pages(s.mm, 19, 20);
	s.d[0].in_finish = hold_finish;
	first = go(start_and_end_19, s.mm);
	test_gate_wait(&in_finish);
	start(&r);
	for (int i = 0; i < DEVICES; i++) {
		CHECK_EQ(s.d[i].starts, 2);
		CHECK_EQ(s.d[i].alone, 1);
		CHECK_EQ(s.d[i].finishes, 0);
		CHECK(!device_has_shadow(&s.d[i]));
	}
	end(&r);
	test_gate_open(&leave_finish);
	done(first);
	for (int i = 0; i < DEVICES; i++)
		CHECK_EQ(s.d[i].finishes, 1);
	stage_destroy(&s);
}
TWIN(a1_a_second_start_needs_no_finish, device_keeps_no_flag, keep_no_flag = true);

/* Taken back inside invalidate_finish, and handed out anew, before that returns: both starts finish what they owe. */
static void start_again(struct device *d)
{
	d->taken_back = NULL;
	start_and_end(d->arg, 4, 5);
}

TEST(a1_a_finish_is_reused_as_soon_as_it_is_taken_back)
{
	struct stage s;

	stage_init(&s);
	s.d[0].taken_back = start_again;
	s.d[0].arg = s.mm;
	start_and_end(s.mm, 19, 20);
	for (int i = 0; i < DEVICES; i++) {
		CHECK_EQ(s.d[i].starts, i ? 1 : 2);
		CHECK_EQ(s.d[i].finishes, s.d[i].starts);
		CHECK(!device_has_shadow(&s.d[i]));
	}
	stage_destroy(&s);
}
TWIN(a1_a_finish_is_reused_as_soon_as_it_is_taken_back, looked_at_again, BREAK(A1_FINISH_NEXT));

static void start_inside(struct device *d, const struct mmu_notifier_range *range)
{
	d->in_start = NULL;
	start_and_end(range->mm, 19, 20);
}

/* A start in a first pass owes for itself, and is through when it returns. */
TEST(p4_nested_start_pays_what_it_owes)
{
	enum { NESTS = 2 };
	struct stage s;

	stage_init(&s);
	s.d[NESTS].in_start = start_inside;
	start_and_end(s.mm, 19, 20);
	for (int i = 0; i < DEVICES; i++) {
		/* Those before it are owed a finish by the outer start; itself has not handed one out yet. */
		CHECK_EQ(s.d[i].starts, 2);
		CHECK_EQ(s.d[i].alone, i < NESTS);
		CHECK_EQ(s.d[i].finishes, i < NESTS ? 1 : 2);
		CHECK(!s.d[i].in_use);
		CHECK(!device_has_shadow(&s.d[i]));
	}
	CHECK_EQ(s.started, 2);
	CHECK_EQ(s.ended, 2);
	stage_destroy(&s);
}
TWIN(p4_nested_start_pays_what_it_owes, no_finish, BREAK(A1_FINISH));

/* ----------------------------------------------------------------------------------------- refusals */

static void refuse_nth(int n, unsigned int slots)
{
	struct mmu_notifier_range r, elsewhere;
	struct stage s;

	mrn_check_slots = slots;
	stage_init(&s);
	elsewhere = pages(s.mm, 50, 51);
	if (slots == 1)
		start(&elsewhere);
	s.started = 0;
	r = pages(s.mm, 19, 20);
	if (n < DEVICES)
		s.d[n].refuse = true;
	else
		s.refuse = true;
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EAGAIN);
	check_finished(&s, n, 1);
	CHECK_EQ(s.started, 0);
	CHECK(!mrn_tokens_overlap(s.mm, r.start, r.end));
	if (slots == 1)
		end(&elsewhere);
	check_idle(s.mm);
	/* What was finished works again, and whoever may wait is not refused. */
	for (int i = 0; i < DEVICES; i++) {
		device_publish(&s.d[i]);
		s.d[i].starts = s.d[i].finishes = 0;
	}
	start(&r);
	check_finished(&s, DEVICES, 1);
	end(&r);
	stage_destroy(&s);
}

TEST(a6_refusal_finishes_what_has_begun)
{
	for (int n = 0; n <= DEVICES; n++) {
		refuse_nth(n, MRN_TOKEN_SLOTS);
		refuse_nth(n, 1);
	}
}
TWIN(a6_refusal_finishes_what_has_begun, finishes_forgotten, BREAK(A6_FINISH));
