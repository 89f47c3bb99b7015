/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hmm_range_fault on the memory of this process while it changes: announced, which is a collision;
 * unannounced, which is none; and a race whose outcome is compared with what was really there.
 */
#include <errno.h>
#include <fcntl.h>
#include <mrn/hmm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/sync.h"
#include "tests/hmm/own.h"
#include "os/pagemap.h"
#include "os/syscall.h"

/* ------------------------------------------------------------------------------------- collisions */

static struct mmu_notifier_range change_of(const void *p, size_t from, size_t to)
{
	uintptr_t first = (uintptr_t)p / PAGE(1);

	return pages(mrn_mm_self(), first + from, first + to);
}

/* Begins a read, and then the range changes, before the call. */
TEST_EACH_KERNEL(busy_on_a_collision_and_only_then)
{
	static const unsigned long request[] = {0, READ, WRITE};
	char *p = map(8, RW, ANON, -1);
	struct mmu_notifier_range r;
	struct view v;

	view_open(&v, p + PAGE(2), 4);
	v.range.pfn_flags_mask = 0;
	for (size_t i = 0; i < 3; i++) {
		v.range.default_flags = request[i];
		/* Beside it. */
		v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
		r = change_of(p, 0, 2);
		start(&r);
		CHECK_ERR(fault(&v.range), 0);
		end(&r);
		CHECK_ERR(fault(&v.range), 0);
		/* One page of it. */
		r = change_of(p, 5, 8);
		start(&r);
		CHECK_ERR(fault(&v.range), -EBUSY);
		end(&r);
		/* It is over, but the seq is still of before; and nothing is brought in for it. */
		zap(p, 8);
		CHECK_ERR(fault(&v.range), -EBUSY);
		CHECK(!is_there(p + PAGE(2)));
		CHECK_ERR(ask(&v, request[i]), 0);
	}
	/* A thread in the middle of its own invalidation would wait for itself. */
	r = change_of(p, 5, 8);
	start(&r);
	CHECK_ERR(ask(&v, READ), -EBUSY);
	end(&r);
	CHECK_ERR(ask(&v, READ), 0);
	view_close(&v);
}
TWIN(busy_on_a_collision_and_only_then, no_look, BREAK(HMM_OWN_RETRY));
TWIN(busy_on_a_collision_and_only_then, no_callback, BREAK(A1_CALLBACKS));

/* What happens in the middle, each time pages are about to be looked at. */
static struct {
	uintptr_t at;
	unsigned int times; /* to do it; counts down */
	unsigned int calls, calls_after;
	struct test_gate go, done;
	void (*act)(uintptr_t addr);
} middle;

static void in_the_middle(uintptr_t addr)
{
	middle.calls++;
	if (addr < middle.at)
		return;
	if (!middle.times) {
		middle.calls_after++;
		return;
	}
	middle.times--;
	middle.act(addr);
}

static void from_now_on(void (*act)(uintptr_t addr), const void *at, unsigned int times)
{
	memset(&middle, 0, sizeof(middle));
	middle.at = (uintptr_t)at;
	middle.times = times;
	middle.act = act;
	mrn_check_hmm_own_hook = in_the_middle;
}

static void let_other_thread(uintptr_t addr)
{
	test_gate_open(&middle.go);
	test_gate_wait(&middle.done);
}

struct change {
	const char *p;
	size_t from, to;
	bool unmap, leave_open;
	struct mmu_notifier_range r;
};

static void change_when_told(void *arg)
{
	struct change *c = arg;

	test_gate_wait(&middle.go);
	c->r = change_of(c->p, c->from, c->to);
	start(&c->r);
	if (c->unmap)
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)(c->p + PAGE(c->from)),
				  (long)PAGE(c->to - c->from)),
			 0);
	if (!c->leave_open)
		end(&c->r);
	test_gate_open(&middle.done);
}

/* Returns what comes of it when another thread makes that change while page 1024 is looked at. */
static int with_a_change_in_the_middle(struct view *v, unsigned long request, struct change *c)
{
	struct test_thread t;
	int r;

	from_now_on(let_other_thread, c->p + PAGE(1024), 1);
	test_thread(&t, change_when_told, c);
	r = ask(v, request);
	test_join(&t);
	CHECK_EQ(middle.times, 0);
	mrn_check_hmm_own_hook = NULL;
	return r;
}

