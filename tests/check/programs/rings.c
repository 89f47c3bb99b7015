/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that register memory with rings of their own, use it, and unregister it, again and again; once in a while the
 * memory has been replaced before it is used.
 *
 *	rings THREADS TIMES EACH END
 *
 * Each thread registers so many TIMES, and each EACHth registration is used when it is stale (0: none). END: exit (with 0),
 * fail (with 3), kill (by SIGKILL), waits (it reads a byte, does it all once more, and exits), child (it does all this in a child, that it has forked and executed), outlived (it only
 * leaves a child behind); confined (exit, in a process that has forbidden itself almost all calls before), or mute (and
 * those that dispatch needs).
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENGTH = 8192 };

static unsigned long times, each;
static int zero;

static _Noreturn void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(error == EPERM || error == ENOSYS || error == ENOMEM ? 77 : 2);
}

static __attribute__((noinline)) char *map(char *at)
{
	char *p = mmap(at, LENGTH, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	if (p == MAP_FAILED)
		fail("mmap", errno);
	memset(p, 'A', LENGTH);
	return p;
}

static __attribute__((noinline)) void use(struct io_uring *ring, char *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int r;

	io_uring_prep_read_fixed(sqe, zero, p, 100, 0, 0);
	r = io_uring_submit_and_wait(ring, 1);
	if (r != 1)
		fail("io_uring_submit", -r);
	if (io_uring_peek_cqe(ring, &cqe) || cqe->res != 100)
		fail("io_uring_peek_cqe", EIO);
	io_uring_cqe_seen(ring, cqe);
}

static void *work(void *arg)
{
	struct io_uring ring;
	char *p = map(NULL);
	int r = io_uring_queue_init(4, &ring, 0);

	if (r)
		fail("io_uring_queue_init", -r);
	for (unsigned long i = 1; i <= times; i++) {
		const struct iovec iov = {p, LENGTH};

		r = io_uring_register_buffers(&ring, &iov, 1);
		if (r)
			fail("io_uring_register_buffers", -r);
		if (each && i % each == 0) {
			map(p);
			use(&ring, p);
		}
		r = io_uring_unregister_buffers(&ring);
		if (r)
			fail("io_uring_unregister_buffers", -r);
	}
	io_uring_queue_exit(&ring);
	return arg;
}

/* All but what this program needs from here on, on pain of death. */
static void forbid(bool dispatch_too)
{
	/* The first five are those without which dispatch leaves. */
	static const int allowed[] = {SYS_rt_sigreturn,
				      SYS_prctl,
				      SYS_rt_sigaction,
				      SYS_rt_sigprocmask,
				      SYS_sigaltstack,
				      SYS_io_uring_setup,
				      SYS_io_uring_register,
				      SYS_io_uring_enter,
				      SYS_mmap,
				      SYS_munmap,
				      SYS_close,
				      SYS_exit_group,
				      SYS_write,
				      SYS_brk};
	enum { N = sizeof(allowed) / sizeof(allowed[0]) };
	struct sock_filter code[2 * N + 2];
	struct sock_fprog filter = {0, code};
	unsigned short n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = dispatch_too ? 5 : 0; i < N; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (unsigned int)allowed[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		fail("prctl", errno);
}

static int be_parent(char **argv)
{
	int status;
	pid_t pid;

	argv[4] = (char[]){"exit"};
	pid = fork();
	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("fork", errno);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* Ends as soon as its child is there, which goes on until somebody ends it, or for some seconds. */
static int leave_child(void)
{
	char there = 1;
	int fds[2];

	if (pipe(fds))
		fail("pipe", errno);
	if (!fork()) {
		/* Nobody is to wait for what the child might write. */
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr) ||
		    write(fds[1], &there, 1) != 1)
			_exit(2);
		alarm(5);
		for (;;)
			pause();
	}
	return read(fds[0], &there, 1) == 1 ? 0 : 2;
}

int main(int argc, char **argv)
{
	unsigned long threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	const char *end = argc > 4 ? argv[4] : "exit";
	pthread_t t[64];

	times = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	each = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	if (!strcmp(end, "child"))
		return be_parent(argv);
	if (!strcmp(end, "outlived"))
		return leave_child();
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (zero < 0)
		fail("/dev/zero", errno);
	if (!strcmp(end, "confined") || !strcmp(end, "mute"))
		forbid(!strcmp(end, "mute"));
	/* One works here: a sandbox need not allow threads. */
	for (unsigned long i = 1; i < threads && i < 64; i++) {
		int r = pthread_create(&t[i], NULL, work, NULL);

		if (r)
			fail("pthread_create", r);
	}
	work(NULL);
	for (unsigned long i = 1; i < threads && i < 64; i++)
		pthread_join(t[i], NULL);
	if (!strcmp(end, "waits")) {
		char c;

		if (read(STDIN_FILENO, &c, 1) != 1)
			return 2;
		work(NULL);
	}
	if (!strcmp(end, "kill"))
		raise(SIGKILL);
	return strcmp(end, "fail") ? 0 : 3;
}
