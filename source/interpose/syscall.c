/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * syscall(): the same brackets, by number.
 *
 * On x86-64 syscall itself is the stub in syscall-x86_64.S, which jumps to libc's for every number
 * that is not bracketed before any frame exists: SYS_vfork and SYS_clone on the caller's stack
 * return twice, and a frame of ours in between would be returned through by the child and gone for
 * the parent. Elsewhere syscall is the function below, and those numbers must not be used with it;
 * libc's own syscall makes no promise for them either.
 */
#undef _FILE_OFFSET_BITS

#include <stdarg.h>
#include <sys/mman.h>

#include "os/syscall.h"
#include "source/interpose/calls.h"
#include "source/interpose/real.h"

#include "os/event_path.h"

#define ANY_NUMBER(nr) __atomic_load_n(&mrn_real_syscall, __ATOMIC_RELAXED)(nr, a, b, c, d, e, f)

static long change_file(const long nr, long a, long b, long c, long d, long e, long f)
{
	struct mrn_file_change change;
	long r;

	switch (nr) {
	case SYS_fallocate:
		mrn_file_change_fallocate(&change, (int)a, (int)b, c, d);
		break;
	case SYS_ftruncate:
		mrn_file_change_ftruncate(&change, (int)a, b);
		break;
	case SYS_truncate:
		mrn_file_change_truncate(&change, (const char *)a, b);
		break;
	default:
		mrn_file_change_remove(&change, (const void *)a, (size_t)b);
		break;
	}
	r = ANY_NUMBER(nr);
	mrn_file_change_end(&change);
	return r;
}

/* The numbers here and in syscall-x86_64.S are the same. */
long mrn_syscall_bracketed(long nr, long a, long b, long c, long d, long e, long f);

long mrn_syscall_bracketed(long nr, long a, long b, long c, long d, long e, long f)
{
	const void *addr = (const void *)a;
	struct mrn_bracket bracket;
	long r;

	switch (nr) {
	case SYS_fallocate:
	case SYS_ftruncate:
	case SYS_truncate:
		return change_file(nr, a, b, c, d, e, f);
	case SYS_madvise:
		if ((int)c == MADV_REMOVE)
			return change_file(nr, a, b, c, d, e, f);
		mrn_bracket_madvise(&bracket, addr, (size_t)b, (int)c);
		break;
	case SYS_process_madvise:
		mrn_bracket_process_madvise(&bracket, (int)a, (const struct iovec *)b, (size_t)c,
					    (int)d);
		break;
	case SYS_munmap:
		mrn_bracket_munmap(&bracket, addr, (size_t)b);
		break;
	case SYS_mmap:
		if (!mrn_mmap_replaces((int)d)) {
			r = ANY_NUMBER(nr);
			if (r != -1)
				mrn_bracket_fresh((uintptr_t)r, mrn_page_up((uintptr_t)(r + b)));
			return r;
		}
		mrn_bracket_mmap_fixed(&bracket, addr, (size_t)b, (int)d, (int)e);
		break;
	case SYS_mremap:
		mrn_bracket_mremap(&bracket, addr, (size_t)b, (size_t)c, (int)d, (const void *)e);
		break;
	case SYS_remap_file_pages:
		mrn_bracket_remap_file_pages(&bracket, addr, (size_t)b);
		break;
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		mrn_bracket_mprotect(&bracket, addr, (size_t)b, (int)c);
		break;
	case SYS_brk:
		mrn_bracket_brk(&bracket, (uintptr_t)a);
		break;
	case SYS_shmat:
		mrn_bracket_shmat(&bracket, (int)a, (const void *)b, (int)c);
		break;
	case SYS_shmdt:
		mrn_bracket_shmdt(&bracket, addr);
		break;
	default:
		return ANY_NUMBER(nr);
	}
	r = ANY_NUMBER(nr);
	mrn_bracket_end(&bracket);
	return r;
}

#ifndef __x86_64__
MRN_INTERPOSED long syscall(long nr, ...)
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
	return mrn_syscall_bracketed(nr, a, b, c, d, e, f);
}
#endif
