/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/files.h"

#include <errno.h>

#include "os/maps.h"
#include "os/pagemap.h"

#include "os/event_path.h"

/* The mapping at addr, or the next one. */
static int look_up(uintptr_t addr, struct mrn_mapping *m)
{
	const int fd = mrn_maps_open();
	const int r = fd < 0 ? fd : mrn_maps_next(fd, addr, m);

	return fd >= 0 && !mrn_maps_close(fd) ? -EIO : r;
}

static bool is_shared(struct check_files *f, uintptr_t addr)
{
	struct mrn_mapping m;

	if (addr < f->known)
		return f->shared;
	f->known = f->map.end;
	f->shared = false;
	if (look_up(addr, &m))
		return false;
	f->shared = m.start <= addr && m.shared;
	f->known = m.start <= addr ? m.end : m.start;
	return f->shared;
}

void check_files_begin(struct check_files *f, uintptr_t start, uintptr_t end)
{
	check_map_begin(&f->map, start, end);
	f->known = start;
}

bool check_files_have(struct check_files *f, uintptr_t addr)
{
	uint64_t entry;

	if (!check_map_entry(&f->map, addr, &entry))
		return false;
	if (entry & (MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_SWAPPED))
		return entry & MRN_PAGEMAP_FILE;
	return is_shared(f, addr);
}

void check_files_end(struct check_files *f)
{
	check_map_end(&f->map);
}

bool check_files_are_mapped(uintptr_t addr)
{
	struct mrn_mapping m;

	return !look_up(addr, &m) && m.start <= addr && (m.shared || mrn_mapping_is_of_file(&m));
}
