/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests/tools/watch.c has watched: a program that makes a known number of changes, and knows nothing of
 * mrn.
 *
 *	watched WAY [N [M]]
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static char *map(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (p == MAP_FAILED)
		_exit(99);
	return p;
}

/* n of 3 pages each. Not inlined and not a tail call: a test asks for its name. */
__attribute__((noinline)) void watched_unmap(int n);
void watched_unmap(int n)
{
	for (int i = 0; i < n; i++)
		if (munmap(map(3), 3l * PAGE))
			_exit(98);
}

/* n of 2 pages each. */
__attribute__((noinline)) void watched_discard(int n);
void watched_discard(int n)
{
	char *p = map(2);

	for (int i = 0; i < n; i++)
		if (madvise(p, 2l * PAGE, MADV_DONTNEED))
			_exit(97);
}

/* The same under a name that is longer than a table is wide. */
#define LONG(name) name##_that_goes_on_and_on_without_an_end_or_even_a_pause_to_breathe_in
__attribute__((noinline)) void LONG(watched_by_a_name)(int n);
void LONG(watched_by_a_name)(int n)
{
	for (int i = 0; i < n; i++)
		if (munmap(map(3), 3l * PAGE))
			_exit(98);
}

/* libc frees the buffer that was read into: one call that it makes, from here. */
__attribute__((noinline)) void watched_library(void);
void watched_library(void)
{
	char name[] = "/tmp/mrn-watched-XXXXXX", *line = NULL;
	size_t size = 0;
	int fd = mkstemp(name);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w+");

	if (!f)
		_exit(96);
	unlink(name);
	for (int i = 0; i < 1000000; i++)
		putc('x', f);
	rewind(f);
	if (getline(&line, &size, f) != 1000000)
		_exit(95);
	free(line);
	fclose(f);
}

static int wait_for(pid_t pid)
{
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 94;
	return WEXITSTATUS(status);
}

/* Two libraries by turns, each for one call. */
static void take_turns(int n, const char *const library[2], const char *const function[2])
{
	for (int i = 0; i < n; i++) {
		void *handle = dlopen(library[i % 2], RTLD_NOW);
		int (*f)(void) = handle ? (int (*)(void))dlsym(handle, function[i % 2]) : NULL;

		if (!f || f() || dlclose(handle))
			_exit(88);
	}
}

/* As its child finds it after fork. */
static int errno_of_child(void)
{
	pid_t pid;

	errno = 0;
	pid = fork();
	if (!pid)
		_exit(errno);
	return wait_for(pid);
}

static int in_child(int n)
{
	pid_t pid = fork();

	if (!pid) {
		watched_unmap(n);
		_exit(0);
	}
	return wait_for(pid);
}

static int in_executed_child(const char *self, const char *n)
{
	pid_t pid = fork();

	if (!pid) {
		execl(self, self, "count", n, "0", (char *)NULL);
		_exit(93);
	}
	return wait_for(pid);
}

static void *thread(void *arg)
{
	watched_unmap(*(int *)arg);
	return NULL;
}

static void in_threads(int nr, int n)
{
	pthread_t t[64];

	for (int i = 0; i < nr && i < 64; i++)
		if (pthread_create(&t[i], NULL, thread, &n))
			_exit(92);
	for (int i = 0; i < nr && i < 64; i++)
		pthread_join(t[i], NULL);
}

static void close_everything(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = 0; fd < (int)limit.rlim_cur && fd < 65536; fd++)
		close(fd);
}

/* The state of a process as /proc has it. */
static char state_of(pid_t pid)
{
	char path[64], text[256] = "", *after;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		_exit(91);
	close(fd);
	after = strrchr(text, ')');
	return after ? after[2] : '?';
}

/* While the tool, our parent, is stopped: so nobody reads what is recorded. */
static void unmap_unread(int n)
{
	kill(getppid(), SIGSTOP);
	while (state_of(getppid()) != 'T')
		usleep(1000);
	watched_unmap(n);
	kill(getppid(), SIGCONT);
}

/* Says which signal comes, until SIGUSR2; "ready" first. */
static void say_signals(void)
{
	sigset_t set;
	int sig;

	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	puts("ready");
	fflush(stdout);
	while (!sigwait(&set, &sig) && sig != SIGUSR2) {
		printf("%d\n", sig);
		fflush(stdout);
	}
}

static void copy_input(void)
{
	int c;

	while ((c = getchar()) != EOF)
		putchar(c);
	fputs("error\n", stderr);
}

/* As a sandbox might: no dispatch for this process from now on. */
static void forbid_dispatch(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SYSCALL_USER_DISPATCH, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(88);
}

