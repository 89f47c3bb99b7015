/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's mappings, read from /proc/self/maps with raw calls into a buffer on the stack: no
 * allocation, so it may run on the event path. The kernel gives each line whole and in address
 * order; mappings that change while one reads may be seen before or after the change.
 *
 * Or queried one at a time: PROCMAP_QUERY (Linux 6.11), which Debian 12's headers lack.
 */
#ifndef MRN_OS_MAPS_H
#define MRN_OS_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mrn_mapping {
	uintptr_t start, end;
	uint64_t offset; /* in the file, bytes */
	unsigned int dev_major, dev_minor;
	uint64_t inode; /* 0: anonymous, or the first SysV segment: see mrn_mapping_is_of_file */
	bool readable, writable, executable, shared;
	uint64_t page_size; /* bytes, more than the OS page for hugetlb; 0: not told */
	const char *path;   /* in mrn_maps_visit, while visit runs: "" without one; else NULL */
};

/*
 * A SysV segment's inode number is its id, and the first id is 0. The device is never: memory's own files
 * have a minor number from 1 on.
 */
static inline bool mrn_mapping_is_of_file(const struct mrn_mapping *m)
{
	return m->inode || m->dev_major || m->dev_minor;
}

/* Longer paths are cut off. */
#define MRN_MAPS_PATH_MAX 223

/*
 * The file of a mapping, and its file system: from /proc/self/map_files if this process may read it, else by
 * mapping->path if that still leads to the same inode on the same device. 0, or -errno if it cannot be found out.
 */
struct stat;
struct statfs;
int mrn_mapping_file(const struct mrn_mapping *mapping, struct stat *st, struct statfs *fs);

/*
 * Calls visit(mapping, arg) for each mapping until it returns false. 0, or -errno when the file
 * cannot be read; then some mappings may have been visited.
 */
int mrn_maps_visit(bool (*visit)(const struct mrn_mapping *mapping, void *arg), void *arg);

/* The first mappings, max at most, that end after addr, in order. Returns how many, or -errno. */
long mrn_maps_from(uintptr_t addr, struct mrn_mapping *mappings, size_t max);

/* Opens the descriptor for mrn_maps_query. In a forked child it still shows the parent. */
int mrn_maps_open(void);
/*
 * Closes fd. False, with nothing closed: fd is another file by now, or closed; then everything read from it may be
 * another file's.
 */
bool mrn_maps_close(int fd);

/*
 * The mapping that contains addr, or else the next one. 0, -ENOENT if there is none, or another -errno: -ENOTTY if the
 * kernel lacks the call.
 */
int mrn_maps_query(int fd, uintptr_t addr, struct mrn_mapping *mapping);
/* The same, but reads the file where the kernel does not answer. */
int mrn_maps_next(int fd, uintptr_t addr, struct mrn_mapping *mapping);

#endif
