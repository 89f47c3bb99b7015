/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Things that programs do with signals, stacks and processes, and that a recorder in front of every call could
 * change: each says in a few lines what happened, the same every time.
 *
 *	corners NAME
 *	corners --list
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096ul
#define SAY(...)                     \
	do {                         \
		printf(__VA_ARGS__); \
		putchar('\n');       \
		fflush(stdout);      \
	} while (0)

static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(99);
	return p;
}

static void churn(int n)
{
	for (int i = 0; i < n; i++) {
		char *p = map(3 * PAGE);

		p[PAGE] = 1;
		madvise(p, PAGE, MADV_DONTNEED);
		munmap(p, 3 * PAGE);
	}
}

static void say_status(const char *who, pid_t pid)
{
	int status = -1;
	pid_t r;

	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r != pid)
		SAY("%s: no child, errno %d", who, errno);
	else if (WIFSIGNALED(status))
		SAY("%s: signal %d", who, WTERMSIG(status));
	else
		SAY("%s: exit %d", who, WEXITSTATUS(status));
}

static void on(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

	if (sigaction(sig, &sa, NULL))
		_exit(98);
}

static volatile sig_atomic_t came, last_code;

static void count(int sig, siginfo_t *info, void *context)
{
	came++;
	last_code = info->si_code;
}

/* ------------------------------------------------------------------------------------- alternate stacks */

static char *use_stack(size_t size)
{
	stack_t ss = {.ss_sp = map(size), .ss_size = size};

	if (sigaltstack(&ss, NULL))
		SAY("sigaltstack: errno %d", errno);
	return ss.ss_sp;
}

static void altstack_unmapped(void)
{
	char *p = use_stack(65536);

	SAY("munmap: %d", munmap(p, 65536));
	churn(10);
}

