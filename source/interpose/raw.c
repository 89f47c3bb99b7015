/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls as libc makes them, until libc's own have been looked up. */
#undef _FILE_OFFSET_BITS /* off_t has 64 bits; this would only rename functions */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "os/syscall.h"
#include "source/interpose/real.h"

#include "os/event_path.h"

/* libc's copy of the break; its brk and sbrk go wrong if a call past them leaves this behind. */
extern void *__curbrk __attribute__((weak, visibility("default")));

static long result(long r)
{
	if (!mrn_sys_failed(r))
		return r;
	errno = (int)-r;
	return -1;
}

static int raw_munmap(void *addr, size_t length)
{
	return (int)result(mrn_raw(SYS_munmap, (long)addr, (long)length, 0, 0));
}

static void *raw_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)result(
		mrn_sys6(SYS_mmap, (long)addr, (long)length, prot, flags, fd, (long)offset));
}

static void *raw_mremap(void *addr, size_t old_size, size_t new_size, int flags, ...)
{
	void *new_addr;
	va_list ap;

	/* The wrapper always passes it. */
	va_start(ap, flags);
	new_addr = va_arg(ap, void *);
	va_end(ap);
	return (void *)result(mrn_sys6(SYS_mremap, (long)addr, (long)old_size, (long)new_size,
				       flags, (long)new_addr, 0));
}

static int raw_remap_file_pages(void *addr, size_t size, int prot, size_t pgoff, int flags)
{
	return (int)result(mrn_sys6(SYS_remap_file_pages, (long)addr, (long)size, prot, (long)pgoff,
				    flags, 0));
}

static int raw_madvise(void *addr, size_t length, int advice)
{
	return (int)result(mrn_raw(SYS_madvise, (long)addr, (long)length, advice, 0));
}

static ssize_t raw_process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice,
				   unsigned int flags)
{
	return result(mrn_sys6(SYS_process_madvise, pidfd, (long)iov, (long)count, advice,
			       (long)flags, 0));
}

static int raw_mprotect(void *addr, size_t length, int prot)
{
	return (int)result(mrn_raw(SYS_mprotect, (long)addr, (long)length, prot, 0));
}

static int raw_pkey_mprotect(void *addr, size_t length, int prot, int pkey)
{
	return (int)result(mrn_raw(SYS_pkey_mprotect, (long)addr, (long)length, prot, pkey));
}

static int raw_brk(void *addr)
{
	void *now = (void *)mrn_raw(SYS_brk, (long)addr, 0, 0, 0);

	if (&__curbrk)
		__curbrk = now;
	if (now >= addr)
		return 0;
	errno = ENOMEM;
	return -1;
}

static void *raw_sbrk(intptr_t increment)
{
	uintptr_t now = (uintptr_t)mrn_raw(SYS_brk, 0, 0, 0, 0), to = now + (uintptr_t)increment;

	if (increment > 0 ? to < now : to > now) {
		errno = ENOMEM;
		return (void *)-1;
	}
	if (increment && raw_brk((void *)to) < 0)
		return (void *)-1;
	return (void *)now;
}

static void *raw_shmat(int id, const void *addr, int flags)
{
	return (void *)result(mrn_raw(SYS_shmat, id, (long)addr, flags, 0));
}

static int raw_shmdt(const void *addr)
{
	return (int)result(mrn_raw(SYS_shmdt, (long)addr, 0, 0, 0));
}

static int raw_fallocate(int fd, int mode, off_t offset, off_t length)
{
	return (int)result(mrn_raw(SYS_fallocate, fd, mode, (long)offset, (long)length));
}

static int raw_ftruncate(int fd, off_t length)
{
	return (int)result(mrn_raw(SYS_ftruncate, fd, (long)length, 0, 0));
}

static int raw_truncate(const char *path, off_t length)
{
	return (int)result(mrn_raw(SYS_truncate, (long)path, (long)length, 0, 0));
}

static int raw_openat(int folder, const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	/* The wrapper always passes it. */
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return (int)result(mrn_raw(SYS_openat, folder, (long)path, flags, mode));
}

