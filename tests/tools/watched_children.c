/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests/tools/watch_children.c: makes children, whatever there is to make them by.
 *
 *	watched-children WAY N [PROGRAM ARGUMENT...]
 */
/* Declared by newer C libraries only. */
#include <sys/types.h>
pid_t _Fork(void);

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/source/sandbox_fixture.h"

#define PAGE 4096

static void unmap(int n)
{
	for (int i = 0; i < n; i++) {
		void *p = mmap(NULL, 3l * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		if (p == MAP_FAILED || munmap(p, 3l * PAGE))
			_exit(91);
	}
}

static int wait_for(pid_t pid)
{
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 94;
	return WEXITSTATUS(status);
}

/* All calls pass but these two. */
static void forbid(long nr, long other)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)other, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	if (!sandbox_enter_seen(code, sizeof(code) / sizeof(code[0])))
		_exit(77);
}

static int in_a_fork(int n)
{
	pid_t pid = fork();

	if (!pid) {
		unmap(n);
		_exit(0);
	}
	return wait_for(pid);
}

static int in_a_program(char **argv)
{
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(90);
	}
	return wait_for(pid);
}

static long raw_fork(void)
{
#ifdef __x86_64__
	long r = SYS_fork;

	__asm__ volatile("syscall" : "+a"(r) : : "rcx", "r11", "memory");
	return r;
#else
	exit(77);
#endif
}

struct work {
	int n;
	char **argv; /* of a program; its first may be NULL */
};

static int work(void *arg)
{
	const struct work *w = arg;

	unmap(w->n);
	if (w->argv[0])
		execv(w->argv[0], w->argv);
	_exit(w->argv[0] ? 90 : 0);
}

/* Of the child that the first one has only the interposer can know. */
static pid_t make_two(void)
{
	pid_t pid = (pid_t)raw_fork();

	if (!pid) {
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (pid)
			_exit(wait_for(pid));
	}
	return pid;
}

static pid_t make(const char *way, struct work *w)
{
	static char stack[65536];
	const struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, more[3];
	} args = {.exit_signal = SIGCHLD};

	if (!strcmp(way, "_Fork"))
		return _Fork();
	if (!strcmp(way, "clone"))
		return clone(work, stack + sizeof(stack), SIGCHLD, w);
	if (!strcmp(way, "syscall"))
		return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!strcmp(way, "clone3"))
		return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!strcmp(way, "raw"))
		return (pid_t)raw_fork();
	if (!strcmp(way, "raw-syscall"))
		return make_two();
	exit(89);
}

static int past_libc(const char *way, int n, char **argv)
{
	struct work w = {n, argv};
	pid_t pid = make(way, &w);

	if (!pid)
		work(&w);
	return wait_for(pid);
}

/* So many that have ended, and that nobody has waited for. */
static void make_zombies(int n)
{
	for (int i = 0; i < n; i++) {
		siginfo_t info;
		pid_t pid = fork();

		if (!pid) {
			unmap(1);
			_exit(0);
		}
		if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT))
			exit(92);
	}
}

/* A program that begins waits until the tool has looked; so there are looks between the first half and the second. */
static int zombies(int n, char **argv)
{
	enum { LOOKS = 20 };
	int r = 0;

	make_zombies(n / 2);
	for (int i = 0; i < LOOKS && !r; i++)
		r = in_a_program(argv);
	make_zombies(n / 2);
	return r;
}

int main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(way, "timeless")) {
		int r = in_a_fork(0);

		forbid(SYS_clock_gettime, SYS_clock_gettime);
		unmap(n);
		return r;
	}
	if (!strcmp(way, "fork"))
		return in_a_fork(n);
	if (!strcmp(way, "sandboxed")) {
		forbid(SYS_readlinkat, SYS_madvise);
		return in_a_fork(n);
	}
	if (!strcmp(way, "zombies") && argc > 3)
		return zombies(n, argv + 3);
	if (!strcmp(way, "shells")) {
		FILE *f;

		clearenv();
		f = popen("exit 0", "r");
		return !f || pclose(f) || system("exit 0");
	}
	if (!strcmp(way, "executed") && argc > 3)
		return in_a_program(argv + 3);
	return argc > 2 ? past_libc(way, n, argv + 3) : 89;
}
