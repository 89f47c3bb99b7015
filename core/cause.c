/* SPDX-License-Identifier: BSD-3-Clause */
#include <mrn/mmu_notifier.h>

/* Coverage masks have other bits from 32 on. */
_Static_assert(MRN_NR_CAUSES <= 32, "a coverage mask has no more bits for causes");

const char *mrn_cause_name(enum mrn_cause cause)
{
	static const char *const name[MRN_NR_CAUSES] = {
		[MRN_CAUSE_UNKNOWN] = "unknown",
		[MRN_CAUSE_MUNMAP] = "munmap",
		[MRN_CAUSE_MAP_FIXED] = "map_fixed",
		[MRN_CAUSE_MREMAP_SRC] = "mremap_src",
		[MRN_CAUSE_MREMAP_DST] = "mremap_dst",
		[MRN_CAUSE_DONTNEED] = "dontneed",
		[MRN_CAUSE_DONTNEED_LOCKED] = "dontneed_locked",
		[MRN_CAUSE_FREE] = "free",
		[MRN_CAUSE_REMOVE] = "remove",
		[MRN_CAUSE_MADVISE] = "madvise",
		[MRN_CAUSE_BRK] = "brk",
		[MRN_CAUSE_SHMDT] = "shmdt",
		[MRN_CAUSE_SHMAT_REMAP] = "shmat_remap",
		[MRN_CAUSE_REMAP_FILE_PAGES] = "remap_file_pages",
		[MRN_CAUSE_MPROTECT] = "mprotect",
		[MRN_CAUSE_FALLOCATE] = "fallocate",
		[MRN_CAUSE_FTRUNCATE] = "ftruncate",
		[MRN_CAUSE_OPEN_TRUNC] = "open_trunc",
		[MRN_CAUSE_FORK] = "fork",
		[MRN_CAUSE_EXEC] = "exec",
		[MRN_CAUSE_DETACH] = "detach",
		[MRN_CAUSE_OTHER] = "other",
	};

	return (unsigned int)cause < MRN_NR_CAUSES ? name[cause] : "unknown";
}
