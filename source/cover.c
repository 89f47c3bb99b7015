/* SPDX-License-Identifier: BSD-3-Clause */
#include <mrn/source.h>

const char *mrn_cover_name(uint64_t bit)
{
	if (bit == MRN_COVER_LIBC_INTERNAL)
		return "libc_internal";
	if (bit == MRN_COVER_RAW)
		return "raw";
	if (bit == MRN_COVER_ALL_CALLERS)
		return "all_callers";
	if (bit == MRN_COVER_IO_URING)
		return "io_uring";
	if (bit == MRN_COVER_PAGE_CACHE)
		return "page_cache";
	for (int cause = 0; cause < MRN_NR_CAUSES; cause++)
		if (bit == MRN_CAUSE_BIT(cause))
			return mrn_cause_name((enum mrn_cause)cause);
	return "unknown";
}
