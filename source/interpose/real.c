/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looks the real calls up, before main and before almost every constructor. The one file here that
 * does not run on the event path: dlsym may allocate, and what it calls in turn meets the raw
 * calls.
 */

#include "source/interpose/real.h"

#include <dlfcn.h>
#include <mrn/mmu_notifier.h>

#include "source/interposer.h"

/* A call that the next library does not have stays raw. */
#define RESOLVE(into, name)                                                       \
	do {                                                                      \
		__typeof__(into) next = (__typeof__(into))dlsym(RTLD_NEXT, name); \
                                                                                  \
		if (next)                                                         \
			__atomic_store_n(&(into), next, __ATOMIC_RELAXED);        \
	} while (0)

__attribute__((constructor(101))) static void resolve(void)
{
	/* Made now, so that threads do not race for it. */
	mrn_mm_self();
	RESOLVE(mrn_real.munmap, "munmap");
	RESOLVE(mrn_real.mmap, "mmap");
	RESOLVE(mrn_real.mremap, "mremap");
	RESOLVE(mrn_real.remap_file_pages, "remap_file_pages");
	RESOLVE(mrn_real.madvise, "madvise");
	RESOLVE(mrn_real.process_madvise, "process_madvise");
	RESOLVE(mrn_real.mprotect, "mprotect");
	RESOLVE(mrn_real.pkey_mprotect, "pkey_mprotect");
	RESOLVE(mrn_real.brk, "brk");
	RESOLVE(mrn_real.sbrk, "sbrk");
	RESOLVE(mrn_real.shmat, "shmat");
	RESOLVE(mrn_real.shmdt, "shmdt");
	RESOLVE(mrn_real.fallocate, "fallocate");
	RESOLVE(mrn_real.ftruncate, "ftruncate");
	RESOLVE(mrn_real.truncate, "truncate");
	RESOLVE(mrn_real_syscall, "syscall");
	mrn_interposer_present();
}