static void altstack_discarded(void)
{
	char *p = use_stack(65536);

	on(SIGUSR1, count, SA_ONSTACK);
	SAY("madvise: %d", madvise(p, 65536, MADV_DONTNEED));
	raise(SIGUSR1);
	SAY("replaced: %d", mmap(p, 65536, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	raise(SIGUSR1);
	SAY("came: %d", (int)came);
}

static void altstack_forbidden_for_a_while(void)
{
	char *p = use_stack(65536);

	on(SIGUSR1, count, SA_ONSTACK);
	SAY("none: %d", mprotect(p, 65536, PROT_NONE));
	churn(10);
	SAY("back: %d", mprotect(p, 65536, PROT_READ | PROT_WRITE));
	raise(SIGUSR1);
	SAY("came: %d", (int)came);
}

static int on_it, nested;
static char *altstack;

static void deep(int sig, siginfo_t *info, void *context)
{
	char here;

	on_it = &here >= altstack && &here < altstack + 65536;
	churn(3);
	if (sig == SIGUSR1 && nested)
		raise(SIGUSR2);
	came++;
}

static void altstack_nested(void)
{
	stack_t ss;

	altstack = use_stack(65536);
	nested = 1;
	on(SIGUSR1, deep, SA_ONSTACK);
	on(SIGUSR2, deep, SA_ONSTACK);
	raise(SIGUSR1);
	SAY("came: %d, on the alternate stack: %d", (int)came, on_it);
	sigaltstack(NULL, &ss);
	SAY("flags: %d, size: %zu, the same: %d", ss.ss_flags, ss.ss_size, ss.ss_sp == altstack);
}

/* Below an alternate stack nothing may change. */
static void use_stack_of(size_t size, void (*handler)(int, siginfo_t *, void *), void (*then)(void))
{
	const size_t below = 8192;
	char *p = map(size + below);
	stack_t ss = {.ss_sp = p + below, .ss_size = size};
	size_t changed = 0;

	memset(p, 0x5a, below);
	SAY("sigaltstack: %d", sigaltstack(&ss, NULL));
	on(SIGUSR1, handler, SA_ONSTACK);
	then();
	for (size_t i = 0; i < below; i++)
		changed += p[i] != 0x5a;
	SAY("came: %d, changed below: %zu", (int)came, changed);
}

static void raise_it(void)
{
	raise(SIGUSR1);
}

/* As small as the system advises. */
static void altstack_small(void)
{
	use_stack_of((size_t)sysconf(_SC_SIGSTKSZ), deep, raise_it);
}

static void write_only(int sig, siginfo_t *info, void *context)
{
	came += write(1, "on it\n", 6) == 6;
}

static void churn_and_raise(void)
{
	churn(3);
	raise(SIGUSR1);
}

/*
 * What some runtimes put under each thread, though a frame takes a third of it and more: all calls are caught there,
 * and a handler that says what happened runs there.
 */
static void altstack_of_8_kib(void)
{
	use_stack_of(8192, write_only, churn_and_raise);
}

/* A stack of a coroutine just above the alternate stack. */
static ucontext_t back, there;
static char *coroutine_memory;

static void coroutine(void)
{
	stack_t ss = {.ss_sp = coroutine_memory, .ss_size = 32768}, was;

	sigaltstack(NULL, &was);
	SAY("on it: %d", !!(was.ss_flags & SS_ONSTACK));
	SAY("set again: %d", sigaltstack(&ss, NULL));
	SAY("disabled: %d", sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
	swapcontext(&there, &back);
}

static void altstack_below_a_coroutine(void)
{
	stack_t ss = {.ss_size = 32768};

	coroutine_memory = map(65536);
	ss.ss_sp = coroutine_memory;
	sigaltstack(&ss, NULL);
	getcontext(&there);
	there.uc_stack.ss_sp = coroutine_memory + 32768;
	there.uc_stack.ss_size = 32768;
	makecontext(&there, coroutine, 0);
	swapcontext(&back, &there);
	SAY("came back");
}

static sigjmp_buf jump;

static void jump_out(int sig, siginfo_t *info, void *context)
{
	came++;
	siglongjmp(jump, 1);
}

static __attribute__((noinline)) int endless(int n)
{
	volatile char frame[1024];

	frame[0] = (char)n;
	return endless(n + 1) + frame[0];
}

static void stack_overflow(void)
{
	struct rlimit limit = {1 << 20, 1 << 20};

	setrlimit(RLIMIT_STACK, &limit);
	use_stack(65536);
	on(SIGSEGV, jump_out, SA_ONSTACK);
	for (volatile int i = 0; i < 20; i++) {
		if (!sigsetjmp(jump, 1))
			endless(0);
		churn(1);
	}
	SAY("came: %d", (int)came);
}

/* Another thread forbids it for a while, again and again, as LTP's signal06 has it. */
static volatile int enough;

static void *forbid_it(void *stack)
{
	while (!enough) {
		mprotect(stack, 65536, PROT_READ);
		mprotect(stack, 65536, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

static void altstack_of_another_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, forbid_it, use_stack(65536)))
		_exit(87);
	for (int i = 0; i < 30000; i++)
		syscall(SYS_getppid);
	enough = 1;
	pthread_join(t, NULL);
	churn(10);
	SAY("done");
}

/* -------------------------------------------------------------------------------------------- own stacks */

/* Unmaps the stack that it is on, and ends without one, as musl's threads do. */
static int end_without_stack(void *stack)
{
	__asm__ volatile("syscall\n\t"
			 "movl %0, %%eax\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "syscall"
			 :
			 : "i"(SYS_exit), "a"(SYS_munmap), "D"(stack), "S"(65536l)
			 : "rcx", "r11", "memory");
	return 0;
}

/* The same, on an alternate stack in the same memory. */
static int end_without_either(void *stack)
{
	stack_t ss = {.ss_sp = stack, .ss_size = 32768};

	sigaltstack(&ss, NULL);
	return end_without_stack(stack);
}

static void own_stacks_of_threads(void)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		    CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	static int tid;

	for (int i = 0; i < 40; i++) {
		char *stack = map(65536);

		tid = 1;
		if (clone(i % 2 ? end_without_either : end_without_stack, stack + 65536, flags,
			  stack, NULL, NULL, &tid) < 0)
			_exit(88);
		while (__atomic_load_n(&tid, __ATOMIC_ACQUIRE))
			syscall(SYS_futex, &tid, 0, 1, NULL, NULL, 0);
	}
	churn(10);
	SAY("ended");
}

/* Forbids the stack that it is on, and allows it again, without using it in between. */
static void *forbid_own(void *stack)
{
	register long flags __asm__("r12") = PROT_READ | PROT_WRITE;
	long none, again;

	__asm__ volatile("syscall\n\t"
			 "movq %%rax, %%r13\n\t"
			 "movl %3, %%eax\n\t"
			 "movq %%r12, %%rdx\n\t"
			 "syscall\n\t"
			 "movq %%r13, %1"
			 : "=a"(again), "=&r"(none)
			 : "0"(SYS_mprotect), "i"(SYS_mprotect), "D"(stack), "S"(65536l),
			   "d"(PROT_NONE), "r"(flags)
			 : "rcx", "r11", "r13", "memory");
	SAY("none: %ld, back: %ld", none, again);
	churn(5);
	return stack;
}

/* Empties what it does not use. */
static void *empty_own(void *stack)
{
	char here, *top = (char *)((uintptr_t)&here & ~(PAGE - 1));

	for (int i = 0; i < 5; i++)
		SAY("emptied: %d", madvise(stack, (size_t)(top - (char *)stack), MADV_DONTNEED));
	churn(5);
	return stack;
}

/* On a coroutine's stack, for a thread's has its storage, too. */
static void *(*with_own)(void *);
static char *own;

static void use_own(void)
{
	with_own(own);
}

static void on_own(void *(*fn)(void *))
{
	with_own = fn;
	own = map(65536);
	getcontext(&there);
	there.uc_stack.ss_sp = own;
	there.uc_stack.ss_size = 65536;
	there.uc_link = &back;
	makecontext(&there, use_own, 0);
	swapcontext(&back, &there);
	churn(5);
	SAY("back");
}

static void own_stack_forbidden(void)
{
	on_own(forbid_own);
	use_stack(65536);
	on_own(forbid_own);
}

static void own_stack_emptied(void)
{
	on_own(empty_own);
	use_stack(65536);
	on_own(empty_own);
}

/* ------------------------------------------------------------------------------------------ small stacks */

static void *small_thread(void *arg)
{
	churn(20);
	return arg;
}

static void threads_with_least_stacks(void)
{
	pthread_attr_t attr;
	pthread_t t[16];
	int failed = 0;

	pthread_attr_init(&attr);
	SAY("stack size: %d", pthread_attr_setstacksize(&attr, 16384));
	for (int i = 0; i < 16; i++)
		failed += pthread_create(&t[i], &attr, small_thread, NULL);
	for (int i = 0; i < 16; i++)
		failed += pthread_join(t[i], NULL);
	SAY("failed: %d", failed);
}

static void *one_of_many(void *arg)
{
	pthread_barrier_wait(arg);
	churn(2);
	return NULL;
}

static void many_threads(void)
{
	enum { N = 1500 };
	static pthread_t t[N];
	pthread_barrier_t barrier;
	pthread_attr_t attr;
	int failed = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_barrier_init(&barrier, NULL, N + 1);
	for (int i = 0; i < N; i++)
		if (pthread_create(&t[i], &attr, one_of_many, &barrier))
			_exit(97);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < N; i++)
		failed += pthread_join(t[i], NULL);
	SAY("failed: %d", failed);
}

/* --------------------------------------------------------------------------------------------- SIGSYS */

static void sigsys_is_ignored(void)
{
	signal(SIGSYS, SIG_IGN);
	raise(SIGSYS);
	SAY("ignored");
	signal(SIGSYS, SIG_DFL);
	SAY("was default: %d", signal(SIGSYS, SIG_DFL) == SIG_DFL);
	fflush(stdout);
	raise(SIGSYS);
	SAY("still here");
}

static void sigsys_handler(void)
{
	on(SIGSYS, count, 0);
	raise(SIGSYS);
	kill(getpid(), SIGSYS);
	churn(10);
	SAY("came: %d", (int)came);
}

static void mask_full(int sig, siginfo_t *info, void *context)
{
	/* What the thread goes on with: all blocked. */
	sigfillset(&((ucontext_t *)context)->uc_sigmask);
	came++;
}

static void a_handler_blocks_everything_behind_it(void)
{
	sigset_t now;

	on(SIGUSR1, mask_full, 0);
	raise(SIGUSR1);
	churn(3);
	sigprocmask(SIG_SETMASK, NULL, &now);
	SAY("came: %d, USR2 blocked: %d", (int)came, sigismember(&now, SIGUSR2));
}

static void all_signals_blocked(void)
{
	sigset_t all, old;
	struct timespec soon = {0, 1000000};

	sigfillset(&all);
	SAY("block: %d", sigprocmask(SIG_SETMASK, &all, &old));
	churn(5);
	raise(SIGUSR1);
	sigpending(&old);
	SAY("pending: %d", sigismember(&old, SIGUSR1));
	SAY("waited: %d", sigtimedwait(&all, NULL, &soon));
	ppoll(NULL, 0, &soon, &all);
	pselect(0, NULL, NULL, NULL, &soon, &all);
	SAY("done");
}

/* -------------------------------------------------------------------------------------------- sandboxes */

static int filter(const struct sock_filter *code, size_t n)
{
	struct sock_fprog program = {(unsigned short)n, (struct sock_filter *)(uintptr_t)code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define ON(number, what) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, (what))

static void emulate(int sig, siginfo_t *info, void *context)
{
	came++;
	last_code = info->si_code;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void seccomp_traps(void)
{
	const struct sock_filter code[] = {
		LOAD_NUMBER,
		ON(SYS_getpriority, SECCOMP_RET_TRAP),
		ON(SYS_getppid, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	on(SIGSYS, emulate, 0);
	SAY("filter: %d", filter(code, sizeof(code) / sizeof(code[0])));
	SAY("trapped: %ld, came: %d, code: %d", syscall(SYS_getpriority, 0, 0), (int)came,
	    (int)last_code);
	errno = 0;
	SAY("refused: %ld, errno: %d", syscall(SYS_getppid), errno);
	churn(10);
	SAY("done");
}

/* What a browser's sandbox allows, and nothing else. */
static void seccomp_kills(void)
{
	static const int allowed[] = {SYS_read,	      SYS_write, SYS_mmap,     SYS_munmap,
				      SYS_madvise,    SYS_brk,	 SYS_mprotect, SYS_rt_sigreturn,
				      SYS_exit_group, SYS_exit,	 SYS_futex,    SYS_rt_sigprocmask,
				      SYS_gettid};
	struct sock_filter code[2 + 2 * sizeof(allowed) / sizeof(allowed[0])];
	size_t n = 0;
	pid_t pid;

	SAY("begin");
	pid = fork();
	if (!pid) {
		code[n++] = (struct sock_filter)LOAD_NUMBER;
		for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
			struct sock_filter one[] = {
				ON((unsigned int)allowed[i], SECCOMP_RET_ALLOW)};

			memcpy(&code[n], one, sizeof(one));
			n += 2;
		}
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
		if (filter(code, n))
			_exit(96);
		churn(10);
		if (write(1, "in the sandbox\n", 15) != 15)
			_exit(95);
		syscall(SYS_getppid);
		_exit(94);
	}
	say_status("sandboxed", pid);
}

static char *none[] = {NULL};

/* What such a sandbox does not know it kills for. */
static void seccomp_lets_exec_fail(void)
{
	const struct sock_filter code[] = {
		LOAD_NUMBER,
		ON(SYS_execve, SECCOMP_RET_ERRNO | EDOM),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_rseq, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	int r;

	SAY("filter: %d", filter(code, sizeof(code) / sizeof(code[0])));
	for (int i = 0; i < 3; i++) {
		errno = 0;
		r = execve("/bin/true", none, none);
		SAY("exec: %d, errno: %d", r, errno);
		churn(2);
	}
}

static void strict(void)
{
	pid_t pid = fork();

	if (!pid) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
			_exit(93);
		if (write(1, "strict\n", 7) != 7)
			syscall(SYS_exit, 92);
		syscall(SYS_exit, 7);
	}
	say_status("strict", pid);
}

static void new_namespaces(void)
{
	pid_t pid = fork();

	if (!pid) {
		int r = unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_FS |
				CLONE_FILES);
		pid_t inner;

		SAY("unshare: %d", r ? -errno : 0);
		inner = r ? -1 : fork();
		if (!inner) {
			churn(5);
			SAY("number: %d", (int)getpid());
			_exit(3);
		}
		if (inner > 0)
			say_status("inner", inner);
		_exit(2);
	}
	say_status("outer", pid);
}

static void limits(void)
{
	struct rlimit few = {4, 4}, little = {512ul << 20, 512ul << 20};

	SAY("files: %d", setrlimit(RLIMIT_NOFILE, &few));
	SAY("space: %d", setrlimit(RLIMIT_AS, &little));
	churn(10);
	SAY("too much: %d",
	    mmap(NULL, 1ul << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	SAY("free: %d", dup(1));
	SAY("none: %d", dup(1) < 0 ? -errno : 0);
	churn(10);
}

static void all_descriptors_closed(void)
{
	int fd, r = (int)syscall(SYS_close_range, 3, ~0u, 0);

	fd = open("/dev/null", O_RDWR);
	SAY("close_range: %d, next: %d", r, fd);
	churn(10);
	SAY("after: %d", open("/dev/null", O_RDWR));
}

/* -------------------------------------------------------------------------------------------- processes */

static void traced_child(void)
{
	pid_t pid = fork();
	int status, stops = 0;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (int i = 0; i < 5; i++)
			syscall(SYS_getppid);
		_exit(5);
	}
	/* A tracer that counts calls, and hands no signal on. */
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGTRAP)
			stops++;
		if (stops > 1000)
			kill(pid, SIGKILL);
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
	}
	SAY("stops: %s, status %x", stops <= 20 ? "few" : "many", (unsigned int)status);
}

static void vfork_chain(void)
{
	for (volatile int i = 0; i < 50; i++) {
		pid_t pid = vfork();

		if (!pid) {
			pid_t inner = vfork();

			if (!inner)
				_exit(i);
			waitpid(inner, NULL, 0);
			_exit(inner > 0 ? i : 91);
		}
		if (i % 10 == 0)
			say_status("vfork", pid);
		else
			waitpid(pid, NULL, 0);
	}
}

extern char **environ;

static void spawned(void)
{
	char sh[] = "/bin/sh", c[] = "-c", text[] = "echo $0 $#; exit 9",
	     *argv[] = {sh, c, text, NULL};
	posix_spawnattr_t attr;
	sigset_t all;
	pid_t pid;

	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigdefault(&attr, &all);
	sigdelset(&all, SIGCHLD);
	posix_spawnattr_setsigmask(&attr, &all);
	for (int i = 0; i < 5; i++) {
		int r = posix_spawn(&pid, sh, NULL, i % 2 ? &attr : NULL, argv, environ);

		say_status("spawned", pid);
		SAY("spawn: %d", r);
	}
}

static int cloned(void *arg)
{
	churn(5);
	++*(int *)arg;
	return 6;
}

static void clone_stacks(void)
{
	static const int flags[] = {0,
				    CLONE_VM,
				    CLONE_VM | CLONE_VFORK,
				    CLONE_VM | CLONE_FILES | CLONE_FS,
				    CLONE_FILES,
				    CLONE_VM | CLONE_SIGHAND};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		char *stack = map(65536);
		int n = 0;
		pid_t pid = clone(cloned, stack + 65536, flags[i] | SIGCHLD, &n);

		say_status("clone", pid);
		SAY("shared: %d", n);
		munmap(stack, 65536);
	}
}

static void exec_chain(void)
{
	char name
		[] = "/bin/sh",
	    c[] = "-c",
	    text[] =
		    "exec env A=1 sh -c 'exec perl -e \"exec q(sh), q(-c), q(echo \\$A; exit 4)\"'",
	    *argv[] = {name, c, text, NULL};

	execv(name, argv);
}

static void *thread_that_execs(void *arg)
{
	execl("/bin/sh", "sh", "-c", "echo from a thread; exit 8", (char *)NULL);
	return NULL;
}

static void exec_from_a_thread(void)
{
	pthread_t t;

	pthread_create(&t, NULL, thread_that_execs, NULL);
	pthread_join(t, NULL);
}

/* ------------------------------------------------------------------------------------------- interruption */

static void alarm_storm(void)
{
	struct itimerval often = {{0, 200}, {0, 200}};
	int pipes[2];
	char byte;

	on(SIGALRM, count, SA_RESTART);
	if (pipe(pipes))
		_exit(90);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3000; i++) {
		churn(1);
		if (write(pipes[1], "x", 1) != 1 || read(pipes[0], &byte, 1) != 1)
			SAY("pipe: errno %d", errno);
		if (i % 500 == 0) {
			pid_t pid = fork();

			if (!pid) {
				churn(1);
				_exit(1);
			}
			say_status("forked", pid);
		}
	}
	SAY("came: %d", came > 0);
}

