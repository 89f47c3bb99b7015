/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that truncate a file that is mapped here, and block: on a lease that another process has. What they hold meanwhile
 * is the file's mappings and nothing else; and however they end, they hold nothing afterwards.
 */
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mrn/mrn.h>

#include "core/mm.h"
#include "os/syscall.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#define PAGE  4096L
#define STAGE 0x7e9000001000L
#define S(n)  (STAGE + (n)*PAGE)
#define TRUNC (O_WRONLY | O_TRUNC | O_CLOEXEC)
#ifdef MRN_TEST_INTERPOSED
#define IS_INTERPOSED 1
#else
#define IS_INTERPOSED 0
#endif

/* ----------------------------------------------------------------------------------- the file and its lease */

static char path[64];
static pid_t holder;
static int from_holder[2];

static void say(char c)
{
	CHECK_EQ(write(from_holder[1], &c, 1), 1);
}

static char hear(void)
{
	char c = 0;

	CHECK_EQ(read(from_holder[0], &c, 1), 1);
	return c;
}

/* Somebody is in the middle of an open that conflicts. */
static void on_break(int sig)
{
	(void)sig;
	say('b');
}

/* The test has ended, one way or another. */
static void on_orphaned(int sig)
{
	(void)sig;
	_exit(0);
}

