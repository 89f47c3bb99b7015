/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exec, in front of libc's: a program that is replaced by another one, as a script that ends in
 * `exec program` is, is still the one that was asked for. What is taken out of the environment for
 * its children is put back for that. A child, of vfork too, has another number, and gets what it was given.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

INTERPOSED int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

INTERPOSED int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* -------------------------------------------------------------------------- with a list of arguments */

/* How many strings, with the NULL that ends them. */
static size_t length(const char *first, va_list list)
{
	size_t n = 1;

	for (const char *s = first; s; s = va_arg(list, const char *))
		n++;
	return n;
}

static void copy(char **argv, const char *first, va_list list)
{
	char *s = (char *)(uintptr_t)first;

	for (; s; s = va_arg(list, char *))
		*argv++ = s;
	*argv = NULL;
}

/* On the stack, as libc has it: exec may be called where malloc must not be. */
#define ARGUMENTS(argv, first)                                                   \
	do {                                                                     \
		va_list list_;                                                   \
		va_start(list_, first);                                          \
		(argv) = __builtin_alloca(length(first, list_) * sizeof(*argv)); \
		va_end(list_);                                                   \
		va_start(list_, first);                                          \
		copy(argv, first, list_);                                        \
		va_end(list_);                                                   \
	} while (0)

INTERPOSED int execl(const char *path, const char *arg, ...)
{
	char **argv;

	ARGUMENTS(argv, arg);
	return execve(path, argv, environ);
}

INTERPOSED int execlp(const char *file, const char *arg, ...)
{
	char **argv;

	ARGUMENTS(argv, arg);
	return execvpe(file, argv, environ);
}

INTERPOSED int execle(const char *path, const char *arg, ...)
{
	char **argv, **env;
	va_list list;

	ARGUMENTS(argv, arg);
	va_start(list, arg);
	for (const char *s = arg; s; s = va_arg(list, const char *))
		;
	env = va_arg(list, char **);
	va_end(list);
	return execve(path, argv, env);
}
