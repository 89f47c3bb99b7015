/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exec, in front of libc's: a program that is replaced by another one, as a script that ends in
 * `exec program` is, is still the one that was asked for. What is taken out of the environment for
 * its children is put back for that. A child, of vfork too, has another number, and gets what it was given.
 *
 * execl, execv and their like are the interposer's, which calls execve and execvpe, and so comes here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "os/syscall.h"
#include "watch/environment.h"
#include "watch/recorder.h"

#define INTERPOSED __attribute__((visibility("default")))

/* The next library's functions: looked up at the start, for exec may be called where dlsym must not be. */
static __typeof__(execve) *real_execve;
static __typeof__(execvpe) *real_execvpe;
static __typeof__(fexecve) *real_fexecve;

#define LOOK_UP(name) (real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name))
#define REAL(name)    (real_##name ? real_##name : LOOK_UP(name))

void watch_exec_start(void)
{
	LOOK_UP(execve);
	LOOK_UP(execvpe);
	LOOK_UP(fexecve);
}

/* True when the watching has to be carried over. */
static bool begin(struct watch_environment *e, char *const env[])
{
	struct watch_header *header = watch_recorder_carries_over();

	if (header)
		watch_environment_extend(e, env, header);
	return header;
}

static int end(struct watch_environment *e, int r)
{
	int saved = errno;

	watch_environment_drop(e);
	errno = saved;
	return r;
}

INTERPOSED int execve(const char *path, char *const argv[], char *const env[])
{
	__typeof__(real_execve) real = REAL(execve);
	struct watch_environment e;

	if (!begin(&e, env))
		return real(path, argv, env);
	return end(&e, real(path, argv, e.env));
}

INTERPOSED int execvpe(const char *file, char *const argv[], char *const env[])
{
	__typeof__(real_execvpe) real = REAL(execvpe);
	struct watch_environment e;

	if (!begin(&e, env))
		return real(file, argv, env);
	return end(&e, real(file, argv, e.env));
}

INTERPOSED int fexecve(int fd, char *const argv[], char *const env[])
{
	__typeof__(real_fexecve) real = REAL(fexecve);
	struct watch_environment e;

	if (!begin(&e, env))
		return real(fd, argv, env);
	return end(&e, real(fd, argv, e.env));
}