_Noreturn static void hold_lease(void)
{
	struct sigaction sa = {.sa_handler = on_break};
	int fd = open(path, O_RDONLY);

	sigaction(SIGIO, &sa, NULL);
	sa.sa_handler = on_orphaned;
	sigaction(SIGTERM, &sa, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	say(fd >= 0 && !fcntl(fd, F_SETLEASE, F_RDLCK) ? 'y' : 'n');
	for (;;)
		pause();
}

static void lay(long addr, long size, int prot, int flags, int fd)
{
	CHECK_EQ(mrn_sys6(SYS_mmap, addr, size, prot, flags | MAP_FIXED, fd, 0), addr);
}

/* A file of a page, mapped at each of these pages; between them is memory that is nobody's but ours. */
static void make_file(const int *at, size_t n)
{
	char page[PAGE];
	int fd;

	fd = open(test_path(path, sizeof(path), "blocking"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		  0600);
	CHECK(fd >= 0);
	memset(page, 'A', sizeof(page));
	CHECK_EQ(write(fd, page, PAGE), PAGE);
	close(fd);
	lay(S(0), 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fd = open(path, O_RDONLY);
	for (size_t i = 0; i < n; i++)
		lay(S(at[i]), PAGE, PROT_READ, MAP_SHARED, fd);
	close(fd);
}

static void lease_or_skip(void)
{
	CHECK_EQ(pipe(from_holder), 0);
	holder = fork();
	CHECK(holder >= 0);
	if (!holder)
		hold_lease();
	if (hear() == 'y')
		return;
	kill(holder, SIGKILL);
	SKIP("no leases on /tmp");
}

static void end_lease(void)
{
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
}

/* --------------------------------------------------------------------------------------- the notifiers */

struct counter {
	struct mmu_range_notifier mrn; /* first */
	unsigned int calls;
};

static bool count(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		  uint64_t seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, seq);
	__atomic_fetch_add(&((struct counter *)mrn)->calls, 1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops count_ops = {.invalidate = count};
static struct counter shown, between;

static void watch(struct counter *c, long addr)
{
	*c = (struct counter){.mrn.ops = &count_ops};
	CHECK_EQ(mmu_range_notifier_insert(&c->mrn, (uintptr_t)addr, PAGE, mrn_mm_self()), 0);
}

static void set_up(void)
{
	const int at[] = {0, 63};

	make_file(at, 2);
	lease_or_skip();
	watch(&shown, S(63));
	watch(&between, S(30));
}

static bool is_held(long addr)
{
	return mrn_tokens_overlap(mrn_mm_self(), (uintptr_t)addr, (uintptr_t)(addr + PAGE));
}

/* Somebody is in the open. */
static void check_held(void)
{
	uint64_t seq;
	struct timespec now = {0, 0};

	CHECK(is_held(S(0)));
	CHECK(is_held(S(63)));
	CHECK_EQ(__atomic_load_n(&shown.calls, __ATOMIC_RELAXED), 1);
	CHECK_EQ(mrn_range_read_begin_until(&between.mrn, &now, &seq), 0);
	CHECK_EQ(__atomic_load_n(&between.calls, __ATOMIC_RELAXED), 0);
}

static void check_free(void)
{
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	CHECK_EQ(mmu_range_notifier_remove(&shown.mrn), 0);
	CHECK_EQ(mmu_range_notifier_remove(&between.mrn), 0);
	CHECK_EQ(between.calls, 0);
}

/* ----------------------------------------------------------------------------------------- who opens */

static int by_open(void)
{
	return open(path, TRUNC);
}

static int by_creat(void)
{
	return creat(path, 0600);
}

static int by_fopen(void)
{
	FILE *f = fopen(path, "w");

	return f ? fileno(f) : -1;
}

static int by_openat2(void)
{
	struct open_how how = {.flags = TRUNC};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static int by_truncate(void)
{
	return truncate(path, 0);
}

static int (*way)(void) = by_open;

static int result, error;
static struct test_gate left, handled, go_on;
static sigjmp_buf out;
static bool jumps;
static unsigned int signals;

static void *open_it(void *arg)
{
	(void)arg;
	if (sigsetjmp(out, 1)) {
		test_gate_open(&left);
		test_gate_wait(&go_on);
		/* What it has left is noticed at the latest where the thread makes such a call again, or any, under dispatch. */
		close(open("/proc/self/comm", TRUNC));
		truncate(path, 0);
		return NULL;
	}
	result = way();
	error = errno;
	return NULL;
}

static void on_signal(int sig)
{
	(void)sig;
	/* A call of its own. */
	CHECK(mrn_sys0(SYS_getpid) == getpid() && getppid() > 0);
	close(open("/dev/null", O_WRONLY | O_TRUNC));
	signals++;
	if (jumps)
		siglongjmp(out, 1);
	test_gate_open(&handled);
}

static pthread_t start_and_block(int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
	pthread_t t;

	sigaction(SIGUSR1, &sa, NULL);
	CHECK_EQ(pthread_create(&t, NULL, open_it, NULL), 0);
	CHECK_EQ(hear(), 'b');
	check_held();
	return t;
}

static void *joined(pthread_t t)
{
	void *r;

	CHECK_EQ(pthread_join(t, &r), 0);
	return r;
}

/* ------------------------------------------------------------------------------------------------ tests */

TEST(elsewhere_nobody_waits)
{
	pthread_t t;

	set_up();
	t = start_and_block(0);
	end_lease();
	joined(t);
	CHECK(result >= 0);
	check_free();
}
TWIN(elsewhere_nobody_waits, one_token_over_all, BREAK(BRACKET_HULL));

static void interrupted(int (*by)(void))
{
	pthread_t t;

	set_up();
	way = by;
	t = start_and_block(0);
	pthread_kill(t, SIGUSR1);
	joined(t);
	CHECK_EQ(result, -1);
	CHECK_EQ(error, EINTR);
	CHECK_EQ(signals, 1);
	check_free();
	end_lease();
}

TEST(a_signal_interrupts_open)
{
	interrupted(by_open);
}

TEST(a_signal_interrupts_creat)
{
	interrupted(by_creat);
}

TEST(a_signal_interrupts_fopen)
{
	interrupted(by_fopen);
}

TEST(a_signal_interrupts_openat2)
{
	interrupted(by_openat2);
}

TEST(a_signal_interrupts_truncate)
{
	interrupted(by_truncate);
}

/* For tests whose handler runs inside the call that it interrupts. */
static void needs_handlers_at_once(void)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer runs a handler when the call that it has interrupted is over");
}

/* The handler runs, on whichever stack, and makes calls; the open goes on, and has its tokens all through. */
static void begun_again(int flags)
{
	pthread_t t;

	needs_handlers_at_once();
	set_up();
	t = start_and_block(SA_RESTART | flags);
	pthread_kill(t, SIGUSR1);
	test_gate_wait(&handled);
	check_held();
	end_lease();
	joined(t);
	CHECK(result >= 0);
	check_free();
}

TEST(begun_again_after_a_handler)
{
	begun_again(0);
}

static char alternate[64 << 10];

static void *open_with_alternate_stack(void *arg)
{
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	open_it(arg);
	/* AddressSanitizer unmaps what a thread leaves as its alternate stack. */
	CHECK_EQ(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
	return NULL;
}

TEST(begun_again_after_a_handler_on_another_stack)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
	pthread_t t;

	needs_handlers_at_once();
	set_up();
	sigaction(SIGUSR1, &sa, NULL);
	CHECK_EQ(pthread_create(&t, NULL, open_with_alternate_stack, NULL), 0);
	CHECK_EQ(hear(), 'b');
	check_held();
	pthread_kill(t, SIGUSR1);
	test_gate_wait(&handled);
	check_held();
	end_lease();
	joined(t);
	CHECK(result >= 0);
	check_free();
}

TEST(left_by_a_jump)
{
	pthread_t t;

	set_up();
	jumps = true;
	t = start_and_block(0);
	pthread_kill(t, SIGUSR1);
	test_gate_wait(&left);
	end_lease();
	test_gate_open(&go_on);
	joined(t);
	CHECK_EQ(signals, 1);
	check_free();
}

static bool count_and_raise(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			    uint64_t seq)
{
	count(mrn, range, seq);
	if (jumps)
		mrn_sys3(SYS_tgkill, getpid(), mrn_sys0(SYS_gettid), SIGUSR1);
	return true;
}

static void jump(int sig)
{
	(void)sig;
	siglongjmp(out, 1);
}

/* The signal comes while notifiers are told: it has to wait until they have been. */
TEST(left_by_a_jump_before_the_call)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = count_and_raise};
	struct sigaction action = {.sa_handler = jump};
	const int at[] = {0, 63};

	needs_handlers_at_once();
	make_file(at, 2);
	watch(&between, S(30));
	shown = (struct counter){.mrn.ops = &ops};
	CHECK_EQ(mmu_range_notifier_insert(&shown.mrn, S(63), PAGE, mrn_mm_self()), 0);
	sigaction(SIGUSR1, &action, NULL);
	jumps = true;
	if (!sigsetjmp(out, 1)) {
		open(path, TRUNC);
		FAIL("no jump");
	}
	jumps = false;
	close(open(path, TRUNC));
	check_free();
}
#ifdef MRN_TEST_INTERPOSED
/* Dispatch announces where all signals are blocked. */
TWIN(left_by_a_jump_before_the_call, at_once, BREAK(BRACKET_SIGNALS));
#endif

TEST(cancelled)
{
	pthread_t t;

	set_up();
	t = start_and_block(0);
	CHECK_EQ(pthread_cancel(t), 0);
	CHECK_EQ(joined(t), PTHREAD_CANCELED);
	check_free();
	end_lease();
}

/* The child has a copy of the stack, and of what its parent holds: which is not its own. */
static void fork_in_handler(int sig)
{
	pid_t child = fork();

	(void)sig;
	if (!child)
		_exit(0);
	CHECK_EQ(waitpid(child, NULL, 0), child);
	test_gate_open(&handled);
}

TEST(a_handler_forks)
{
	struct sigaction sa = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
	pthread_t t;

	needs_handlers_at_once();
	set_up();
	t = start_and_block(0);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_kill(t, SIGUSR1);
	test_gate_wait(&handled);
	CHECK(is_held(S(0)));
	end_lease();
	joined(t);
	CHECK(result >= 0);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
}

/* More mappings than tokens: each is covered, and what is not near any of them is not. */
TEST(more_mappings_than_tokens)
{
	enum { MAPPINGS = 20 };
	struct counter each[MAPPINGS];
	int at[MAPPINGS];

	for (int i = 0; i < MAPPINGS; i++)
		at[i] = 4 * i + (i >= 10 ? 100 : 0);
	make_file(at, MAPPINGS);
	for (int i = 0; i < MAPPINGS; i++)
		watch(&each[i], S(at[i]));
	watch(&between, S(70));
	close(open(path, TRUNC));
	for (int i = 0; i < MAPPINGS; i++) {
		CHECK_EQ(each[i].calls, 1);
		CHECK_EQ(mmu_range_notifier_remove(&each[i].mrn), 0);
	}
	CHECK_EQ(between.calls, 0);
	CHECK_EQ(mmu_range_notifier_remove(&between.mrn), 0);
	CHECK_EQ(__atomic_load_n(&mrn_mm_self()->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
}
TWIN(more_mappings_than_tokens, one_token_over_all, BREAK(BRACKET_HULL));
