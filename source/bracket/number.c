/* SPDX-License-Identifier: BSD-3-Clause */
/* The brackets by the number of the system call. */
#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/bracket/other.h"

#include "os/event_path.h"

/* ---------------------------------------------------------------------------------- calls that change files */

/* What openat2 is given; a longer one has what is not known here. */
struct how {
	uint64_t flags, mode, resolve;
};

/*
 * Another thread may change what is pointed to between our look and the kernel's: so the call is made with a copy. What cannot
 * be read, as in some containers, is taken to truncate.
 */
static void open_how(struct mrn_file_change *change, int folder, const char *path, long how,
		     long size)
{
	uint64_t copy[3] = {0};
	bool own;

	if (mrn_file_change_nobody(change, MRN_CAUSE_OPEN_TRUNC))
		return;
	own = size == sizeof(struct how) && mrn_peek(copy, (uintptr_t)how, sizeof(struct how)) == 0;
	mrn_file_change_open(change, folder, path, own ? (int)copy[0] : O_TRUNC);
	if (!change->pending || !own)
		return;
	change->own_argument = 3;
	for (unsigned int i = 0; i < 3; i++)
		change->argument[i] = copy[i];
}

void mrn_file_change_number(struct mrn_file_change *change, long nr, long a, long b, long c, long d)
{
	switch (nr) {
	case SYS_fallocate:
		mrn_file_change_fallocate(change, (int)a, (int)b, c, d);
		break;
	case SYS_ftruncate:
		mrn_file_change_ftruncate(change, (int)a, b);
		break;
	case SYS_truncate:
		mrn_file_change_truncate(change, (const char *)a, b);
		break;
	case SYS_madvise:
		mrn_file_change_remove(change, (const void *)a, (size_t)b);
		break;
	case SYS_process_madvise:
		mrn_file_change_remove_many(change);
		break;
	case SYS_ioctl:
		mrn_file_change_ioctl(change, (int)a, (unsigned int)b, (const void *)c);
		break;
	case SYS_openat:
		mrn_file_change_open(change, (int)a, (const char *)b, (int)c);
		break;
	case SYS_open_by_handle_at:
		mrn_file_change_open_handle(change, (int)a, (const void *)b, (int)c);
		break;
	case SYS_openat2:
		open_how(change, (int)a, (const char *)b, c, d);
		break;
#ifdef SYS_open
	case SYS_open:
		mrn_file_change_open(change, AT_FDCWD, (const char *)a, (int)b);
		break;
	case SYS_creat:
		mrn_file_change_open(change, AT_FDCWD, (const char *)a, O_TRUNC);
		break;
#endif
	default:
		mrn_file_change_none(change);
		break;
	}
}

static long change_file(mrn_real_call real, long nr, long a, long b, long c, long d, long e, long f)
{
	struct mrn_file_change change;
	struct mrn_held *held;
	long r;

	mrn_file_change_number(&change, nr, a, b, c, d);
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	r = real(nr, a, mrn_file_change_argument(&change, 2, b),
		 mrn_file_change_argument(&change, 3, c), d, e, f);
	mrn_held_end(held);
	return r;
}

/* ------------------------------------------------------------------------------------------------ all others */

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

/* The numbers here and in interpose/syscall-x86_64.S are the same. */
static enum mrn_call_kind kind_of_advice(int advice)
{
	if (mrn_advice_is_harmless(advice))
		return MRN_CALL_OTHER;
	return advice == MADV_REMOVE ? MRN_CALL_FILE : MRN_CALL_MEMORY;
}

enum mrn_call_kind mrn_call_kind(long nr, long a, long b, long c, long d)
{
	switch (nr) {
	case SYS_fallocate:
	case SYS_ftruncate:
	case SYS_open_by_handle_at:
	case SYS_openat:
	case SYS_openat2:
	case SYS_truncate:
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
#endif
		return MRN_CALL_FILE;
	case SYS_madvise:
		return kind_of_advice((int)c);
	case SYS_process_madvise:
		return kind_of_advice((int)d);
	case SYS_ioctl:
		return mrn_ioctl_kind((unsigned int)b);
	case SYS_getsockopt:
		return mrn_getsockopt_kind((int)b, (int)c);
	case SYS_prctl:
		return mrn_prctl_kind((int)a, (unsigned long)b);
	case SYS_brk:
	case SYS_execve:
	case SYS_execveat:
	case SYS_io_destroy:
	case SYS_mmap:
	case SYS_mprotect:
	case SYS_mremap:
	case SYS_munmap:
	case SYS_pkey_mprotect:
	case SYS_remap_file_pages:
	case SYS_shmat:
	case SYS_shmdt:
		return MRN_CALL_MEMORY;
	default:
		return MRN_CALL_OTHER;
	}
}

long mrn_bracket_number(mrn_real_call real, long nr, long a, long b, long c, long d, long e, long f)
{
	const void *addr = (const void *)a;
	struct mrn_bracket bracket;
	long r;

	switch (mrn_call_kind(nr, a, b, c, d)) {
	case MRN_CALL_FILE:
		return change_file(real, nr, a, b, c, d, e, f);
	case MRN_CALL_OTHER:
		return real(nr, a, b, c, d, e, f);
	case MRN_CALL_MEMORY:
		break;
	}
	switch (nr) {
	case SYS_ioctl:
		mrn_bracket_ioctl(&bracket, (unsigned int)b, (const void *)c);
		break;
	case SYS_getsockopt:
		mrn_bracket_getsockopt(&bracket, (const void *)d);
		break;
	case SYS_prctl:
		mrn_bracket_prctl(&bracket);
		break;
	case SYS_io_destroy:
		mrn_bracket_io_destroy(&bracket, (uintptr_t)a);
		break;
	case SYS_madvise:
		mrn_bracket_madvise(&bracket, addr, (size_t)b, (int)c);
		break;
	case SYS_process_madvise:
		mrn_bracket_process_madvise(&bracket, (const struct iovec *)b, (size_t)c, (int)d);
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