/* Everything that is not in the list kills. */
static void allow(const int *list, size_t n)
{
	struct sock_filter code[64];
	struct sock_fprog program = {.filter = code};
	unsigned short k = 0;

	code[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++) {
		code[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (unsigned int)list[i], 0, 1);
		code[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program.len = k;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(88);
}

/* As a JIT compiler's code would: from memory that has no name, and that nobody has seen before. */
static void unmap_from_nowhere(void)
{
	typedef int unmapper(void *p, size_t n, int (*f)(void *p, size_t n));
	/* sub $8, %rsp; call *%rdx; add $8, %rsp; ret */
	static const unsigned char code[] = {0x48, 0x83, 0xec, 8, 0xff, 0xd2,
					     0x48, 0x83, 0xc4, 8, 0xc3};
	char *p = map(1);

	memcpy(p, code, sizeof(code));
	if (mprotect(p, PAGE, PROT_READ | PROT_EXEC) ||
	    ((unmapper *)(uintptr_t)p)(map(3), 3l * PAGE, munmap))
		_exit(87);
}

static void in_threads(int nr, int n);

/*
 * With those calls alone that this program makes; and, if it is caught, those that dispatch cannot do without: to return from a
 * signal, and where there are new threads and new masks, two more.
 */
static void in_a_sandbox(int n, bool is_caught, bool threads)
{
	int list[24] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_exit_group};
	size_t k = 6;

	if (is_caught)
		list[k++] = SYS_rt_sigreturn;
	if (threads) {
		static const int of_threads[] = {SYS_clone3, SYS_clone,	       SYS_set_robust_list,
						 SYS_rseq,   SYS_exit,	       SYS_rt_sigprocmask,
						 SYS_futex,  SYS_rt_sigaction, SYS_getrandom};

		memcpy(&list[k], of_threads, sizeof(of_threads));
		k += sizeof(of_threads) / sizeof(of_threads[0]);
	}
	if (threads && is_caught) {
		list[k++] = SYS_prctl;
		list[k++] = SYS_process_vm_readv;
	}
	allow(list, k);
	if (threads)
		in_threads(2, n);
	else
		watched_unmap(2 * n);
	watched_discard(n);
#ifdef __x86_64__
	unmap_from_nowhere();
#endif
}

/* By exec's function of that ending; "fd": by fexecve. */
static int run_again(const char *way, char *program, char *n)
{
	char count[] = "count", none[] = "0", *argv[] = {program, count, n, none, NULL};

	if (!strcmp(way, "fd"))
		fexecve(open(program, O_RDONLY | O_CLOEXEC), argv, environ);
	else if (!strcmp(way, "l"))
		execl(program, program, count, n, none, (char *)NULL);
	else if (!strcmp(way, "le"))
		execle(program, program, count, n, none, (char *)NULL, environ);
	else if (!strcmp(way, "lp"))
		execlp(program, program, count, n, none, (char *)NULL);
	else if (!strcmp(way, "v"))
		execv(program, argv);
	else if (!strcmp(way, "ve"))
		execve(program, argv, environ);
	else if (!strcmp(way, "vp"))
		execvp(program, argv);
	else if (!strcmp(way, "vpe"))
		execvpe(program, argv, environ);
	return 90;
}

/* As one does that restores a checkpoint; libc is not asked for the time afterwards. */
static void move_vdso(void)
{
	void *vdso = (void *)getauxval(AT_SYSINFO_EHDR);

	if (!vdso)
		_exit(77);
	/* As a whole, which is how large? */
	for (size_t pages = 1; pages <= 8; pages++)
		if (mremap(vdso, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   map(pages)) != MAP_FAILED)
			return;
	_exit(77);
}

static void say_environment(void)
{
	const char *preload = getenv("LD_PRELOAD"), *watch = getenv("MRN_WATCH");

	printf("%s %s\n", preload ? preload : "none", watch ? watch : "none");
}

/* As a debugger does, but that it hands every signal on: 55 when one is SIGSYS. */
static int trace(char *self, char *n)
{
	bool caught = false;
	int status;
	pid_t pid = fork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(self, self, "count", n, "0", (char *)NULL);
		_exit(96);
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);

		caught |= sig == SIGSYS;
		ptrace(PTRACE_CONT, pid, 0, sig == SIGTRAP ? 0 : sig);
	}
	return caught ? 55 : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const int at_start = errno;
	const char *way = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0, m = argc > 3 ? atoi(argv[3]) : 0;

	if (!strcmp(way, "count")) {
		watched_unmap(n);
		watched_discard(m);
	} else if (!strcmp(way, "vdso")) {
		move_vdso();
		watched_unmap(n);
	} else if (!strcmp(way, "long")) {
		LONG(watched_by_a_name)(n);
	} else if (!strcmp(way, "status")) {
		return n;
	} else if (!strcmp(way, "errno")) {
		return at_start ? at_start : errno_of_child();
	} else if (!strcmp(way, "signal")) {
		return raise(n);
	} else if (!strcmp(way, "fork")) {
		watched_discard(m);
		return in_child(n);
	} else if (!strcmp(way, "spawn")) {
		watched_discard(m);
		return in_executed_child(argv[0], argv[2]);
	} else if (!strcmp(way, "traced")) {
		watched_discard(m);
		return trace(argv[0], argv[2]);
	} else if (!strncmp(way, "exec", 4)) {
		watched_discard(m);
		return run_again(way + 4, argv[0], argv[2]);
	} else if (!strcmp(way, "forbid")) {
		watched_discard(m);
		forbid_dispatch();
		return run_again("v", argv[0], argv[2]);
	} else if (!strcmp(way, "lost")) {
		watched_discard(m);
		if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0))
			return 1;
		watched_unmap(n);
	} else if (!strncmp(way, "sandbox", 7)) {
		in_a_sandbox(n, m, way[7]);
	} else if (!strcmp(way, "threads")) {
		in_threads(n, m);
	} else if (!strcmp(way, "closed")) {
		close_everything();
		watched_unmap(n);
		return in_child(m);
	} else if (!strcmp(way, "library")) {
		watched_library();
	} else if (!strcmp(way, "turns") && argc > 4) {
		take_turns(n, (const char *const[]){argv[3], argv[4]},
			   (const char *const[]){"turns_a", "turns_b"});
	} else if (!strcmp(way, "unread")) {
		unmap_unread(n);
	} else if (!strcmp(way, "stop")) {
		raise(SIGSTOP);
	} else if (!strcmp(way, "signals")) {
		say_signals();
	} else if (!strcmp(way, "copy")) {
		copy_input();
	} else if (!strcmp(way, "environment")) {
		say_environment();
	} else {
		return 89;
	}
	return 0;
}
