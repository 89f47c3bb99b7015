/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interposed calls against the bare ones: the same steps from the same state, in forked
 * children, once by bare system calls, once by the wrappers, once by the interposed syscall().
 * Results, errno, mappings, contents and the file's state must not differ by anything.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mrn/mmu_notifier.h>

#include "os/maps.h"
#include "os/syscall.h"
#include "tests/harness/test.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define MADV_GUARD_INSTALL_ 102
#define MADV_GUARD_REMOVE_  103

/* Free in every layout, those of the sanitizers included. */
#define SCRATCH	      0x7e9000001000L
#define PAGE	      4096L
#define SCRATCH_PAGES 64
#define P(n)	      (SCRATCH + (n)*PAGE)

/* What is where at the start; other pages are holes. */
#define ANON	   0  /* 16 pages, private */
#define FILE_SHM   20 /* 8 pages of the file from 0, shared */
#define FILE_PRIV  28 /* 4 pages of the file from 8, private, one written */
#define ANON2	   32 /* 16 pages */
#define FILE_PAGES 16

/* Descriptors, the same in every child. */
#define FILE_FD	  90
#define RDONLY_FD 91
#define SELF_FD	  92
#define PIPE_FD	  93
#define BAD_FD	  94

/* Arguments that are known only at run time. */
#define SHM_ID	  0x5348000000000000L
#define BRK_TAG	  0x4252000000000000L
#define BRK(n)	  (BRK_TAG + 0x10000000L + (n))
#define HUGE	  (1L << 60)
#define FILE_PATH ((long)"/proc/self/fd/90")

enum call {
	DONE,
	MUNMAP,
	MMAP,
	MREMAP,
	REMAP_FILE,
	MADVISE,
	PROCESS_MADVISE,
	MPROTECT,
	PKEY_MPROTECT,
	SET_BRK,
	SBRK,
	SYS_BRK_NR,
	SHMAT,
	SHMDT,
	FALLOCATE,
	FTRUNCATE,
	TRUNCATE,
	OPENAT, /* and closed again: 0 */
};

enum how { BARE, WRAPPED, BY_SYSCALL, NR_HOWS };

struct step {
	enum call call;
	long arg[5];
};

struct scenario {
	const char *name;
	struct step step[4];
};

struct result {
	long value[4];
	int error[4];
	long file_size;
	char file[FILE_PAGES * 2];
	char page[SCRATCH_PAGES]; /* first byte, or '!' */
	int nr;
	struct mrn_mapping mapping[64];
};

static struct result *results;
static int shm_id;
static uintptr_t brk_start;
static uintptr_t bare_break;
/* What the twins spoil. */
static bool lose_errno, forget_new_addr;

#define FIXED_ANON (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
#define RW	   (PROT_READ | PROT_WRITE)
#define ADVISE(text, advice_)                                                                 \
	{"madvise " text, {{MADVISE, {P(ANON + 1), 3 * PAGE, advice_}}}},                     \
		{"madvise " text " across a hole", {{MADVISE, {P(12), 10 * PAGE, advice_}}}}, \
	{                                                                                     \
		"madvise " text " of the file",                                               \
		{                                                                             \
			{                                                                     \
				MADVISE,                                                      \
				{                                                             \
					P(FILE_SHM), 2 * PAGE, advice_                        \
				}                                                             \
			}                                                                     \
		}                                                                             \
	}

static const struct iovec good_iov[] = {{(void *)P(1), PAGE}, {(void *)P(3), 2 * PAGE}};
static const struct iovec odd_iov[] = {{(void *)(P(1) + 1), PAGE}, {(void *)P(17), PAGE}};

