/* SPDX-License-Identifier: BSD-3-Clause */
/* One test in one process: start it, watch it until its deadline, leave nothing of it behind. */
#include "tests/harness/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Read by a signal handler. */
static volatile sig_atomic_t running;

static void on_signal(int sig)
{
	if (running)
		kill(-running, SIGKILL);
	/* SA_RESETHAND is in force: this ends the runner by the same signal. */
	raise(sig);
}

void test_process_tie_signals(void)
{
	const struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static _Noreturn void become_test(const struct test_case *t, int out_fd, int record_fd,
				  pid_t runner)
{
	const struct rlimit no_core = {0, 0};
	char fd_text[16];
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd;

	setpgid(0, 0);
	/* For a SIGKILL of the runner; check that it is not gone already. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != runner)
		_exit(TEST_EXIT_USAGE);
	/* Twins crash on purpose. To get a core, use --run. */
	setrlimit(RLIMIT_CORE, &no_core);
	fd = fcntl(record_fd, F_DUPFD, TEST_REPORT_FD_MIN);
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	if (fd < 0 || dup2(out_fd, STDOUT_FILENO) < 0 || dup2(out_fd, STDERR_FILENO) < 0)
		_exit(TEST_EXIT_USAGE);
	snprintf(fd_text, sizeof(fd_text), "%d", fd);
	execl("/proc/self/exe", program_invocation_name, "--run", t->name, "--report", fd_text,
	      (char *)NULL);
	perror("exec /proc/self/exe");
	_exit(TEST_EXIT_USAGE);
}

/* The pipes are non-blocking: a stray process may hold the other end open for ever. */
static void drain(int fd, struct test_text *text)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			test_text_add(text, buf, (size_t)n);
}

/* Wait for the process to end, and collect its output; false if the deadline comes first. */
static bool watch(int pid_fd, int out_fd, int record_fd, long long deadline,
		  struct test_outcome *out)
{
	struct pollfd fds[] = {
		{.fd = pid_fd, .events = POLLIN},
		{.fd = out_fd, .events = POLLIN},
		{.fd = record_fd, .events = POLLIN},
	};

	for (;;) {
		long long left = deadline - now_ms();

		if (left <= 0)
			return false;
		if (poll(fds, 3, left > INT_MAX ? INT_MAX : (int)left) < 0 && errno != EINTR)
			return false;
		drain(out_fd, &out->output);
		drain(record_fd, &out->records);
		if (fds[0].revents)
			return true;
		/* A closed pipe is ready for ever: stop asking about it. */
		if (fds[1].revents & POLLHUP)
			fds[1].fd = -1;
		if (fds[2].revents & POLLHUP)
			fds[2].fd = -1;
	}
}

static void reap(pid_t pid, bool in_time, unsigned int timeout_s, struct test_outcome *out)
{
	siginfo_t info = {0};
	int ret;

	/*
	 * The group dies before its leader is reaped: until then the number cannot belong to anyone
	 * else. SIGKILL for a leader that has already ended changes nothing.
	 */
	if (in_time)
		while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
			;
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	running = 0;
	do {
		ret = waitid(P_PID, (id_t)pid, &info, WEXITED);
	} while (ret < 0 && errno == EINTR);

	if (!in_time) {
		out->ending = TEST_ENDED_TIMEOUT;
		out->code = (int)timeout_s;
		return;
	}
	out->ending = info.si_code == CLD_EXITED ? TEST_ENDED_EXIT : TEST_ENDED_SIGNAL;
	out->code = info.si_status;
}

static int open_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	return 0;
}

static int run_in(const struct test_case *t, unsigned int timeout_s, int out_pipe[2],
		  int record_pipe[2], struct test_outcome *out)
{
	const long long began = now_ms();
	pid_t runner = getpid();
	bool in_time = false;
	int pid_fd;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become_test(t, out_pipe[1], record_pipe[1], runner);
	/* Here too: whichever side is first, the group exists from now on. */
	setpgid(pid, pid);
	running = pid;
	close(out_pipe[1]);
	close(record_pipe[1]);
	out_pipe[1] = -1;
	record_pipe[1] = -1;

	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid_fd >= 0) {
		in_time = watch(pid_fd, out_pipe[0], record_pipe[0],
				began + (long long)timeout_s * 1000, out);
		close(pid_fd);
	}
	reap(pid, in_time, timeout_s, out);
	out->ms = (unsigned int)(now_ms() - began);
	test_folder_remove(pid);
	drain(out_pipe[0], &out->output);
	drain(record_pipe[0], &out->records);
	return pid_fd < 0 ? -ENOSYS : 0;
}

int test_process_run(const struct test_case *t, unsigned int timeout_s, struct test_outcome *out)
{
	int out_pipe[2] = {-1, -1};
	int record_pipe[2] = {-1, -1};
	int ret;
	int i;

	out->output.len = 0;
	out->output.cut = false;
	out->records.len = 0;
	out->records.cut = false;

	ret = open_pipe(out_pipe);
	if (ret == 0)
		ret = open_pipe(record_pipe);
	if (ret == 0)
		ret = run_in(t, timeout_s, out_pipe, record_pipe, out);
	for (i = 0; i < 2; i++) {
		if (out_pipe[i] >= 0)
			close(out_pipe[i]);
		if (record_pipe[i] >= 0)
			close(record_pipe[i]);
	}
	return ret;
}
