/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * execl, execle, execlp, execv, execvp: through execve and execvpe by name, which other libraries may interpose too.
 * libc's own would call those inside itself.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

MRN_INTERPOSED int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* The number of strings, including the NULL that ends them. */
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

/* On the stack, as in libc: exec may be called where malloc must not be. */
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

MRN_INTERPOSED int execl(const char *path, const char *arg, ...)
{
	char **argv;

	ARGUMENTS(argv, arg);
	return execve(path, argv, environ);
}

MRN_INTERPOSED int execlp(const char *file, const char *arg, ...)
{
	char **argv;

	ARGUMENTS(argv, arg);
	return execvpe(file, argv, environ);
}

MRN_INTERPOSED int execle(const char *path, const char *arg, ...)
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