/* ------------------------------------------------------------------------------------- descriptors */

/* The two numbers that the call is going to have, and a file in which everything is there. */
static int numbers[2], all_there;

static void next_numbers(void)
{
	for (int i = 0; i < 2; i++)
		CHECK((numbers[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	for (int i = 0; i < 2; i++)
		close(numbers[i]);
}

static void make_all_there(const char *p, size_t n)
{
	uint64_t entry[64];
	off_t at = (off_t)((uintptr_t)p / PAGE(1) * sizeof(entry[0]));

	CHECK(n <= 64);
	for (size_t i = 0; i < n; i++)
		entry[i] = MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_EXCLUSIVE | 4711;
	all_there = memfd_create("all there", MFD_CLOEXEC);
	CHECK(all_there >= 0);
	CHECK_EQ(pwrite(all_there, entry, n * sizeof(entry[0]), at),
		 (ssize_t)(n * sizeof(entry[0])));
}

static void exchange_first(uintptr_t addr)
{
	CHECK_EQ(dup2(all_there, numbers[0]), numbers[0]);
}

static void exchange_second(uintptr_t addr)
{
	CHECK_EQ(dup2(all_there, numbers[1]), numbers[1]);
}

static void close_both(uintptr_t addr)
{
	CHECK_EQ(close(numbers[0]), 0);
	CHECK_EQ(close(numbers[1]), 0);
}

/* What is in the number's place is no page map, and not the call's to close. */
static void check_exchanged(struct view *v, const char *p, void (*act)(uintptr_t), int number)
{
	struct stat st, other;

	next_numbers();
	from_now_on(act, p, 1);
	CHECK_ERR(ask(v, 0), -EBUSY);
	CHECK_EQ(middle.times, 0);
	mrn_check_hmm_own_hook = NULL;
	if (number >= 0) {
		CHECK_EQ(fstat(numbers[number], &st), 0);
		CHECK_EQ(fstat(all_there, &other), 0);
		CHECK_EQ(st.st_ino, other.st_ino);
		close(numbers[number]);
	}
	CHECK_ERR(ask(v, 0), 0);
	check_all(v, 0, 8, 0);
}

TEST_EACH_KERNEL(descriptors_that_change_meanwhile)
{
	char *p = map(8, RW, ANON, -1);
	struct view v;

	view_open(&v, p, 8);
	make_all_there(p, 8);
	check_exchanged(&v, p, exchange_first, 0);
	check_exchanged(&v, p, exchange_second, 1);
	check_exchanged(&v, p, close_both, -1);
	view_close(&v);
}
TWIN(descriptors_that_change_meanwhile, no_look, BREAK(HMM_OWN_FD));

/* ------------------------------------------------------------------------------ more collisions */

TEST_EACH_KERNEL(a_collision_while_it_runs)
{
	enum { N = 8192 };
	char *p = map(N + 1, RW, ANON, -1);
	struct change c = {.p = p};
	struct view v;

	view_open(&v, p, N);
	for (int i = 0; i < 3; i++) {
		unsigned long request = i == 0 ? 0 : i == 1 ? READ : WRITE;

		/* Beside it. */
		c.from = N;
		c.to = N + 1;
		CHECK_ERR(with_a_change_in_the_middle(&v, request, &c), 0);
		CHECK(middle.calls_after);
		/* A page that it has been at, and one that it has yet to come to. */
		for (c.from = 1; c.from < N; c.from += 7000) {
			c.to = c.from + 1;
			CHECK_ERR(with_a_change_in_the_middle(&v, request, &c), -EBUSY);
			/* At once: nothing was looked at or brought in after that. */
			CHECK_EQ(middle.calls_after, 0);
		}
		/* One that goes on. */
		c.from = 5;
		c.to = 6;
		c.leave_open = true;
		CHECK_ERR(with_a_change_in_the_middle(&v, request, &c), -EBUSY);
		end(&c.r);
		c.leave_open = false;
		CHECK_ERR(ask(&v, request), 0);
	}
	view_close(&v);
}
TWIN(a_collision_while_it_runs, no_look, BREAK(HMM_OWN_RETRY));

/* What is seen in the middle of a change is no answer: a mapping that goes is a collision, not -EFAULT. */
TEST_EACH_KERNEL(a_collision_is_more_than_an_error)
{
	enum { N = 4096 };
	char *p = map(N, RW, ANON, -1);
	struct change c = {.p = p, .from = 1024, .to = N, .unmap = true};
	struct view v;

	zero_page_or_skip();
	view_open(&v, p, N);
	CHECK_ERR(with_a_change_in_the_middle(&v, READ, &c), -EBUSY);
	CHECK_ERR(ask(&v, READ), -EFAULT);
	CHECK_ERR(ask(&v, 0), 0);
	check_all(&v, 0, 1024, HMM_PFN_VALID);
	check_all(&v, 1024, N, HMM_PFN_ERROR);
	view_close(&v);
}
TWIN(a_collision_is_more_than_an_error, no_look, BREAK(HMM_OWN_RETRY));

/* ----------------------------------------------------------- changes that nobody has announced */

static char *victim;

/* A page that goes, as by reclaim, between bringing in and looking. */
static void take_away(uintptr_t addr)
{
	zap(victim, 1);
}

TEST_EACH_KERNEL(pages_that_go_again)
{
	char *p = map(600, RW, ANON, -1);
	struct view v;

	zero_page_or_skip();
	victim = p + PAGE(300);
	view_open(&v, p, 600);
	for (int i = 0; i < 2; i++) {
		unsigned long request = i ? WRITE : READ;

		for (unsigned int times = 1; times < 40; times += 13) {
			zap(p, 600);
			from_now_on(take_away, p, times);
			CHECK_ERR(ask(&v, request), 0);
			CHECK_EQ(middle.times, 0);
			check_all(&v, 0, 600, i ? HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID);
		}
		/* For ever: it ends all the same. */
		zap(p, 600);
		from_now_on(take_away, p, -1u);
		CHECK_ERR(ask(&v, request), -ENOMEM);
		CHECK(middle.calls < 200);
	}
	/* A snapshot says what is there, and is content. */
	CHECK_ERR(ask(&v, 0), 0);
	mrn_check_hmm_own_hook = NULL;
	view_close(&v);
}

/* As another thread that forks, past every library: the pages are no longer this process's alone. */
static pid_t sharer[8];
static unsigned int sharers;

static void share(uintptr_t addr)
{
	long child = mrn_sys6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);

	if (child == 0)
		for (;;)
			mrn_sys4(SYS_ppoll, 0, 0, 0, 0);
	CHECK(child > 0 && sharers < 8);
	sharer[sharers++] = (pid_t)child;
}

TEST_EACH_KERNEL(pages_that_are_shared_again)
{
	char *p = map(4, RW, ANON, -1);
	struct view v;

	view_open(&v, p, 4);
	memset(p, 1, PAGE(4));
	from_now_on(share, p, 1);
	CHECK_ERR(ask(&v, WRITE), 0);
	CHECK_EQ(middle.times, 0);
	check_all(&v, 0, 4, HMM_PFN_VALID | HMM_PFN_WRITE);
	for (size_t i = 0; i < 4; i++)
		CHECK(entry_of(p + PAGE(i)) & MRN_PAGEMAP_EXCLUSIVE);
	/* Each time: nothing has been announced, and the kernel has made them writable twice. */
	from_now_on(share, p, -1u);
	CHECK_ERR(ask(&v, WRITE), 0);
	CHECK_EQ(middle.calls, 2);
	check_all(&v, 0, 4, HMM_PFN_VALID | HMM_PFN_WRITE);
	mrn_check_hmm_own_hook = NULL;
	while (sharers) {
		CHECK_EQ(kill(sharer[--sharers], SIGKILL), 0);
		CHECK_EQ(waitpid(sharer[sharers], NULL, 0), sharer[sharers]);
	}
	view_close(&v);
}

static void unmap_silently(uintptr_t addr)
{
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)victim, (long)PAGE(1)), 0);
}