static int raw_open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return raw_openat(AT_FDCWD, path, flags, mode);
}

static int raw_creat(const char *path, mode_t mode)
{
	return raw_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

static int raw_openat_2(int folder, const char *path, int flags)
{
	return raw_openat(folder, path, flags, 0);
}

static int raw_open_2(const char *path, int flags)
{
	return raw_openat(AT_FDCWD, path, flags, 0);
}

static int raw_open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	return (int)result(mrn_raw(SYS_open_by_handle_at, mount, (long)handle, flags, 0));
}

static int raw_ioctl(int fd, unsigned long request, ...)
{
	void *arg;
	va_list ap;

	/* The wrapper always passes it. */
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return (int)result(mrn_raw(SYS_ioctl, fd, (long)request, (long)arg, 0));
}

static int raw_getsockopt(int fd, int level, int name, void *value, unsigned int *length)
{
	return (int)result(mrn_sys6(SYS_getsockopt, fd, level, name, (long)value, (long)length, 0));
}

static int raw_prctl(int option, ...)
{
	unsigned long a, b, c, d;
	va_list ap;

	va_start(ap, option);
	a = va_arg(ap, unsigned long);
	b = va_arg(ap, unsigned long);
	c = va_arg(ap, unsigned long);
	d = va_arg(ap, unsigned long);
	va_end(ap);
	return (int)result(mrn_sys6(SYS_prctl, option, (long)a, (long)b, (long)c, (long)d, 0));
}

static int raw_execve(const char *path, char *const argv[], char *const env[])
{
	return (int)result(mrn_raw(SYS_execve, (long)path, (long)argv, (long)env, 0));
}

static int raw_execveat(int folder, const char *path, char *const argv[], char *const env[],
			int flags)
{
	return (int)result(
		mrn_sys6(SYS_execveat, folder, (long)path, (long)argv, (long)env, flags, 0));
}

static int raw_fexecve(int fd, char *const argv[], char *const env[])
{
	return raw_execveat(fd, "", argv, env, AT_EMPTY_PATH);
}

static pid_t raw_Fork(void)
{
	return (pid_t)result(mrn_sys6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));
}

static long raw_syscall(long nr, ...)
{
	long a, b, c, d, e, f;
	va_list ap;

	va_start(ap, nr);
	a = va_arg(ap, long);
	b = va_arg(ap, long);
	c = va_arg(ap, long);
	d = va_arg(ap, long);
	e = va_arg(ap, long);
	f = va_arg(ap, long);
	va_end(ap);
	return result(mrn_sys6(nr, a, b, c, d, e, f));
}

struct mrn_real mrn_real = {
	.munmap = raw_munmap,
	.mmap = raw_mmap,
	.mremap = raw_mremap,
	.remap_file_pages = raw_remap_file_pages,
	.madvise = raw_madvise,
	.process_madvise = raw_process_madvise,
	.mprotect = raw_mprotect,
	.pkey_mprotect = raw_pkey_mprotect,
	.brk = raw_brk,
	.sbrk = raw_sbrk,
	.shmat = raw_shmat,
	.shmdt = raw_shmdt,
	.fallocate = raw_fallocate,
	.ftruncate = raw_ftruncate,
	.truncate = raw_truncate,
	.open = raw_open,
	.openat = raw_openat,
	.creat = raw_creat,
	.open_2 = raw_open_2,
	.openat_2 = raw_openat_2,
	.open_by_handle_at = raw_open_by_handle_at,
	.ioctl = raw_ioctl,
	.getsockopt = raw_getsockopt,
	.prctl = raw_prctl,
	.Fork = raw_Fork,
	.clone = mrn_real_clone_look_up,
	.execve = raw_execve,
	/* Without a search of PATH: nobody executes by a bare name before all constructors. */
	.execvpe = raw_execve,
	.execveat = raw_execveat,
	.fexecve = raw_fexecve,
};

long (*mrn_real_syscall)(long nr, ...) = raw_syscall;
