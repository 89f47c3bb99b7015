/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that the library keeps open in somebody else's program. The program controls its numbers: a daemon closes
 * everything above 2, dup2 replaces a descriptor, and the next open reuses a closed number. So a thread of the library
 * keeps its descriptors in a table of its own, where no other thread can close or replace them: a file stays open while
 * one table has it. A number in the program's table may serve as a short cut. A mark on the file shows, before it is
 * closed, that it is the library's.
 *
 * Not for the event path: a sandbox may not know fcntl.
 */
#ifndef MRN_OS_FD_H
#define MRN_OS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Moves fd, close-on-exec, to a high number, out of the program's way; but not near a large limit, since the kernel's
 * table has a place for each number up to the highest, and every fork copies them. Returns the new number, or fd itself
 * if no high one is free. Returns a negative fd unchanged.
 */
int mrn_fd_move_up(int fd);

/*
 * Gives the calling thread its own descriptor table, which has only the n descriptors fds. The numbers stay the same;
 * negative ones are skipped. The new table keeps none of the program's files open. The program's record locks stay,
 * since they belong to its table. From now on all code in this thread uses this table, so do not run callbacks in it.
 *
 * 0 or -errno: -EPERM if a sandbox allows neither close_range nor unshare. Does not check that fds are open.
 */
int mrn_fd_table_own(const int *fds, size_t n);

/*
 * Gives an empty file a size. 0 or -errno: -EFBIG if that exceeds RLIMIT_FSIZE, without asking the kernel, which would
 * kill the program (SIGXFSZ).
 */
int mrn_fd_set_size(int fd, uint64_t size);
/* RLIMIT_FSIZE. */
uint64_t mrn_fd_size_max(void);

/*
 * True if fd is the file at path. A file in /proc keeps its inode number as long as it is open. False if that cannot be
 * found out.
 */
bool mrn_fd_is_file(int fd, const char *path);

/*
 * Marks the open file, in any table: makes the library's thread tid its owner for signals, none of which is ever
 * requested. Only that file and its duplicates have the mark, while the thread lives. 0 or -errno.
 */
int mrn_fd_mark(int fd, long tid);
bool mrn_fd_is_marked(int fd, long tid);

/*
 * Closes fd in the caller's table if it has the mark. Checking and closing are two system calls: if another thread puts
 * its own file into this number in between, that file is closed.
 */
void mrn_fd_close_marked(int fd, long tid);

#endif