static void interrupted(void)
{
	struct itimerval once = {{0, 0}, {0, 20000}};
	int pipes[2];
	char byte;

	on(SIGALRM, count, 0);
	if (pipe(pipes))
		_exit(90);
	setitimer(ITIMER_REAL, &once, NULL);
	errno = 0;
	SAY("read: %zd, errno %d", read(pipes[0], &byte, 1), errno);
	setitimer(ITIMER_REAL, &once, NULL);
	errno = 0;
	SAY("poll: %d, errno %d", poll(NULL, 0, -1), errno);
	setitimer(ITIMER_REAL, &once, NULL);
	errno = 0;
	SAY("pause: %d, errno %d", pause(), errno);
	SAY("came: %d", (int)came);
}

/* Behind the environment, where Go's runtime looks for it. What a recorder has taken out of that must leave it there. */
static void auxiliary_vector(void)
{
	char **p = environ;
	const unsigned long *pair;
	unsigned int n = 0;

	while (*p)
		p++;
	for (pair = (const unsigned long *)(p + 1); pair[0] != AT_NULL; pair += 2)
		n += pair[0] == AT_PAGESZ && pair[1] == PAGE;
	/* It may be empty: then one asks /proc. */
	SAY("right: %d", pair == (const unsigned long *)(p + 1) || n == 1);
}