static const struct scenario scenarios[] = {
	{"munmap a page", {{MUNMAP, {P(2), PAGE}}}},
	{"munmap one byte", {{MUNMAP, {P(2), 1}}}},
	{"munmap across a hole", {{MUNMAP, {P(10), 15 * PAGE}}}},
	{"munmap a hole", {{MUNMAP, {P(16), PAGE}}}},
	{"munmap twice", {{MUNMAP, {P(2), PAGE}}, {MUNMAP, {P(2), PAGE}}}},
	{"munmap unaligned", {{MUNMAP, {P(2) + 1, PAGE}}}},
	{"munmap nothing", {{MUNMAP, {P(2), 0}}}},
	{"munmap NULL", {{MUNMAP, {0, 0}}}},

	{"mmap over", {{MMAP, {P(2), 2 * PAGE, RW, FIXED_ANON, -1}}}},
	{"mmap over a hole's edge", {{MMAP, {P(14), 4 * PAGE, PROT_READ, FIXED_ANON, -1}}}},
	{"mmap file over", {{MMAP, {P(2), PAGE + 1, RW, MAP_SHARED | MAP_FIXED, FILE_FD}}}},
	{"mmap noreplace", {{MMAP, {P(2), PAGE, RW, FIXED_ANON | MAP_FIXED_NOREPLACE, -1}}}},
	{"mmap noreplace free", {{MMAP, {P(17), PAGE, RW, FIXED_ANON | MAP_FIXED_NOREPLACE, -1}}}},
	{"mmap hint", {{MMAP, {P(17), PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1}}}},
	{"mmap anywhere", {{MMAP, {0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1}}}},
	{"mmap fixed unaligned", {{MMAP, {P(2) + 5, PAGE, RW, FIXED_ANON, -1}}}},
	{"mmap fixed empty", {{MMAP, {P(2), 0, RW, FIXED_ANON, -1}}}},
	{"mmap fixed bad fd", {{MMAP, {P(2), PAGE, RW, MAP_PRIVATE | MAP_FIXED, BAD_FD}}}},
	{"mmap fixed bad type", {{MMAP, {P(2), PAGE, RW, MAP_ANONYMOUS | MAP_FIXED, -1}}}},
	{"mmap fixed pipe", {{MMAP, {P(2), PAGE, RW, MAP_PRIVATE | MAP_FIXED, PIPE_FD}}}},
	{"mmap fixed no right", {{MMAP, {P(2), PAGE, RW, MAP_SHARED | MAP_FIXED, RDONLY_FD}}}},

	{"mremap grow in place", {{MREMAP, {P(ANON), 16 * PAGE, 18 * PAGE, 0}}}},
	{"mremap grow blocked", {{MREMAP, {P(FILE_SHM), 8 * PAGE, 9 * PAGE, 0}}}},
	{"mremap grow by moving", {{MREMAP, {P(FILE_SHM), 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap grow or stay", {{MREMAP, {P(ANON), 16 * PAGE, 18 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap shrink", {{MREMAP, {P(ANON), 16 * PAGE, 5 * PAGE, 0}}}},
	{"mremap shrink, may move", {{MREMAP, {P(ANON), 16 * PAGE, 5 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap same", {{MREMAP, {P(ANON), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap to a place",
	 {{MREMAP, {P(ANON), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(ANON2)}}}},
	{"mremap shrinking to a place",
	 {{MREMAP, {P(ANON), 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(ANON2)}}}},
	{"mremap growing to a place",
	 {{MREMAP, {P(ANON), 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(50)}}}},
	{"mremap onto itself",
	 {{MREMAP, {P(ANON), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(2)}}}},
	{"mremap fixed without maymove", {{MREMAP, {P(0), PAGE, PAGE, MREMAP_FIXED, P(50)}}}},
	{"mremap fixed unaligned",
	 {{MREMAP, {P(0), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(50) + 1}}}},
	{"mremap dontunmap",
	 {{MREMAP, {P(0), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, P(50)}}}},
	{"mremap dontunmap fixed",
	 {{MREMAP,
	   {P(0), 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, P(50)}}}},
	{"mremap dontunmap sizes differ",
	 {{MREMAP, {P(0), 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, P(50)}}}},
	{"mremap duplicate shared",
	 {{MREMAP, {P(FILE_SHM), 0, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(50)}}}},
	{"mremap duplicate private",
	 {{MREMAP, {P(ANON), 0, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, P(50)}}}},
	{"mremap to nothing", {{MREMAP, {P(0), PAGE, 0, MREMAP_MAYMOVE}}}},
	{"mremap unaligned", {{MREMAP, {P(0) + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap hole", {{MREMAP, {P(16), PAGE, 2 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap over a hole", {{MREMAP, {P(14), 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE}}}},
	{"mremap bad flags", {{MREMAP, {P(0), PAGE, 2 * PAGE, 64}}}},

	{"remap_file_pages", {{REMAP_FILE, {P(FILE_SHM), PAGE, 0, 3, 0}}}},
	{"remap_file_pages odd", {{REMAP_FILE, {P(FILE_SHM) + 7, PAGE + 9, 0, 3, 0}}}},
	{"remap_file_pages prot", {{REMAP_FILE, {P(FILE_SHM), PAGE, PROT_READ, 3, 0}}}},
	{"remap_file_pages private", {{REMAP_FILE, {P(ANON), PAGE, 0, 3, 0}}}},
	{"remap_file_pages empty", {{REMAP_FILE, {P(FILE_SHM), 0, 0, 3, 0}}}},

	ADVISE("NORMAL", MADV_NORMAL),
	ADVISE("WILLNEED", MADV_WILLNEED),
	ADVISE("DONTNEED", MADV_DONTNEED),
	ADVISE("FREE", MADV_FREE),
	ADVISE("REMOVE", MADV_REMOVE),
	ADVISE("DONTFORK", MADV_DONTFORK),
	ADVISE("COLD", MADV_COLD),
	ADVISE("PAGEOUT", MADV_PAGEOUT),
	ADVISE("POPULATE_READ", MADV_POPULATE_READ),
	ADVISE("POPULATE_WRITE", MADV_POPULATE_WRITE),
	ADVISE("DONTNEED_LOCKED", MADV_DONTNEED_LOCKED),
	ADVISE("COLLAPSE", MADV_COLLAPSE),
	ADVISE("GUARD_INSTALL", MADV_GUARD_INSTALL_),
	ADVISE("GUARD_REMOVE", MADV_GUARD_REMOVE_),
	ADVISE("nonsense", 9999),
	ADVISE("minus one", -1),
	{"madvise unaligned", {{MADVISE, {P(1) + 1, PAGE, MADV_DONTNEED}}}},
	{"madvise nothing", {{MADVISE, {P(1), 0, MADV_DONTNEED}}}},
	{"madvise one byte", {{MADVISE, {P(1), 1, MADV_DONTNEED}}}},
	{"madvise wrapping", {{MADVISE, {P(1), -PAGE, MADV_DONTNEED}}}},
	{"madvise remove unaligned", {{MADVISE, {P(FILE_SHM) + 1, PAGE, MADV_REMOVE}}}},
	{"madvise remove both", {{MADVISE, {P(FILE_SHM + 6), 4 * PAGE, MADV_REMOVE}}}},

	{"process_madvise", {{PROCESS_MADVISE, {SELF_FD, (long)good_iov, 2, MADV_DONTNEED, 0}}}},
	{"process_madvise cold", {{PROCESS_MADVISE, {SELF_FD, (long)good_iov, 2, MADV_COLD, 0}}}},
	{"process_madvise odd", {{PROCESS_MADVISE, {SELF_FD, (long)odd_iov, 2, MADV_PAGEOUT, 0}}}},
	{"process_madvise bad iov", {{PROCESS_MADVISE, {SELF_FD, 16, 2, MADV_PAGEOUT, 0}}}},
	{"process_madvise many", {{PROCESS_MADVISE, {SELF_FD, (long)good_iov, 5000, 21, 0}}}},
	{"process_madvise bad fd", {{PROCESS_MADVISE, {BAD_FD, (long)good_iov, 2, 21, 0}}}},
	{"process_madvise pipe", {{PROCESS_MADVISE, {PIPE_FD, (long)good_iov, 2, 21, 0}}}},
	{"process_madvise flags", {{PROCESS_MADVISE, {SELF_FD, (long)good_iov, 2, 21, 9}}}},

	{"mprotect", {{MPROTECT, {P(1), PAGE, PROT_READ}}}},
	{"mprotect none", {{MPROTECT, {P(1), 1, PROT_NONE}}}},
	{"mprotect across a hole", {{MPROTECT, {P(12), 10 * PAGE, PROT_READ}}}},
	{"mprotect unaligned", {{MPROTECT, {P(1) + 1, PAGE, PROT_READ}}}},
	{"mprotect nothing", {{MPROTECT, {P(1), 0, PROT_READ}}}},
	{"mprotect wrapping", {{MPROTECT, {P(1), -PAGE, PROT_READ}}}},
	{"mprotect bad prot", {{MPROTECT, {P(1), PAGE, 0x12340}}}},
	{"mprotect growsdown", {{MPROTECT, {P(1), PAGE, PROT_READ | PROT_GROWSDOWN}}}},
	{"pkey_mprotect", {{PKEY_MPROTECT, {P(1), PAGE, PROT_READ, -1}}}},
	{"pkey_mprotect bad key", {{PKEY_MPROTECT, {P(1), PAGE, PROT_READ, 999}}}},

	{"brk up and down", {{SET_BRK, {BRK(9 * PAGE)}}, {SET_BRK, {BRK(PAGE)}}}},
	{"brk where it is", {{SET_BRK, {BRK(0)}}}},
	{"brk below the start", {{SET_BRK, {PAGE}}}},
	{"brk 0", {{SET_BRK, {0}}}},
	{"brk huge", {{SET_BRK, {HUGE}}}},
	{"sbrk up and down", {{SBRK, {5 * PAGE}}, {SBRK, {-2 * PAGE - 5}}, {SBRK, {0}}}},
	{"sbrk to below zero", {{SBRK, {-HUGE}}}},
	{"sbrk too much", {{SBRK, {HUGE}}, {SBRK, {INT64_MAX}}}},
	{"sbrk after a raw brk", {{SYS_BRK_NR, {BRK(4 * PAGE)}}, {SBRK, {PAGE}}, {SBRK, {0}}}},
	{"SYS_brk", {{SYS_BRK_NR, {BRK(4 * PAGE)}}, {SYS_BRK_NR, {BRK(PAGE)}}, {SYS_BRK_NR, {0}}}},

	{"shmat at", {{SHMAT, {SHM_ID, P(50), 0}}, {SHMDT, {P(50)}}}},
	{"shmat on", {{SHMAT, {SHM_ID, P(1), 0}}}},
	{"shmat remap", {{SHMAT, {SHM_ID, P(1), SHM_REMAP}}, {SHMDT, {P(1)}}}},
	{"shmat remap readonly",
	 {{SHMAT, {SHM_ID, P(1), SHM_REMAP | SHM_RDONLY}}, {SHMDT, {P(1)}}}},
	{"shmat remap rounding", {{SHMAT, {SHM_ID, P(1) + 1, SHM_REMAP | SHM_RND}}}},
	{"shmat remap unaligned", {{SHMAT, {SHM_ID, P(1) + 1, SHM_REMAP}}}},
	{"shmat remap NULL", {{SHMAT, {SHM_ID, 0, SHM_REMAP}}}},
	{"shmat remap rounding to NULL", {{SHMAT, {SHM_ID, 5, SHM_REMAP | SHM_RND}}}},
	{"shmat bad id", {{SHMAT, {-1, P(1), SHM_REMAP}}}},
	{"shmat anywhere", {{SHMAT, {SHM_ID, 0, 0}}}},
	{"shmdt nothing", {{SHMDT, {P(1)}}, {SHMDT, {0}}, {SHMDT, {P(FILE_SHM)}}}},
	{"shmdt unaligned", {{SHMAT, {SHM_ID, P(50), 0}}, {SHMDT, {P(50) + 1}}}},
	{"shmdt in pieces",
	 {{SHMAT, {SHM_ID, P(50), 0}}, {MUNMAP, {P(51), PAGE}}, {SHMDT, {P(50)}}}},
	{"shmdt without the head",
	 {{SHMAT, {SHM_ID, P(50), 0}}, {MUNMAP, {P(50), PAGE}}, {SHMDT, {P(50)}}}},

	{"fallocate", {{FALLOCATE, {FILE_FD, 0, 0, 20 * PAGE}}}},
	{"fallocate keep size", {{FALLOCATE, {FILE_FD, FALLOC_FL_KEEP_SIZE, 0, 20 * PAGE}}}},
	{"fallocate hole", {{FALLOCATE, {FILE_FD, 3, 2 * PAGE, 2 * PAGE}}}},
	{"fallocate hole, odd", {{FALLOCATE, {FILE_FD, 3, 2 * PAGE + 1, 2 * PAGE}}}},
	{"fallocate hole without keep", {{FALLOCATE, {FILE_FD, 2, 2 * PAGE, 2 * PAGE}}}},
	{"fallocate zero", {{FALLOCATE, {FILE_FD, FALLOC_FL_ZERO_RANGE, 0, PAGE}}}},
	{"fallocate collapse", {{FALLOCATE, {FILE_FD, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE}}}},
	{"fallocate insert", {{FALLOCATE, {FILE_FD, FALLOC_FL_INSERT_RANGE, 0, PAGE}}}},
	{"fallocate bad mode", {{FALLOCATE, {FILE_FD, 1 << 20, 0, PAGE}}}},
	{"fallocate negative", {{FALLOCATE, {FILE_FD, 3, -PAGE, PAGE}}}},
	{"fallocate empty", {{FALLOCATE, {FILE_FD, 3, 0, 0}}}},
	{"fallocate too far", {{FALLOCATE, {FILE_FD, 3, INT64_MAX - 1, PAGE}}}},
	{"fallocate bad fd", {{FALLOCATE, {BAD_FD, 3, 0, PAGE}}}},
	{"fallocate pipe", {{FALLOCATE, {PIPE_FD, 3, 0, PAGE}}}},
	{"fallocate read-only", {{FALLOCATE, {RDONLY_FD, 3, 0, PAGE}}}},

	{"ftruncate shrink", {{FTRUNCATE, {FILE_FD, 3 * PAGE + 10}}}},
	{"ftruncate to nothing", {{FTRUNCATE, {FILE_FD, 0}}}},
	{"ftruncate grow", {{FTRUNCATE, {FILE_FD, 20 * PAGE}}}},
	{"ftruncate same", {{FTRUNCATE, {FILE_FD, FILE_PAGES *PAGE}}}},
	{"ftruncate there and back", {{FTRUNCATE, {FILE_FD, 1}}, {FTRUNCATE, {FILE_FD, 9 * PAGE}}}},
	{"ftruncate negative", {{FTRUNCATE, {FILE_FD, -1}}}},
	{"ftruncate bad fd", {{FTRUNCATE, {BAD_FD, 0}}, {FTRUNCATE, {-1, 0}}}},
	{"ftruncate pipe", {{FTRUNCATE, {PIPE_FD, 0}}}},
	{"ftruncate read-only", {{FTRUNCATE, {RDONLY_FD, 0}}}},
	{"truncate shrink", {{TRUNCATE, {FILE_PATH, 2 * PAGE}}}},
	{"truncate grow", {{TRUNCATE, {FILE_PATH, 20 * PAGE}}}},
	{"truncate negative", {{TRUNCATE, {FILE_PATH, -1}}}},
	{"truncate nowhere", {{TRUNCATE, {(long)"/nonexistent/file", 0}}}},
	{"truncate bad pointer", {{TRUNCATE, {8, 0}}}},
	{"truncate directory", {{TRUNCATE, {(long)"/", 0}}}},
	{"open", {{OPENAT, {AT_FDCWD, FILE_PATH, O_RDWR}}}},
	{"open to truncate", {{OPENAT, {AT_FDCWD, FILE_PATH, O_RDWR | O_TRUNC}}}},
	{"open to truncate or make",
	 {{OPENAT, {AT_FDCWD, FILE_PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600}}}},
	{"open to make only",
	 {{OPENAT, {AT_FDCWD, FILE_PATH, O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0600}}}},
	{"open to read and truncate", {{OPENAT, {AT_FDCWD, FILE_PATH, O_RDONLY | O_TRUNC}}}},
	{"open a directory to truncate", {{OPENAT, {AT_FDCWD, (long)"/", O_RDWR | O_TRUNC}}}},
	{"open a device to truncate", {{OPENAT, {AT_FDCWD, (long)"/dev/null", O_RDWR | O_TRUNC}}}},
	{"open nowhere", {{OPENAT, {AT_FDCWD, (long)"/nonexistent/file", O_RDWR | O_TRUNC}}}},
	{"open nothing", {{OPENAT, {AT_FDCWD, (long)"", O_RDWR | O_TRUNC}}}},
	{"open in no folder", {{OPENAT, {BAD_FD, (long)"file", O_RDWR | O_TRUNC}}}},
	{"open in a file", {{OPENAT, {FILE_FD, (long)"file", O_RDWR | O_TRUNC}}}},
	{"open in no folder by a path", {{OPENAT, {BAD_FD, FILE_PATH, O_RDWR | O_TRUNC}}}},
	{"open bad flags", {{OPENAT, {AT_FDCWD, FILE_PATH, O_TRUNC | 3 | O_TMPFILE}}}},
};

/* Arguments about which the sanitizers' own interceptors decide. */
static const struct scenario plain_scenarios[] = {
	{"truncate NULL", {{TRUNCATE, {0, 0}}}},
	{"open bad pointer", {{OPENAT, {AT_FDCWD, 8, O_RDWR | O_TRUNC}}}},
	{"open NULL", {{OPENAT, {AT_FDCWD, 0, O_RDWR | O_TRUNC}}}},
	{"munmap huge", {{MUNMAP, {P(2), HUGE}}}},
	{"munmap to the top", {{MUNMAP, {P(2), -P(2)}}}},
	{"munmap wrapping", {{MUNMAP, {P(2), -PAGE}}}},
	{"munmap all ones", {{MUNMAP, {P(2), -1}}}},
	{"mmap fixed huge", {{MMAP, {P(2), HUGE, RW, FIXED_ANON, -1}}}},
	{"mmap fixed wrapping", {{MMAP, {P(2), -PAGE, RW, FIXED_ANON, -1}}}},
	{"mremap huge", {{MREMAP, {P(0), PAGE, HUGE, MREMAP_MAYMOVE}}}},
	{"mremap wrapping", {{MREMAP, {P(0), -PAGE, PAGE, MREMAP_MAYMOVE}}}},
};

/* ----------------------------------------------------------------------------------- three ways */

static long libc_result(long r)
{
	if (!mrn_sys_failed(r))
		return r;
	errno = (int)-r;
	return -1;
}

static long number_of(enum call call)
{
	static const long nr[] = {
		[MUNMAP] = SYS_munmap,	     [MMAP] = SYS_mmap,
		[MREMAP] = SYS_mremap,	     [REMAP_FILE] = SYS_remap_file_pages,
		[MADVISE] = SYS_madvise,     [PROCESS_MADVISE] = SYS_process_madvise,
		[MPROTECT] = SYS_mprotect,   [PKEY_MPROTECT] = SYS_pkey_mprotect,
		[SYS_BRK_NR] = SYS_brk,	     [SHMAT] = SYS_shmat,
		[SHMDT] = SYS_shmdt,	     [FALLOCATE] = SYS_fallocate,
		[FTRUNCATE] = SYS_ftruncate, [TRUNCATE] = SYS_truncate,
		[OPENAT] = SYS_openat,
	};

	return nr[call];
}

static int bare_set_brk(uintptr_t to)
{
	bare_break = (uintptr_t)mrn_sys1(SYS_brk, (long)to);
	if (bare_break >= to)
		return 0;
	errno = ENOMEM;
	return -1;
}

static long bare_sbrk(long increment)
{
	uintptr_t old = bare_break;

	if (increment > 0 ? old + (uintptr_t)increment < old : old < -(uintptr_t)increment) {
		errno = ENOMEM;
		return -1;
	}
	if (increment && bare_set_brk(old + (uintptr_t)increment) < 0)
		return -1;
	return (long)old;
}

static long bare(enum call call, const long *a)
{
	if (call == SET_BRK)
		return bare_set_brk((uintptr_t)a[0]);
	if (call == SBRK)
		return bare_sbrk(a[0]);
	return libc_result(mrn_sys6(number_of(call), a[0], a[1], a[2], a[3], a[4], 0));
}

static long wrapped(enum call call, const long *a)
{
	void *p = (void *)a[0];

	switch (call) {
	case MUNMAP:
		return munmap(p, (size_t)a[1]);
	case MMAP:
		return (long)mmap(p, (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], 0);
	case MREMAP:
		if (!(a[3] & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
			return (long)mremap(p, (size_t)a[1], (size_t)a[2], (int)a[3]);
		return (long)mremap(p, (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
	case REMAP_FILE:
		return remap_file_pages(p, (size_t)a[1], (int)a[2], (size_t)a[3], (int)a[4]);
	case MADVISE:
		return madvise(p, (size_t)a[1], (int)a[2]);
	case PROCESS_MADVISE:
		return process_madvise((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3],
				       (unsigned int)a[4]);
	case MPROTECT:
		return mprotect(p, (size_t)a[1], (int)a[2]);
	case PKEY_MPROTECT:
		return pkey_mprotect(p, (size_t)a[1], (int)a[2], (int)a[3]);
	case SET_BRK:
		return brk(p);
	case SBRK:
		return (long)sbrk(a[0]);
	case SHMAT:
		return (long)shmat((int)a[0], (void *)a[1], (int)a[2]);
	case SHMDT:
		return shmdt(p);
	case FALLOCATE:
		return fallocate((int)a[0], (int)a[1], a[2], a[3]);
	case FTRUNCATE:
		return ftruncate((int)a[0], a[1]);
	case TRUNCATE:
		return truncate((const char *)p, a[1]);
	case OPENAT:
		return openat((int)a[0], (const char *)a[1], (int)a[2], (mode_t)a[3]);
	default:
		return syscall(number_of(call), a[0], a[1], a[2], a[3], a[4], 0L);
	}
}

static long perform_spoilt(enum call call, const long *a)
{
	long forgotten[] = {a[0], a[1], a[2], a[3], 0}, r;

	r = wrapped(call, forget_new_addr && call == MREMAP ? forgotten : a);
	if (lose_errno)
		errno = 0;
	return r;
}

static long perform_one(enum how how, enum call call, const long *a)
{
	if (how == WRAPPED && (lose_errno || forget_new_addr))
		return perform_spoilt(call, a);
	if (how == BARE)
		return bare(call, a);
	if (how == BY_SYSCALL && call != SET_BRK && call != SBRK)
		return syscall(number_of(call), a[0], a[1], a[2], a[3], a[4], 0L);
	return wrapped(call, a);
}

static long perform(enum how how, enum call call, const long *a)
{
	long r = perform_one(how, call, a);

	return call == OPENAT && r >= 0 ? mrn_sys1(SYS_close, r) : r;
}

/* ----------------------------------------------------------------------------- before and after */

static void place(long addr, size_t size, int flags, int fd, long offset)
{
	long r = mrn_sys6(SYS_mmap, addr, (long)size, RW, flags | MAP_FIXED, fd, offset);

	CHECK_EQ(r, addr);
}

static void set_up(void)
{
	long fd = mrn_sys2(SYS_memfd_create, (long)"differential", 0), ro;
	char path[64];
	int pipes[2];

	CHECK(fd >= 0);
	CHECK_EQ(mrn_sys2(SYS_ftruncate, fd, FILE_PAGES * PAGE), 0);
	for (long i = 0; i < FILE_PAGES; i++) {
		char c = (char)('a' + i);

		CHECK_EQ(pwrite((int)fd, &c, 1, i * PAGE), 1);
	}
	CHECK_EQ(dup2((int)fd, FILE_FD), FILE_FD);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", FILE_FD);
	ro = open(path, O_RDONLY);
	CHECK_EQ(dup2((int)ro, RDONLY_FD), RDONLY_FD);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(dup2(pipes[1], PIPE_FD), PIPE_FD);
	CHECK_EQ(dup2((int)mrn_sys2(SYS_pidfd_open, getpid(), 0), SELF_FD), SELF_FD);

	place(P(ANON), 16 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	place(P(ANON2), 16 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	place(P(FILE_SHM), 8 * PAGE, MAP_SHARED, FILE_FD, 0);
	place(P(FILE_PRIV), 4 * PAGE, MAP_PRIVATE, FILE_FD, 8 * PAGE);
	for (long i = 0; i < 16; i++) {
		*(char *)P(ANON + i) = (char)('A' + i);
		*(char *)P(ANON2 + i) = (char)('A' + i);
	}
	*(char *)P(FILE_PRIV + 1) = '*';
	/* Where libc believes the break to be, without asking it. */
	brk_start = (uintptr_t)sbrk(0);
	bare_break = brk_start;
}

static bool keep_mapping(const struct mrn_mapping *m, void *arg)
{
	struct result *r = arg;

	if (m->start >= (uintptr_t)P(SCRATCH_PAGES) || m->end <= (uintptr_t)SCRATCH)
		return true;
	CHECK(r->nr < 64);
	r->mapping[r->nr] = *m;
	/* Each child has its own memfd. */
	r->mapping[r->nr++].inode = m->inode != 0;
	return true;
}

static char first_byte(long addr)
{
	char c = 0;
	struct iovec local = {&c, 1}, remote = {(void *)addr, 1};

	return mrn_sys6(SYS_process_vm_readv, getpid(), (long)&local, 1, (long)&remote, 1, 0) == 1
		       ? c
		       : '!';
}

static void note_state(struct result *r)
{
	struct mrn_mapping zero;

	memset(&zero, 0, sizeof(zero));
	r->file_size = lseek(FILE_FD, 0, SEEK_END);
	for (long i = 0; i < FILE_PAGES * 2; i++)
		if (pread(FILE_FD, &r->file[i], 1, i * PAGE) != 1)
			r->file[i] = '!';
	for (long i = 0; i < SCRATCH_PAGES; i++)
		r->page[i] = first_byte(P(i));
	CHECK_EQ(mrn_maps_visit(keep_mapping, r), 0);
}

static long argument(long a)
{
	if (a == SHM_ID)
		return shm_id;
	if (a >= BRK_TAG && a < BRK_TAG + 0x20000000L)
		return (long)brk_start + (a - BRK(0));
	return a;
}

/* Values of errno that no call here sets. */
#define UNTOUCHED 1234

static void child(const struct scenario *s, enum how how, struct result *r)
{
	/* All children have one, so that the kernel places the same mappings in the same holes. */
	CHECK(mrn_mm_self() != NULL);
	set_up();
	for (int i = 0; i < 4 && s->step[i].call != DONE; i++) {
		long a[5];

		for (int j = 0; j < 5; j++)
			a[j] = argument(s->step[i].arg[j]);
		errno = UNTOUCHED;
		r->value[i] = perform(how, s->step[i].call, a);
		r->error[i] = errno;
	}
	note_state(r);
}

static void run(const struct scenario *s, enum how how, struct result *r)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		child(s, how, r);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s, way %d: status %#x", s->name,
		  how, status);
}

/* SysV maps' offsets and names aside, mappings compare field by field: padding is no difference. */
static bool same_mapping(const struct mrn_mapping *a, const struct mrn_mapping *b)
{
	return a->start == b->start && a->end == b->end && a->offset == b->offset &&
	       a->readable == b->readable && a->writable == b->writable &&
	       a->executable == b->executable && a->shared == b->shared && a->inode == b->inode;
}

static void compare(const struct scenario *s, const struct result *want, const struct result *got,
		    enum how how)
{
	for (int i = 0; i < 4 && s->step[i].call != DONE; i++) {
		CHECK_MSG(want->value[i] == got->value[i], "%s, way %d, step %d: %#lx, not %#lx",
			  s->name, how, i, (unsigned long)got->value[i],
			  (unsigned long)want->value[i]);
		CHECK_MSG(want->error[i] == got->error[i], "%s, way %d, step %d: errno %d, not %d",
			  s->name, how, i, got->error[i], want->error[i]);
		if (want->value[i] != -1)
			CHECK_MSG(got->error[i] == UNTOUCHED, "%s: errno %d after success", s->name,
				  got->error[i]);
	}
	CHECK_MSG(want->file_size == got->file_size, "%s, way %d: file size", s->name, how);
	CHECK_MSG(!memcmp(want->file, got->file, sizeof(want->file)), "%s, way %d: file", s->name,
		  how);
	CHECK_MSG(!memcmp(want->page, got->page, sizeof(want->page)),
		  "%s, way %d: memory '%.*s', not '%.*s'", s->name, how, SCRATCH_PAGES, got->page,
		  SCRATCH_PAGES, want->page);
	CHECK_MSG(want->nr == got->nr, "%s, way %d: %d mappings, not %d", s->name, how, got->nr,
		  want->nr);
	for (int i = 0; i < want->nr; i++)
		CHECK_MSG(same_mapping(&want->mapping[i], &got->mapping[i]),
			  "%s, way %d: mapping %d", s->name, how, i);
}

static void make_segment(void)
{
	void *here;

	shm_id = shmget(IPC_PRIVATE, 3 * PAGE - 100, IPC_CREAT | 0600);
	CHECK(shm_id >= 0);
	/* Attached here and removed: it lives as long as this process, whatever happens. */
	here = shmat(shm_id, NULL, 0);
	CHECK(here != (void *)-1);
	CHECK_EQ(shmctl(shm_id, IPC_RMID, NULL), 0);
	memset(here, 's', 3 * PAGE - 100);
}

static void compare_one(const struct scenario *s)
{
	memset(results, 0, NR_HOWS * sizeof(*results));
	for (enum how how = BARE; how < NR_HOWS; how++)
		run(s, how, &results[how]);
	compare(s, &results[BARE], &results[WRAPPED], WRAPPED);
	compare(s, &results[BARE], &results[BY_SYSCALL], BY_SYSCALL);
}

#define NR(array) (sizeof(array) / sizeof((array)[0]))

TEST(same_as_bare, .timeout_s = 120)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP("addresses here are for pages of 4096 bytes");
	results = mmap(NULL, NR_HOWS * sizeof(*results), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(results != MAP_FAILED);
	make_segment();
	for (size_t i = 0; i < NR(scenarios); i++)
		compare_one(&scenarios[i]);
	for (size_t i = 0; i < NR(plain_scenarios) && !test_is_sanitized(); i++)
		compare_one(&plain_scenarios[i]);
	NOTE("%zu scenarios, each by wrapper and by syscall()",
	     NR(scenarios) + (test_is_sanitized() ? 0 : NR(plain_scenarios)));
}

TWIN(same_as_bare, errno_lost, lose_errno = true);
TWIN(same_as_bare, fifth_argument_lost, forget_new_addr = true);
