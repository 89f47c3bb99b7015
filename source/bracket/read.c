/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/bracket/read.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "os/event_path.h"

/* Arguments, from 0 on: an int; an unsigned int, or what the kernel hands on as one. */
#define INT(n)	    (1u << (n))
#define UNSIGNED(n) (1u << ((n) + 6))

/*
 * Of each call of which anybody here looks at an argument, those that are shorter than a register. All others are as wide as one:
 * addresses, sizes, offsets, mmap's and mremap's flags, protections, ptrace's request.
 */
static unsigned int short_arguments(long nr)
{
	switch (nr) {
	case SYS_madvise:
		return INT(2);
	case SYS_process_madvise:
		/* The number of ranges is a size_t there, and becomes an unsigned int on the way. */
		return INT(0) | UNSIGNED(2) | INT(3) | UNSIGNED(4);
	case SYS_mmap:
		return UNSIGNED(4);
	case SYS_pkey_mprotect:
		return INT(3);
	case SYS_shmat:
		return INT(0) | INT(2);
	case SYS_fallocate:
		return INT(0) | INT(1);
	case SYS_ftruncate:
		return UNSIGNED(0);
	case SYS_openat:
	case SYS_open_by_handle_at:
		return INT(0) | INT(2);
	case SYS_openat2:
		return INT(0);
#ifdef SYS_open
	case SYS_open:
		return INT(1);
#endif
	case SYS_execveat:
		return INT(0) | INT(4);
	case SYS_ioctl:
		return UNSIGNED(0) | UNSIGNED(1);
	case SYS_getsockopt:
		return INT(0) | INT(1) | INT(2);
	case SYS_prctl:
		return INT(0);
#ifdef SYS_arch_prctl
	case SYS_arch_prctl:
	case SYS_modify_ldt:
		return INT(0);
#endif
	case SYS_seccomp:
		return UNSIGNED(0) | UNSIGNED(1);
	case SYS_clone:
		return UNSIGNED(0);
	case SYS_rt_sigaction:
	case SYS_rt_sigprocmask:
		return INT(0);
	case SYS_io_uring_setup:
		return UNSIGNED(0);
	case SYS_io_uring_enter:
		return UNSIGNED(0) | UNSIGNED(1) | UNSIGNED(2) | UNSIGNED(3);
	default:
		return 0;
	}
}

#ifdef __x86_64__
/* Those with numbers of their own that are looked at here; -1 for all others. */
static long of_x32s_own(int nr)
{
	switch (nr) {
	case 514:
		return SYS_ioctl;
	case 520:
		return SYS_execve;
	case 521:
		return SYS_ptrace;
	case 542:
		return SYS_getsockopt;
	case 545:
		return SYS_execveat;
	case 512:
	case 525:
		return MRN_CALL_X32_SIGNALS;
	default:
		return -1;
	}
}

static long of_x32(int nr)
{
	switch (nr) {
	/* x86-64's alone. */
	case SYS_rt_sigaction:
	case SYS_rt_sigreturn:
	case SYS_ioctl:
	case SYS_getsockopt:
	case SYS_execve:
	case SYS_ptrace:
	case SYS_sigaltstack:
	case SYS_execveat:
		return -1;
	default:
		return nr < 512 ? nr : of_x32s_own(nr);
	}
}
#endif

struct mrn_call mrn_call_read(long nr, const long *a)
{
	struct mrn_call call = {.nr = (int)nr};
	unsigned int is_short;

#ifdef __x86_64__
	if ((int)nr >= MRN_X32_BIT) {
		call.nr = of_x32((int)nr - MRN_X32_BIT);
		call.compat = true;
	}
#endif
	is_short = short_arguments(call.nr);
	for (unsigned int i = 0; i < 6; i++)
		call.a[i] = is_short & INT(i)	     ? (int32_t)a[i]
			    : is_short & UNSIGNED(i) ? (long)(uint32_t)a[i]
						     : a[i];
	return call;
}