static const struct {
	const char *name;
	void (*run)(void);
} corners[] = {
#define CORNER(name)        \
	{                   \
#name, name \
	}
	CORNER(a_handler_blocks_everything_behind_it),
	CORNER(alarm_storm),
	CORNER(all_descriptors_closed),
	CORNER(all_signals_blocked),
	CORNER(altstack_below_a_coroutine),
	CORNER(altstack_discarded),
	CORNER(altstack_forbidden_for_a_while),
	CORNER(altstack_nested),
	CORNER(altstack_of_another_thread),
	CORNER(altstack_of_8_kib),
	CORNER(altstack_small),
	CORNER(altstack_unmapped),
	CORNER(auxiliary_vector),
	CORNER(clone_stacks),
	CORNER(exec_chain),
	CORNER(exec_from_a_thread),
	CORNER(interrupted),
	CORNER(limits),
	CORNER(many_threads),
	CORNER(new_namespaces),
	CORNER(own_stack_emptied),
	CORNER(own_stack_forbidden),
	CORNER(own_stacks_of_threads),
	CORNER(seccomp_kills),
	CORNER(seccomp_lets_exec_fail),
	CORNER(seccomp_traps),
	CORNER(sigsys_handler),
	CORNER(sigsys_is_ignored),
	CORNER(spawned),
	CORNER(stack_overflow),
	CORNER(strict),
	CORNER(threads_with_least_stacks),
	CORNER(traced_child),
	CORNER(vfork_chain),
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(corners) / sizeof(corners[0]); i++) {
		if (argc == 2 && !strcmp(argv[1], "--list")) {
			puts(corners[i].name);
		} else if (argc == 2 && !strcmp(argv[1], corners[i].name)) {
			corners[i].run();
			return 0;
		}
	}
	return argc == 2 && !strcmp(argv[1], "--list") ? 0 : 89;
}
