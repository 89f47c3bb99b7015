/* SPDX-License-Identifier: BSD-3-Clause */
/* munmap, mmap, mremap, remap_file_pages. */
#undef _FILE_OFFSET_BITS /* else mmap below would be named mmap64 */

#include <stdarg.h>
#include <sys/mman.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int munmap(void *addr, size_t length)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_munmap(&b, addr, length);
	r = MRN_REAL(munmap)(addr, length);
	mrn_bracket_end(&b, r < 0);
	return r;
}

MRN_INTERPOSED void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	struct mrn_bracket b;
	void *r;

	if (!mrn_mmap_replaces(flags)) {
		r = MRN_REAL(mmap)(addr, length, prot, flags, fd, offset);
		if (r != MAP_FAILED)
			mrn_bracket_mapped(r, length, flags, fd);
		return r;
	}
	mrn_bracket_mmap_fixed(&b, addr, length, flags, fd);
	r = MRN_REAL(mmap)(addr, length, prot, flags, fd, offset);
	mrn_bracket_end(&b, r == MAP_FAILED);
	return r;
}

MRN_INTERPOSED void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

MRN_INTERPOSED void *mremap(void *addr, size_t old_size, size_t new_size, int flags, ...)
{
	struct mrn_bracket b;
	void *new_addr = NULL, *r;

	/* The caller passes a fifth argument only with these flags. */
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_list ap;

		va_start(ap, flags);
		new_addr = va_arg(ap, void *);
		va_end(ap);
	}
	mrn_bracket_mremap(&b, addr, old_size, new_size, flags, new_addr);
	r = MRN_REAL(mremap)(addr, old_size, new_size, flags, new_addr);
	mrn_bracket_end(&b, r == MAP_FAILED || mrn_mremap_stays(addr, old_size, new_size, r));
	if (r != MAP_FAILED)
		mrn_bracket_moved(addr, old_size, new_size, flags, r);
	return r;
}

MRN_INTERPOSED int remap_file_pages(void *addr, size_t size, int prot, size_t pgoff, int flags)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_remap_file_pages(&b, addr, size);
	r = MRN_REAL(remap_file_pages)(addr, size, prot, pgoff, flags);
	mrn_bracket_end(&b, r < 0);
	return r;
}