static void protect_silently(uintptr_t addr)
{
	CHECK_EQ(mrn_sys3(SYS_mprotect, (long)victim, (long)PAGE(1), PROT_READ), 0);
}

/* The kernel says what is the matter, and no collision is made of it. */
TEST_EACH_KERNEL(mappings_that_change_unannounced)
{
	struct view v;
	char *p;

	zero_page_or_skip();
	p = map(8, RW, ANON, -1);
	victim = p + PAGE(5);
	view_open(&v, p, 8);
	from_now_on(unmap_silently, p, 1);
	CHECK_ERR(ask(&v, READ), -EFAULT);
	mrn_check_hmm_own_hook = NULL;
	view_close(&v);

	p = map(8, RW, ANON, -1);
	victim = p + PAGE(5);
	view_open(&v, p, 8);
	from_now_on(protect_silently, p, 1);
	CHECK_ERR(ask(&v, READ), 0);
	mrn_check_hmm_own_hook = NULL;
	check_all(&v, 0, 8, HMM_PFN_VALID);
	CHECK_ERR(ask(&v, WRITE), -EPERM);
	view_close(&v);
}

/* --------------------------------------------------------------------------------------------- a race */

/*
 * One thread changes pages, announced, and writes down what they are now; others ask, and compare with
 * what is written down, when they could have published. Reading it goes by the kernel, which reports a
 * hole instead of a signal.
 */
