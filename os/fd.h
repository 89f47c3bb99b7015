/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that the library keeps open in somebody else's program. Numbers are the program's: a daemon closes
 * everything above 2, dup2 puts something else in a number's place, and whatever is opened next takes a number that was
 * closed. So a thread of the library's own keeps them in a descriptor table of its own, where nobody else can close or
 * exchange one: a file stays open while one table has it. A number in the program's table may serve as a short cut. It
 * has a mark, by which it is known for the library's before it is closed.
 *
 * Not for the event path: a sandbox may not know fcntl.
 */
#ifndef MRN_OS_FD_H
#define MRN_OS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Moves fd, close-on-exec, to a high number, out of the way of the program's. Not near the limit where that is large: the
 * kernel's table has a place for each number up to the highest, and every fork copies them. Returns the number that it
 * has from now on: fd itself where no high one is free. A negative fd is returned as it is.
 */
int mrn_fd_move_up(int fd);

/*
 * Gives the calling thread a descriptor table of its own with fds, n of them, and nothing else in it. The numbers
 * stay the same; negative ones are skipped. No file of the program's stays open by it. Its record locks stay, which belong
 * to the program's table. Everything that runs in the thread from now on goes by this table: no callback should.
 *
 * 0 or -errno: -EPERM where a sandbox allows neither close_range nor unshare. It does not tell whether fds are open.
 */
int mrn_fd_table_own(const int *fds, size_t n);

/*
 * Gives an empty file a size. 0 or -errno: -EFBIG where that is more than the program's limit on files (RLIMIT_FSIZE), without
 * asking, for that would be the program's end (SIGXFSZ).
 */
int mrn_fd_set_size(int fd, uint64_t size);
/* That limit. */
uint64_t mrn_fd_size_max(void);

/*
 * Does fd stand for the file that the path leads to? One in /proc keeps its number as long as somebody has it open. False
 * where that cannot be found out.
 */
bool mrn_fd_is_file(int fd, const char *path);

/*
 * Marks the open file, in whichever table: its owner for signals, of which none is ever asked for, is thread tid of the
 * library's own. Only that file and its duplicates have the mark; it is there while the thread lives. 0 or -errno.
 */
int mrn_fd_mark(int fd, long tid);
bool mrn_fd_is_marked(int fd, long tid);

/*
 * Closes fd in the table of the caller if it has the mark. Nothing can compare and close in one: a program that has
 * another thread put a file of its own into just this number, between two system calls, loses it.
 */
void mrn_fd_close_marked(int fd, long tid);

#endif
