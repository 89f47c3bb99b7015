/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/preload.h"
#include "watch/tool/alive.h"
#include "watch/tool/launch.h"
#include "watch/tool/program.h"
#include "watch/shared/target.h"

#define SAY(...) cli_say(l->command, __VA_ARGS__)

/* Signals that this process passes on, since it would die of them or act on them unseen. */
static const int passed_on[] = {SIGHUP,	 SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
				SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH};
#define NR_PASSED_ON (sizeof(passed_on) / sizeof(passed_on[0]))

static void signals_of_ours(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < NR_PASSED_ON; i++)
		sigaddset(set, passed_on[i]);
}

void launch_prepare(struct launch *l)
{
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t set;

	signals_of_ours(&set);
	/* Blocked, they wait for launch_wait even if they are ignored; the program inherits the ignoring. */
	pthread_sigmask(SIG_BLOCK, &set, &l->mask);
	/* With SIGCHLD ignored, a parent does not learn how a child has ended. */
	sigaction(SIGCHLD, &plain, &l->on_child);
}

/* -------------------------------------------------------------------------------------- libraries */

/* libmrn is listed so that the loader need not look for it. */
static int name_libraries(const struct launch *l, struct watch_header *header)
{
	const char *const names[] = {l->recorder, "libmrn-interpose.so.0", "libmrn.so.0", NULL};

	return preload_list(l->command, names, header->preload, sizeof(header->preload),
			    header->library, sizeof(header->library))
		       ? 0
		       : WATCH_CANNOT;
}

static int set_environment(const struct launch *l, struct watch_header *header,
			   const char *log_name)
{
	const struct watch_file loader = watch_target_loader("/proc/self/exe");
	int r = name_libraries(l, header);

	if (r)
		return r;
	header->loader_dev = loader.dev;
	header->loader_ino = loader.ino;
	if (preload_extend("LD_PRELOAD", header->preload, true) &&
	    preload_extend("ASAN_OPTIONS", WATCH_ASAN_OPTION, false) &&
	    !setenv(WATCH_ENVIRONMENT, log_name, 1))
		return 0;
	SAY("no memory");
	return WATCH_CANNOT;
}

/* -------------------------------------------------------------------------------------- starting */

/* In the child. Returns only if it fails. */
static void become(const struct launch *l, const char *path, char **argv)
{
	sigaction(SIGCHLD, &l->on_child, NULL);
	sigprocmask(SIG_SETMASK, &l->mask, NULL);
	if (l->output_to_error && dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return;
	/* A script without "#!" goes to the shell, as everywhere. */
	execvp(path, argv);
}

int launch_start(struct launch *l, const char *path, char **argv, struct watch_header *header,
		 const char *log_name)
{
	int report[2], error = 0, r = set_environment(l, header, log_name);
	ssize_t n;

	if (r)
		return r;
	if (pipe2(report, O_CLOEXEC)) {
		SAY("pipe: %s%s", strerror(errno),
		    errno == EMFILE ? "; raise the limit on descriptors (ulimit -n)" : "");
		return WATCH_CANNOT;
	}
	l->pid = fork();
	if (!l->pid) {
		header->pid = alive_own_number();
		become(l, path, argv);
		error = errno;
		n = write(report[1], &error, sizeof(error));
		_exit(n == (ssize_t)sizeof(error) ? WATCH_NO_EXEC : WATCH_CANNOT);
	}
	error = l->pid < 0 ? errno : 0;
	close(report[1]);
	/* exec closes it if all is well. */
	do
		n = l->pid < 0 ? 0 : read(report[0], &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	if (!error)
		return 0;
	SAY("%s: %s", argv[0], strerror(error));
	if (l->pid < 0)
		return WATCH_CANNOT;
	waitpid(l->pid, NULL, 0);
	return error == ENOENT ? WATCH_NO_FILE : WATCH_NO_EXEC;
}

/* --------------------------------------------------------------------------------------- waiting */

/*
 * True if a process sent it, and not the watched one. The kernel sends its signals, as for ^C and ^Z, to the whole
 * group.
 */
static bool is_for_the_program(const struct launch *l, const siginfo_t *info)
{
	return info->si_code <= 0 && info->si_pid != l->pid;
}

/* A job counts as stopped only if all of it is: stop for whoever waits for us. Goes on when continued. */
static void stop_too(void)
{
	raise(SIGSTOP);
}

/* True if the program has ended. */
static bool reap(struct launch *l)
{
	int status;

	while (waitpid(l->pid, &status, WNOHANG | WUNTRACED) == l->pid) {
		if (!WIFSTOPPED(status)) {
			l->status = status;
			return true;
		}
		stop_too();
	}
	return false;
}

static bool in_foreground(void)
{
	return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

/*
 * Signals that were sent to end the program may go to this process as well, one after the other: timeout sends to it and then
 * to the group. So those that come with the program's end are the program's; after this time they are ours.
 */
#define GRACE_S 2

static void *be_ended(void *arg)
{
	const struct timespec grace = {.tv_sec = GRACE_S}, none = {0};
	const sigset_t *set = arg;

	nanosleep(&grace, NULL);
	while (sigtimedwait(set, NULL, &none) > 0)
		;
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
	for (;;)
		pause();
	return NULL;
}

/* Nobody is there to pass them on to: whoever wants to end us can, in the middle of a report. */
static void stop_passing_on(const struct launch *l)
{
	static const int end_us[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
	static sigset_t set;
	pthread_t thread;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(end_us) / sizeof(end_us[0]); i++)
		if (!sigismember(&l->mask, end_us[i]))
			sigaddset(&set, end_us[i]);
	/* Without a thread they end nothing. */
	if (!pthread_create(&thread, NULL, be_ended, &set))
		pthread_detach(thread);
}

void launch_wait(struct launch *l, void (*tick)(void *arg), void *arg)
{
	bool shows = isatty(STDERR_FILENO);
	const struct timespec second = {.tv_sec = 1};
	sigset_t set;

	signals_of_ours(&set);
	while (!reap(l)) {
		siginfo_t info;
		int sig = sigtimedwait(&set, &info, shows ? &second : NULL);

		if (sig > 0 && sig != SIGCHLD && is_for_the_program(l, &info))
			kill(l->pid, sig);
		if (sig < 0 && errno == EAGAIN && in_foreground())
			tick(arg);
	}
	stop_passing_on(l);
}

int launch_exit(const struct launch *l)
{
	const struct rlimit none = {0, 0};
	sigset_t set;
	int sig;

	if (WIFEXITED(l->status))
		return WEXITSTATUS(l->status);
	sig = WTERMSIG(l->status);
	/* The program has left its core already. */
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
	return 128 + sig;
}
