/* SPDX-License-Identifier: BSD-3-Clause */
/* The brackets by the number of the system call. */
#undef _FILE_OFFSET_BITS

#include <sys/mman.h>

#include "os/syscall.h"
#include "source/bracket/calls.h"

#include "os/event_path.h"

static long change_file(mrn_real_call real, const long nr, long a, long b, long c, long d, long e,
			long f)
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
	case SYS_madvise:
		mrn_file_change_remove(&change, (const void *)a, (size_t)b);
		break;
	default:
		mrn_file_change_open_number(&change, nr, a, b, c);
		break;
	}
	r = real(nr, a, b, c, d, e, f);
	mrn_file_change_end(&change);
	return r;
}

bool mrn_bracket_open_number(mrn_real_call real, long nr, long a, long b, long c, long d, long *r)
{
	struct mrn_file_change change;

	mrn_file_change_open_number(&change, nr, a, b, c);
	if (!change.pending)
		return false;
	*r = real(nr, a, b, c, d, 0, 0);
	mrn_file_change_end(&change);
	return true;
}

static long move(mrn_real_call real, long addr, long old_size, long new_size, long flags, long to)
{
	struct mrn_bracket bracket;
	long r;

	mrn_bracket_mremap(&bracket, (const void *)addr, (size_t)old_size, (size_t)new_size,
			   (int)flags, (const void *)to);
	r = real(SYS_mremap, addr, old_size, new_size, flags, to, 0);
	mrn_bracket_end(&bracket);
	if (!mrn_sys_failed(r))
		mrn_bracket_moved((const void *)addr, (size_t)old_size, (size_t)new_size,
				  (int)flags, (const void *)r);
	return r;
}

/* This one returns where the break is, whether it has been moved or not. */
static long set_break(mrn_real_call real, long to)
{
	uintptr_t was = to ? (uintptr_t)mrn_sys1(SYS_brk, 0) : 0;
	struct mrn_bracket bracket;
	long r;

	mrn_bracket_brk(&bracket, (uintptr_t)to);
	r = real(SYS_brk, to, 0, 0, 0, 0, 0);
	mrn_bracket_end(&bracket);
	if (was && (uintptr_t)r > was)
		mrn_bracket_fresh(mrn_page_up(was), mrn_page_up((uintptr_t)r));
	return r;
}

/* The numbers here, in interpose/syscall-x86_64.S and in dispatch/handler.c are the same. */
long mrn_bracket_number(mrn_real_call real, long nr, long a, long b, long c, long d, long e, long f)
{
	const void *addr = (const void *)a;
	struct mrn_bracket bracket;
	long r;

	switch (nr) {
	case SYS_fallocate:
	case SYS_ftruncate:
	case SYS_openat:
	case SYS_openat2:
	case SYS_truncate:
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
#endif
		return change_file(real, nr, a, b, c, d, e, f);
	case SYS_madvise:
		if ((int)c == MADV_REMOVE)
			return change_file(real, nr, a, b, c, d, e, f);
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
			r = real(nr, a, b, c, d, e, f);
			if (!mrn_sys_failed(r))
				mrn_bracket_fresh((uintptr_t)r, mrn_page_up((uintptr_t)(r + b)));
			return r;
		}
		mrn_bracket_mmap_fixed(&bracket, addr, (size_t)b, (int)d, (int)e);
		break;
	case SYS_execve:
	case SYS_execveat:
		mrn_bracket_exec_by_name(&bracket);
		break;
	case SYS_mremap:
		return move(real, a, b, c, d, e);
	case SYS_remap_file_pages:
		mrn_bracket_remap_file_pages(&bracket, addr, (size_t)b);
		break;
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		mrn_bracket_mprotect(&bracket, addr, (size_t)b, (int)c);
		break;
	case SYS_brk:
		return set_break(real, a);
	case SYS_shmat:
		mrn_bracket_shmat(&bracket, (int)a, (const void *)b, (int)c);
		break;
	case SYS_shmdt:
		mrn_bracket_shmdt(&bracket, addr);
		break;
	default:
		return real(nr, a, b, c, d, e, f);
	}
	r = real(nr, a, b, c, d, e, f);
	mrn_bracket_end(&bracket);
	return r;
}