#define RACE_PAGES 8
#define HOLE	   (-1)
#define NO_ACCESS  (-2)

static struct {
	char *p;
	/* Changed inside an invalidation, read with the driver lock held after the retry check. */
	int holds[RACE_PAGES]; /* the page's first word; or HOLE, NO_ACCESS */
	bool read_only[RACE_PAGES];
	int changed; /* generations, complete */
	int seen;    /* the first asker has answers of after this one */
	uint64_t published, collisions, refused;
	bool waiting; /* the changer, for the first asker */
	bool stop, ignore_retry;
} race;

static void change_page(struct test_rand *rand, size_t i, int generation)
{
	char *at = race.p + PAGE(i);
	unsigned int what = (unsigned int)test_rand_below(rand, 12);
	int prot = what == 1 ? PROT_NONE : RW;

	if (what == 0 && race.holds[i] != HOLE) {
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)at, (long)PAGE(1)), 0);
		race.holds[i] = HOLE;
		return;
	}
	if (what == 2 && race.holds[i] >= 0) {
		zap(at, 1);
		race.holds[i] = 0;
		return;
	}
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)at, (long)PAGE(1), prot, ANON | MAP_FIXED, -1, 0), at);
	race.read_only[i] = what == 3;
	race.holds[i] = prot == PROT_NONE ? NO_ACCESS : generation;
	if (prot != PROT_NONE)
		*(int *)at = generation;
	if (what == 3)
		CHECK_EQ(mrn_sys3(SYS_mprotect, (long)at, (long)PAGE(1), PROT_READ), 0);
}

