/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions of libc's by which calls are made that are to be seen, where dispatch does not catch a thread. Until the
 * constructor has found the next library's, each makes the call itself.
 */
#undef _FILE_OFFSET_BITS /* else fcntl below would be named fcntl64 */
#include "check/record/uncaught.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check/record/calls.h"
#include "check/record/uring.h"
#include "os/syscall.h"
#include "source/interposer.h"

#define EXPORTED __attribute__((visibility("default")))

long check_libc_result(long r)
{
	if (!mrn_sys_failed(r))
		return r;
	errno = (int)-r;
	return -1;
}

bool check_is_uncaught(void)
{
	return !mrn_is_to_be_caught() && check_call_is_followed();
}

bool check_uncaught(long nr, long a, long b, long c, long d, long *result)
{
	long args[6] = {a, b, c, d};
	int saved = errno;
	bool made = !mrn_is_to_be_caught() && check_call_sees(nr, args, result);

	errno = saved;
	return made;
}

/* ------------------------------------------------------------------------------------------- syscall */

static long raw_syscall(long nr, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return check_libc_result(mrn_sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* For the stub. */
long (*check_next_syscall)(long nr, ...) __attribute__((visibility("hidden"))) = raw_syscall;
long check_syscall_shown(long nr, long a, long b, long c, long d, long e, long f);

long check_syscall_shown(long nr, long a, long b, long c, long d, long e, long f)
{
	long args[6] = {a, b, c, d, e, f}, result;
	int saved = errno;
	bool made = !mrn_is_to_be_caught() && check_call_sees((int)nr, args, &result);

	errno = saved;
	if (made)
		return check_libc_result(result);
	return check_next_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* -------------------------------------------------------------------------------------- descriptors */

static int raw_close(int fd)
{
	return (int)check_libc_result(mrn_raw(SYS_close, fd, 0, 0, 0));
}

static int raw_dup(int fd)
{
	return (int)check_libc_result(mrn_raw(SYS_dup, fd, 0, 0, 0));
}

static int raw_dup2(int fd, int to)
{
	if (fd == to)
		return (int)check_libc_result(mrn_raw(SYS_fcntl, fd, F_GETFD, 0, 0)) < 0 ? -1 : to;
	return (int)check_libc_result(mrn_raw(SYS_dup3, fd, to, 0, 0));
}

static int raw_dup3(int fd, int to, int flags)
{
	return (int)check_libc_result(mrn_raw(SYS_dup3, fd, to, flags, 0));
}

static int raw_fcntl(int fd, int command, ...)
{
	va_list ap;
	long arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	return (int)check_libc_result(mrn_raw(SYS_fcntl, fd, command, arg, 0));
}

static int raw_close_range(unsigned int first, unsigned int last, int flags)
{
	return (int)check_libc_result(mrn_raw(SYS_close_range, first, last, flags, 0));
}

static void raw_closefrom(int first)
{
	mrn_raw(SYS_close_range, first < 0 ? 0 : first, ~0u, 0, 0);
}

static int (*next_close)(int) = raw_close, (*next_dup)(int) = raw_dup;
static int (*next_dup2)(int, int) = raw_dup2, (*next_dup3)(int, int, int) = raw_dup3;
static int (*next_fcntl)(int, int, ...) = raw_fcntl;
static int (*next_close_range)(unsigned int, unsigned int, int) = raw_close_range;
static void (*next_closefrom)(int) = raw_closefrom;

EXPORTED int close(int fd)
{
	long result;

	if (check_uring_is(fd) && check_uncaught(SYS_close, fd, 0, 0, 0, &result))
		return (int)check_libc_result(result);
	return next_close(fd);
}

EXPORTED int dup(int fd)
{
	long result;

	if (check_uring_is(fd) && check_uncaught(SYS_dup, fd, 0, 0, 0, &result))
		return (int)check_libc_result(result);
	return next_dup(fd);
}

EXPORTED int dup2(int fd, int to)
{
	long result;

	if (fd != to && (check_uring_is(fd) || check_uring_is(to)) &&
	    check_uncaught(SYS_dup3, fd, to, 0, 0, &result))
		return (int)check_libc_result(result);
	return next_dup2(fd, to);
}

EXPORTED int dup3(int fd, int to, int flags)
{
	long result;

	if ((check_uring_is(fd) || check_uring_is(to)) &&
	    check_uncaught(SYS_dup3, fd, to, flags, 0, &result))
		return (int)check_libc_result(result);
	return next_dup3(fd, to, flags);
}

static bool copies(int fd, int command, long arg, long *result)
{
	return (command == F_DUPFD || command == F_DUPFD_CLOEXEC) && check_uring_is(fd) &&
	       check_uncaught(SYS_fcntl, fd, command, arg, 0, result);
}

EXPORTED int fcntl(int fd, int command, ...)
{
	va_list ap;
	long arg, result;

	/* What there is of an argument. */
	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	if (copies(fd, command, arg, &result))
		return (int)check_libc_result(result);
	return next_fcntl(fd, command, arg);
}

EXPORTED int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

EXPORTED int close_range(unsigned int first, unsigned int last, int flags)
{
	long result;

	check_uncaught(SYS_close_range, first, last, flags, 0, &result);
	return next_close_range(first, last, flags);
}

EXPORTED void closefrom(int first)
{
	long result;

	check_uncaught(SYS_close_range, first < 0 ? 0 : first, ~0u, 0, 0, &result);
	next_closefrom(first);
}

/* -------------------------------------------------------------------------------------------- limits */

static int raw_prlimit(pid_t pid, __rlimit_resource_t resource, const struct rlimit *limit,
		       struct rlimit *was)
{
	return (int)check_libc_result(
		mrn_raw(SYS_prlimit64, pid, resource, (long)limit, (long)was));
}

static int raw_setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	return raw_prlimit(0, resource, limit, NULL);
}

static int (*next_prlimit)(pid_t, __rlimit_resource_t, const struct rlimit *,
			   struct rlimit *) = raw_prlimit;
static int (*next_setrlimit)(__rlimit_resource_t, const struct rlimit *) = raw_setrlimit;

EXPORTED int prlimit(pid_t pid, __rlimit_resource_t resource, const struct rlimit *limit,
		     struct rlimit *was)
{
	long result;

	check_uncaught(SYS_prlimit64, pid, resource, (long)limit, (long)was, &result);
	return next_prlimit(pid, resource, limit, was);
}

EXPORTED int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	long result;

	check_uncaught(SYS_prlimit64, 0, resource, (long)limit, 0, &result);
	return next_setrlimit(resource, limit);
}

/* A struct rlimit64 is the same here. */
EXPORTED int prlimit64(pid_t pid, __rlimit_resource_t resource, const struct rlimit64 *limit,
		       struct rlimit64 *was) __attribute__((alias("prlimit")));
EXPORTED int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
	__attribute__((alias("setrlimit")));

#define FIND(name, next)                                 \
	do {                                             \
		void *found_ = dlsym(RTLD_NEXT, name);   \
		if (found_)                              \
			next = (__typeof__(next))found_; \
	} while (0)

__attribute__((constructor(101))) static void find(void)
{
	FIND("syscall", check_next_syscall);
	FIND("close", next_close);
	FIND("dup", next_dup);
	FIND("dup2", next_dup2);
	FIND("dup3", next_dup3);
	FIND("fcntl", next_fcntl);
	FIND("close_range", next_close_range);
	FIND("closefrom", next_closefrom);
	FIND("prlimit", next_prlimit);
	FIND("setrlimit", next_setrlimit);
}
