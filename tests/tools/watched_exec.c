/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests/tools/watch_exec.c: executes another program, in its own place or in a child's, in every way that there is.
 *
 *	watched-exec self|child|nobody|bare WAY PROGRAM [ARGUMENT...]
 *
 * nobody: a child that has changed its user; bare: a child, with an empty environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Declared by newer C libraries only. */
int execveat(int folder, const char *path, char *const argv[], char *const env[], int flags);

static int wait_for(pid_t pid)
{
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 94;
	return WEXITSTATUS(status);
}

static int spawn(char **argv, char **env)
{
	pid_t pid;

	return posix_spawn(&pid, argv[0], NULL, NULL, argv, env) ? 93 : wait_for(pid);
}

static long raw(long nr, long a, long b, long c, long d, long e)
{
	long r = nr;
#ifdef __x86_64__
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;

	__asm__ volatile("syscall"
			 : "+a"(r)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
#endif
	return r;
}

static int execute(const char *way, char **argv, char **env)
{
	const char *path = argv[0];

	if (!strcmp(way, "execve"))
		execve(path, argv, env);
	else if (!strcmp(way, "execvpe"))
		execvpe(path, argv, env);
	else if (!strcmp(way, "fexecve"))
		fexecve(open(path, O_RDONLY | O_CLOEXEC), argv, env);
	else if (!strcmp(way, "execveat"))
		execveat(AT_FDCWD, path, argv, env, AT_SYMLINK_NOFOLLOW);
	else if (!strcmp(way, "execveat-fd"))
		execveat(open(path, O_PATH | O_CLOEXEC), "", argv, env, AT_EMPTY_PATH);
	else if (!strcmp(way, "syscall"))
		syscall(SYS_execve, path, argv, env);
	else if (!strcmp(way, "syscall-at"))
		syscall(SYS_execveat, AT_FDCWD, path, argv, env, 0);
	else if (!strcmp(way, "no-environment"))
		return syscall(SYS_execve, path, argv, 8) < 0 ? errno : 0;
	else if (!strcmp(way, "raw"))
		raw(SYS_execve, (long)path, (long)argv, (long)env, 0, 0);
	else if (!strcmp(way, "raw-at"))
		raw(SYS_execveat, AT_FDCWD, (long)path, (long)argv, (long)env, 0);
	return 90;
}

static int in_child(const char *who, const char *way, char **argv, char **env)
{
	pid_t pid;

	if (!strcmp(way, "posix_spawn"))
		return spawn(argv, env);
	/* vfork's child may call exec, and nothing else. */
	pid = strcmp(way, "vfork") ? fork() : vfork();
	if (pid)
		return wait_for(pid);
	if (!strcmp(way, "vfork")) {
		execve(argv[0], argv, env);
		_exit(90);
	}
	if (!strcmp(who, "nobody") && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
		_exit(77);
	_exit(execute(way, argv, env));
}

int main(int argc, char **argv)
{
	static char *none[] = {NULL};
	int r;

	if (argc < 4)
		return 89;
	if (!strcmp(argv[1], "self"))
		return execute(argv[2], argv + 3, environ);
	r = in_child(argv[1], argv[2], argv + 3, strcmp(argv[1], "bare") ? environ : none);
	fflush(stdout);
	return r;
}