static void changer(void *arg)
{
	int changes = test_is_sanitized() ? 600 : 3000;
	struct test_rand rand;

	test_rand_init(&rand, 1);
	for (int g = 1; g <= changes; g++) {
		size_t i = test_rand_below(&rand, RACE_PAGES);
		struct mmu_notifier_range r = change_of(race.p, i, i + 1);

		start(&r);
		change_page(&rand, i, g);
		end(&r);
		__atomic_store_n(&race.changed, g, __ATOMIC_RELEASE);
		/* In between, somebody gets to the end; and there are storms. */
		if (test_rand_below(&rand, 2) == 0) {
			__atomic_store_n(&race.waiting, true, __ATOMIC_RELEASE);
			while (__atomic_load_n(&race.seen, __ATOMIC_ACQUIRE) != g)
				sched_yield();
			__atomic_store_n(&race.waiting, false, __ATOMIC_RELEASE);
		}
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
}

/* What the pages hold by these translations, as pinning them would have found it. */
static void read_words(const struct view *v, int word[RACE_PAGES])
{
	for (size_t i = 0; i < RACE_PAGES; i++) {
		struct iovec to = {.iov_base = &word[i], .iov_len = sizeof(*word)};
		struct iovec from = {.iov_base = race.p + PAGE(i), .iov_len = sizeof(*word)};

		word[i] = HOLE;
		if (flags(v, i) & HMM_PFN_VALID)
			process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	}
}

static void compare_page(const struct view *v, size_t i, int word)
{
	unsigned long request = v->range.default_flags & WRITE, f = flags(v, i);

	CHECK_EQ(request & ~f, 0);
	if (f & HMM_PFN_ERROR) {
		CHECK(race.holds[i] < 0);
		return;
	}
	CHECK_MSG(race.holds[i] >= 0, "page %zu: %#lx, but no memory", i, v->pfns[i]);
	if (f & HMM_PFN_WRITE)
		CHECK_MSG(!race.read_only[i], "page %zu: %#lx, but read-only", i, v->pfns[i]);
	if (f & HMM_PFN_VALID)
		CHECK_EQ(word, race.holds[i]);
}

static void compare(const struct view *v, int r, const int word[RACE_PAGES])
{
	bool none = false, read_only = false;

	for (size_t i = 0; i < RACE_PAGES; i++) {
		none |= race.holds[i] < 0;
		read_only |= race.holds[i] >= 0 && race.read_only[i];
	}
	if (r == -EFAULT)
		CHECK(none && v->range.default_flags);
	else if (r == -EPERM)
		CHECK(read_only && (v->range.default_flags & HMM_PFN_REQ_WRITE));
	else
		CHECK_ERR(r, 0);
	for (size_t i = 0; r == 0 && i < RACE_PAGES; i++)
		compare_page(v, i, word[i]);
}

/* Until another change is complete, unless none will come. */
static void linger(int changed)
{
	while (__atomic_load_n(&race.changed, __ATOMIC_ACQUIRE) == changed &&
	       !__atomic_load_n(&race.waiting, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&race.stop, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void asker(void *arg)
{
	static const unsigned long request[] = {0, READ, WRITE};
	const unsigned int id = *(unsigned int *)arg;
	uint64_t published = 0, collisions = 0, refused = 0;
	struct test_rand rand;
	int seen = -1, word[RACE_PAGES];
	struct view v;

	test_rand_init(&rand, 2 + id);
	view_open(&v, race.p, RACE_PAGES);
	while (!__atomic_load_n(&race.stop, __ATOMIC_ACQUIRE)) {
		int changed = __atomic_load_n(&race.changed, __ATOMIC_ACQUIRE), r;

		/* A mutex is not fair: without news, leave it to the callbacks. */
		if (changed == seen) {
			sched_yield();
			continue;
		}
		r = ask(&v, request[test_rand_below(&rand, 3)]);
		read_words(&v, word);
		if (test_rand_below(&rand, 4) == 0)
			linger(changed);
		if (r == -EBUSY && !race.ignore_retry) {
			collisions++;
			continue;
		}
		pthread_mutex_lock(&driver_lock);
		if (!race.ignore_retry && mmu_range_read_retry(&v.mrn, v.range.notifier_seq)) {
			pthread_mutex_unlock(&driver_lock);
			collisions++;
			continue;
		}
		compare(&v, r, word);
		pthread_mutex_unlock(&driver_lock);
		published += r == 0;
		refused += r != 0;
		seen = changed;
		if (id == 0)
			__atomic_store_n(&race.seen, seen, __ATOMIC_RELEASE);
	}
	view_close(&v);
	__atomic_fetch_add(&race.published, published, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race.collisions, collisions, __ATOMIC_RELAXED);
	__atomic_fetch_add(&race.refused, refused, __ATOMIC_RELAXED);
}

/* Between two mappings: what has been read is old when the call goes on. */
static void give_way(uintptr_t addr)
{
	sched_yield();
}

TEST_EACH_KERNEL(changes_while_others_ask, .timeout_s = 60)
{
	struct test_thread t[3];
	unsigned int id[2] = {0, 1};

	race.p = map(RACE_PAGES, RW, ANON, -1);
	mrn_check_hmm_own_hook = give_way;
	test_thread(&t[0], asker, &id[0]);
	test_thread(&t[1], asker, &id[1]);
	test_thread(&t[2], changer, NULL);
	for (int i = 0; i < 3; i++)
		test_join(&t[i]);
	NOTE("published %llu, refused %llu, collisions %llu", (unsigned long long)race.published,
	     (unsigned long long)race.refused, (unsigned long long)race.collisions);
	CHECK(race.published && race.refused);
}
/* A consumer that does not look for a retry; and hmm_range_fault must not save it. */
TWIN(changes_while_others_ask, no_retry_check, race.ignore_retry = true; BREAK(HMM_OWN_RETRY));
