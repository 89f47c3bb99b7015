/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exec and posix_spawn, in front of libc's: a program that executes another one in its place, like a script that ends
 * in `exec program`, is still the one to be watched. What its environment has lost for its children is put back for
 * that.
 *
 * execl, execv and their like are the interposer's, which calls execve and execvpe, and so comes here. posix_spawn,
 * system and popen execute inside libc with the current environment; the latter two execute a shell.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "watch/record/exec_plan.h"
#include "watch/record/recorder.h"
#include "watch/shared/unfollowed.h"

#define INTERPOSED __attribute__((visibility("default")))

/* Only newer C libraries declare it. */
INTERPOSED int execveat(int folder, const char *path, char *const argv[], char *const env[],
			int flags);

/* The next library's functions: looked up at the start, since exec may be called where dlsym must not be. */
static __typeof__(execve) *real_execve;
static __typeof__(execveat) *real_execveat;
static __typeof__(execvpe) *real_execvpe;
static __typeof__(fexecve) *real_fexecve;
static __typeof__(posix_spawn) *real_posix_spawn;
static __typeof__(posix_spawnp) *real_posix_spawnp;
static __typeof__(system) *real_system;
static __typeof__(popen) *real_popen;

#define LOOK_UP(name) (real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name))
#define REAL(name)    (real_##name ? real_##name : LOOK_UP(name))

void watch_exec_start(void)
{
	LOOK_UP(execve);
	LOOK_UP(execveat);
	LOOK_UP(execvpe);
	LOOK_UP(fexecve);
	LOOK_UP(posix_spawn);
	LOOK_UP(posix_spawnp);
	LOOK_UP(system);
	LOOK_UP(popen);
}

INTERPOSED int execve(const char *path, char *const argv[], char *const env[])
{
	__typeof__(real_execve) real = REAL(execve);
	struct watch_exec_plan plan;
	int r;

	watch_exec_begin(&plan, &(struct watch_exec){.folder = AT_FDCWD, .path = path, .env = env});
	r = real(path, argv, plan.environment.env);
	watch_exec_end(&plan, 0);
	return r;
}

INTERPOSED int execveat(int folder, const char *path, char *const argv[], char *const env[],
			int flags)
{
	__typeof__(real_execveat) real = REAL(execveat);
	struct watch_exec_plan plan;
	int r;

	watch_exec_begin(&plan, &(struct watch_exec){.folder = folder,
						     .path = path,
						     .flags = flags,
						     .env = env});
	r = real(folder, path, argv, plan.environment.env, flags);
	watch_exec_end(&plan, 0);
	return r;
}

INTERPOSED int execvpe(const char *file, char *const argv[], char *const env[])
{
	__typeof__(real_execvpe) real = REAL(execvpe);
	struct watch_exec_plan plan;
	int r;

	watch_exec_begin(&plan, &(struct watch_exec){.folder = AT_FDCWD,
						     .path = file,
						     .search = true,
						     .env = env});
	r = real(file, argv, plan.environment.env);
	watch_exec_end(&plan, 0);
	return r;
}

INTERPOSED int fexecve(int fd, char *const argv[], char *const env[])
{
	__typeof__(real_fexecve) real = REAL(fexecve);
	struct watch_exec_plan plan;
	int r;

	watch_exec_begin(&plan, &(struct watch_exec){.folder = fd,
						     .path = "",
						     .flags = AT_EMPTY_PATH,
						     .env = env});
	r = real(fd, argv, plan.environment.env);
	watch_exec_end(&plan, 0);
	return r;
}

/* If a file action changes the folder, a relative path may mean another file than here. */
static int spawn(__typeof__(posix_spawn) *real, const struct watch_exec *exec, pid_t *pid,
		 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
		 char *const argv[])
{
	struct watch_exec_plan plan;
	pid_t child;
	int r;

	watch_exec_begin(&plan, exec);
	r = real(&child, exec->path, actions, attr, argv, plan.environment.env);
	watch_exec_end(&plan, r ? 0 : child);
	if (!r && pid)
		*pid = child;
	return r;
}

INTERPOSED int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			   const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	const struct watch_exec exec = {.folder = AT_FDCWD,
					.path = path,
					.in_child = true,
					.env = env};

	return spawn(REAL(posix_spawn), &exec, pid, actions, attr, argv);
}

INTERPOSED int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			    const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	const struct watch_exec exec = {
		.folder = AT_FDCWD, .path = file, .search = true, .in_child = true, .env = env};

	return spawn(REAL(posix_spawnp), &exec, pid, actions, attr, argv);
}

INTERPOSED int system(const char *command)
{
	__typeof__(real_system) real = REAL(system);
	struct watch_reason *reason = command ? watch_exec_by_libc() : NULL;
	int r = real(command);

	if (r < 0)
		watch_unfollowed_take_back(reason);
	return r;
}

INTERPOSED FILE *popen(const char *command, const char *mode)
{
	__typeof__(real_popen) real = REAL(popen);
	struct watch_reason *reason = watch_exec_by_libc();
	FILE *f = real(command, mode);

	if (!f)
		watch_unfollowed_take_back(reason);
	return f;
}
