/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/cause/way.h"

#include <fcntl.h>
#include <sys/mman.h>

/* C libraries' headers are older than kernels. */
#define ADVICE_DONTNEED_LOCKED 24
#define ADVICE_COLLAPSE	       25
#define ADVICE_GUARD_INSTALL   102

/* One row by libc's function, and one by a raw system call. */
#define BOTH(NAME, ABOUT, WAY, ...)                                                                \
	{.name = NAME, .about = ABOUT, .way = &cause_##WAY, ##__VA_ARGS__},                        \
	{                                                                                          \
		.name = NAME "_raw", .about = ABOUT ", by a raw system call", .way = &cause_##WAY, \
		.raw = true, ##__VA_ARGS__                                                         \
	}

#define ONE(NAME, ABOUT, WAY, ...)                                               \
	{                                                                        \
		.name = NAME, .about = ABOUT, .way = &cause_##WAY, ##__VA_ARGS__ \
	}

const struct cause cause_table[] = {
	BOTH("munmap", "munmap", munmap),
	BOTH("munmap_part", "munmap of the middle", munmap, .part = true),
	BOTH("mmap_fixed", "mmap with MAP_FIXED over it", mmap_fixed),
	BOTH("mmap_fixed_part", "mmap with MAP_FIXED over the middle", mmap_fixed, .part = true),
	BOTH("mremap_move", "mremap away from it", mremap_move),
	BOTH("mremap_shrink", "mremap to half the size", mremap_shrink),
	BOTH("mremap_onto", "mremap of other memory onto it", mremap_onto),
	BOTH("mremap_again", "mremap of no size, which maps shared memory once more, onto it",
	     mremap_again),
	BOTH("mremap_dontunmap", "mremap of its pages, with MREMAP_DONTUNMAP", mremap_dontunmap),
	BOTH("remap_file_pages", "remap_file_pages to another part of the file", remap_file_pages),
	BOTH("mprotect", "mprotect to read-only", mprotect, .keeps_page = true),
	BOTH("pkey_mprotect", "pkey_mprotect to read-only", pkey_mprotect, .keeps_page = true),

	BOTH("dontneed", "madvise MADV_DONTNEED", advise, .arg = MADV_DONTNEED),
	BOTH("dontneed_locked", "madvise MADV_DONTNEED_LOCKED of locked memory", advise_locked,
	     .arg = ADVICE_DONTNEED_LOCKED),
	BOTH("madv_free", "madvise MADV_FREE, and a write before memory is short", advise,
	     .arg = MADV_FREE, .keeps_page = true),
	BOTH("madv_remove", "madvise MADV_REMOVE of a shared file's pages", advise_file,
	     .arg = MADV_REMOVE),
	BOTH("guard_install", "madvise MADV_GUARD_INSTALL", guard, .arg = ADVICE_GUARD_INSTALL),
	BOTH("pageout", "madvise MADV_PAGEOUT", advise, .arg = MADV_PAGEOUT, .keeps_page = true),
	BOTH("collapse", "madvise MADV_COLLAPSE into a huge page", collapse, .arg = ADVICE_COLLAPSE,
	     .keeps_page = true),
	BOTH("process_madvise", "process_madvise MADV_DONTNEED of the process itself",
	     process_madvise, .arg = MADV_DONTNEED),

	BOTH("uffd_move", "ioctl UFFDIO_MOVE of its pages to elsewhere", uffd_move,
	     .keeps_page = true),

	BOTH("brk", "brk below it", brk),
	ONE("sbrk", "sbrk below it", sbrk),
	BOTH("shmdt", "shmdt", shmdt),
	BOTH("shmat_remap", "shmat with SHM_REMAP over it", shmat_remap),

	BOTH("punch_hole", "fallocate FALLOC_FL_PUNCH_HOLE in the mapped file", punch_hole,
	     .arg = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
	BOTH("punch_hole_ioctl", "ioctl FS_IOC_UNRESVSP, a hole in the mapped file",
	     punch_hole_ioctl),
	BOTH("collapse_range", "fallocate FALLOC_FL_COLLAPSE_RANGE in the mapped file", fallocate,
	     .arg = FALLOC_FL_COLLAPSE_RANGE),
	BOTH("insert_range", "fallocate FALLOC_FL_INSERT_RANGE in the mapped file", fallocate,
	     .arg = FALLOC_FL_INSERT_RANGE),
	BOTH("zero_range", "fallocate FALLOC_FL_ZERO_RANGE in the mapped file", fallocate,
	     .arg = FALLOC_FL_ZERO_RANGE),
	BOTH("ftruncate", "ftruncate of the mapped file", ftruncate),
	BOTH("truncate", "truncate of the mapped file by its path", truncate),
	BOTH("open_trunc", "open of the mapped file with O_TRUNC", open),
	BOTH("open_by_handle", "open_by_handle_at of the mapped file with O_TRUNC", open_handle),
	ONE("creat", "creat of the mapped file", creat),
	ONE("fopen_w", "fopen of the mapped file to write", fopen),

	ONE("free", "free of a large block, which libc unmaps inside", free),
	ONE("realloc", "realloc of a large block, which libc moves inside", realloc),
	ONE("malloc_trim", "malloc_trim, which discards pages inside libc", malloc_trim),
	ONE("thread_stack", "a thread's end, which frees its stack inside libc", thread_stack),
	ONE("dlclose", "dlclose, which unmaps a library inside the dynamic linker", dlclose),
	ONE("fork_write", "a write while a forked child has the page too", fork_write,
	    .keeps_page = true),
	BOTH("execve", "execve, which leaves nothing of it", exec, .ends_program = true),

	ONE("uring_madvise", "io_uring's operation MADVISE, with MADV_DONTNEED", uring_madvise,
	    .by_ring = true),
	ONE("uring_fallocate", "io_uring's operation FALLOCATE, with FALLOC_FL_PUNCH_HOLE",
	    uring_fallocate, .by_ring = true),
	ONE("uring_ftruncate", "io_uring's operation FTRUNCATE", uring_ftruncate, .by_ring = true),
};

const size_t cause_count = sizeof(cause_table) / sizeof(cause_table[0]);
