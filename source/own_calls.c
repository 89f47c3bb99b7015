/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/own_calls.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>

#include "os/syscall.h"
#include "os/thread.h"
#include "source/bracket/other.h"

/* os/maps.c, os/pagemap.c */
#define PROCMAP_QUERY 0xc0686611l
#define PAGEMAP_SCAN  0xc0606610l

#define CALL(name, ...)                                                    \
	{                                                                  \
		.nr = SYS_##name, .a = {__VA_ARGS__}, .can_be_tried = true \
	}
#define SUCCEEDS(name, ...)                                                                  \
	{                                                                                    \
		.nr = SYS_##name, .a = {__VA_ARGS__}, .can_be_tried = true, .succeeds = true \
	}
#define NOT_TRIED(name, ...)                           \
	{                                              \
		.nr = SYS_##name, .a = { __VA_ARGS__ } \
	}

const struct mrn_own_call mrn_own_calls[] = {
	/* First, so that the trials leave no core. */
	CALL(prctl, PR_SET_DUMPABLE, 0),
	/* The kernel refuses a range that wraps around. */
	CALL(prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 1, -1),
	CALL(prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF),
	CALL(brk, 0),
	CALL(clock_gettime, CLOCK_MONOTONIC, 0),
	NOT_TRIED(clone, 0),
	CALL(clone3, 0, 0),
	CALL(close, -1),
	/* First after last: the kernel refuses it. */
	CALL(close_range, 1, 0, 2),
	NOT_TRIED(exit, 0),
	NOT_TRIED(exit_group, 0),
	CALL(fallocate, -1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
	CALL(fcntl, -1, F_DUPFD_CLOEXEC),
	CALL(fcntl, -1, F_GETFD),
	CALL(fcntl, -1, F_GETOWN_EX),
	CALL(fcntl, -1, F_SETOWN_EX),
	CALL(fstat, -1),
	CALL(fstatfs, -1),
	CALL(ftruncate, -1),
	CALL(futex, 0, FUTEX_WAIT, 1),
	CALL(futex, 0, FUTEX_WAKE, 1),
	CALL(futex, 0, FUTEX_WAIT_PRIVATE, 1),
	CALL(futex, 0, FUTEX_WAKE_PRIVATE, 1),
	CALL(futex, 0, FUTEX_WAIT_BITSET_PRIVATE, 1, 0, 0, FUTEX_BITSET_MATCH_ANY),
	CALL(getdents64, -1),
	CALL(getpid),
	CALL(getrandom, 0, 0, 0),
	CALL(getsockopt, -1, IPPROTO_TCP, MRN_TCP_ZEROCOPY_RECEIVE),
	CALL(gettid),
	CALL(getuid),
	CALL(ioctl, -1, UFFDIO_API),
	CALL(ioctl, -1, UFFDIO_REGISTER),
	CALL(ioctl, -1, UFFDIO_UNREGISTER),
	CALL(ioctl, -1, UFFDIO_WRITEPROTECT),
	CALL(ioctl, -1, MRN_UFFDIO_MOVE),
	CALL(ioctl, -1, PAGEMAP_SCAN),
	CALL(ioctl, -1, PROCMAP_QUERY),
	CALL(lseek, -1),
	/* No bytes at all. */
	CALL(madvise, 0, 0, MADV_DONTDUMP),
	CALL(madvise, 0, 0, MADV_DONTNEED),
	CALL(madvise, 0, 0, MADV_DONTNEED_LOCKED),
	CALL(madvise, 0, 0, MADV_FREE),
	CALL(madvise, 0, 0, MADV_HUGEPAGE),
	CALL(madvise, 0, 0, MADV_PAGEOUT),
	CALL(madvise, 0, 0, MADV_REMOVE),
	CALL(madvise, 0, 0, MADV_WIPEONFORK),
	CALL(memfd_create, 0, 1 /* MFD_CLOEXEC */),
	CALL(mmap, 0, 0, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1),
	CALL(mmap, 0, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
	CALL(mmap, 0, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1),
	CALL(mmap, 0, 0, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, -1),
	CALL(mmap, 0, 0, PROT_READ | PROT_WRITE, MAP_SHARED, -1),
	CALL(mprotect, 0, 0, PROT_READ),
	CALL(mremap, 0, 0, 0, 0),
	CALL(mremap, 0, 0, 0, MREMAP_MAYMOVE | MREMAP_FIXED),
	CALL(msync, 0, 0, MS_ASYNC),
	CALL(munmap, 0, 0),
	CALL(newfstatat, AT_FDCWD, 0),
	CALL(open_by_handle_at, -1, 0, O_PATH | O_CLOEXEC),
	CALL(openat, AT_FDCWD, 0, O_RDONLY | O_CLOEXEC),
	CALL(openat, AT_FDCWD, 0, O_RDWR | O_CLOEXEC),
	CALL(openat, AT_FDCWD, 0, O_PATH | O_CLOEXEC),
	/* More than there can be. */
	CALL(ppoll, 0, UINT_MAX),
	CALL(pread64, -1),
	CALL(prlimit64, 0, RLIMIT_AS),
	CALL(prlimit64, 0, RLIMIT_NOFILE),
	CALL(prlimit64, 0, RLIMIT_FSIZE),
	CALL(process_vm_readv, 0),
	CALL(process_vm_writev, 0),
	CALL(read, -1),
	CALL(readlinkat, AT_FDCWD, 0),
	CALL(remap_file_pages, 0, 0),
	CALL(rt_sigaction, 0, 0, 0, sizeof(mrn_sigmask)),
	SUCCEEDS(rt_sigprocmask, SIG_BLOCK, 0, 0, sizeof(mrn_sigmask)),
	SUCCEEDS(rt_sigprocmask, SIG_SETMASK, 0, 0, sizeof(mrn_sigmask)),
	SUCCEEDS(rt_sigprocmask, SIG_UNBLOCK, 0, 0, sizeof(mrn_sigmask)),
	NOT_TRIED(rt_sigreturn),
	CALL(rt_tgsigqueueinfo, -1, -1),
	CALL(sched_yield),
	CALL(shmat, -1, 0, SHM_REMAP),
	CALL(shmctl, -1, IPC_RMID),
	CALL(shmctl, -1, IPC_STAT),
	CALL(shmdt, 1),
	CALL(shmget, IPC_PRIVATE, 0, IPC_CREAT | 0600),
	SUCCEEDS(sigaltstack, 0, 0),
	CALL(statfs, 0),
	CALL(tgkill, -1, -1),
	CALL(uname, 0),
	CALL(unlinkat, AT_FDCWD, 0),
	CALL(unshare, 0),
	CALL(userfaultfd, -1),
	NOT_TRIED(wait4, -1, 0, __WALL),
};

const unsigned int mrn_nr_own_calls = sizeof(mrn_own_calls) / sizeof(mrn_own_calls[0]);
