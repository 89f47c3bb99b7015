/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fallocate, ftruncate, truncate, open(O_TRUNC), madvise(MADV_REMOVE): what they take from a file they take
 * from every mapping of it, and nothing in their arguments says where those are.
 *
 * There may be any number of mappings, and nothing may be allocated to remember them. So before the
 * call /proc/self/maps gives the lowest and the highest address at which the changed part of the
 * file is mapped, and one token over all between is held across the call. What lies in between and
 * is something else is invalidated for nothing, which costs time and is never wrong.
 *
 * A mapping that another thread makes after that look, outside the token, may still be read, and
 * shadowed, before the file changes. So there is a second look afterwards, and what it finds
 * outside the token is announced late (MRN_RANGE_AFTER). That is enough: a mapping that was read
 * before the change either stands there still, or has gone or moved by a call that had its own
 * bracket; and a mapping that the second look is too early to see is made after the change, with
 * pages of after it.
 *
 * Where there is no notifier at the beginning nobody looks: one that comes later meets a token over everything, and waits
 * for it. Truncating is as frequent as writing files anew, and a look costs more than many a truncation.
 *
 * Mappings are matched by inode number alone: the device that maps shows is not the one that stat
 * shows on btrfs, and mistaking another file for this one is harmless. overlayfs has two numbers
 * for one file; there every file mapping matches.
 *
 * Two sizes that race: a truncation is taken for one that grows the file by the size before it.
 * Where another thread makes the file longer in between, the two calls have no order to begin with.
 */
#undef _FILE_OFFSET_BITS /* or the functions below would be named fallocate64 and so on */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "os/maps.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/calls.h"

#include "os/event_path.h"

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define END_OF_FILE	      UINT64_MAX

/* ---------------------------------------------------------------------- looking at the mappings */

/* The part of a mapping that shows what changes; false for none. */
static bool is_changed(const struct mrn_file_change *c, const struct mrn_mapping *m,
		       uintptr_t *start, uintptr_t *end)
{
	uint64_t from = m->offset, to = m->offset + (m->end - m->start);

	if (!m->inode || (m->inode != c->inode && !c->every_file))
		return false;
	if (from < c->from)
		from = c->from;
	if (to > c->to)
		to = c->to;
	*start = m->start + (from - m->offset);
	*end = m->start + (to - m->offset);
	return from < to;
}

static bool widen(const struct mrn_mapping *m, void *arg)
{
	struct mrn_file_change *c = arg;
	uintptr_t start, end;

	if (!is_changed(c, m, &start, &end))
		return true;
	if (start < c->low)
		c->low = start;
	if (end > c->high)
		c->high = end;
	return true;
}

static bool announce_late(const struct mrn_mapping *m, void *arg)
{
	const struct mrn_file_change *c = arg;
	uintptr_t start, end;

	if (is_changed(c, m, &start, &end) && (start < c->low || end > c->high))
		mrn_bracket_late(MMU_NOTIFY_CLEAR, c->cause, start, end);
	return true;
}

static void cover_everything(struct mrn_file_change *c)
{
	c->low = 0;
	c->high = UINTPTR_MAX;
}

static void nothing(struct mrn_file_change *c, enum mrn_cause cause)
{
	mrn_bracket_none(&c->bracket);
	c->cause = cause;
	c->pending = false;
	c->every_file = false;
	c->low = UINTPTR_MAX;
	c->high = 0;
	c->path = NULL;
}

static bool covers_everything(const struct mrn_file_change *c)
{
	return c->low == 0 && c->high == UINTPTR_MAX;
}

static void begin(struct mrn_file_change *c)
{
	if (mrn_bracket_is_anothers())
		return;
	c->pending = true;
	if (mrn_bracket_tells_nobody() || mrn_maps_visit(widen, c) < 0)
		cover_everything(c);
	if (c->low < c->high)
		mrn_bracket_add(&c->bracket, MMU_NOTIFY_CLEAR, c->cause, c->low, c->high);
}

/* begin for [from, to) of the file that stat and statfs have described. */
static void begin_file(struct mrn_file_change *c, const struct stat *st, long fs_error,
		       const struct statfs *fs, uint64_t from, uint64_t to)
{
	/* A file system whose blocks are larger than pages drops whole blocks. */
	uint64_t unit = mrn_page_size();

	if (st->st_blksize > 0 && (uint64_t)st->st_blksize > unit)
		unit = (uint64_t)st->st_blksize;
	c->from = from - from % unit;
	c->to = to >= END_OF_FILE - unit ? END_OF_FILE : (to + unit - 1) / unit * unit;
	c->inode = st->st_ino;
	c->every_file = fs_error < 0 || fs->f_type == OVERLAYFS_SUPER_MAGIC;
	begin(c);
}

void mrn_file_change_end(struct mrn_file_change *c)
{
	struct stat st;

	if (!c->pending)
		return;
	/* The name may have come to mean another file between our look at it and the call's. */
	if (c->path && (mrn_sys4(SYS_newfstatat, c->folder, (long)c->path, (long)&st, 0) < 0 ||
			st.st_ino != c->inode))
		mrn_bracket_late(MMU_NOTIFY_CLEAR, c->cause, 0, UINTPTR_MAX);
	else if (!covers_everything(c) && mrn_maps_visit(announce_late, c) < 0)
		mrn_bracket_late(MMU_NOTIFY_CLEAR, c->cause, 0, UINTPTR_MAX);
	mrn_bracket_end(&c->bracket);
}

/* ------------------------------------------------------------------------------------ fallocate */

void mrn_file_change_fallocate(struct mrn_file_change *c, int fd, int mode, off_t offset,
			       off_t length)
{
	uint64_t from = (uint64_t)offset, to = from + (uint64_t)length;
	struct statfs fs;
	struct stat st;

	nothing(c, MRN_CAUSE_FALLOCATE);
	/* These only add. */
	if (!(mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_UNSHARE_RANGE)))
		return;
	if (offset < 0 || length <= 0 || to > INT64_MAX)
		return;
	if (mrn_sys2(SYS_fstat, fd, (long)&st) < 0)
		return;
	/* What is not a hole in place moves all that follows, or is not known here. */
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		to = END_OF_FILE;
	begin_file(c, &st, mrn_sys2(SYS_fstatfs, fd, (long)&fs), &fs, from, to);
}

/* -------------------------------------------------------------------------- ftruncate, truncate */

void mrn_file_change_ftruncate(struct mrn_file_change *c, int fd, off_t length)
{
	struct statfs fs;
	struct stat st;

	nothing(c, MRN_CAUSE_FTRUNCATE);
	if (length < 0 || mrn_sys2(SYS_fstat, fd, (long)&st) < 0 || st.st_size <= length)
		return;
	begin_file(c, &st, mrn_sys2(SYS_fstatfs, fd, (long)&fs), &fs, (uint64_t)length,
		   END_OF_FILE);
}

void mrn_file_change_truncate(struct mrn_file_change *c, const char *path, off_t length)
{
	struct statfs fs;
	struct stat st;

	nothing(c, MRN_CAUSE_FTRUNCATE);
	if (length < 0 || mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)path, (long)&st, 0) < 0 ||
	    st.st_size <= length)
		return;
	c->folder = AT_FDCWD;
	c->path = path;
	begin_file(c, &st, mrn_sys2(SYS_statfs, (long)path, (long)&fs), &fs, (uint64_t)length,
		   END_OF_FILE);
}

/* ----------------------------------------------------------------------------------------- open */

void mrn_file_change_open(struct mrn_file_change *c, int folder, const char *path, int flags)
{
	long fd, fs_error = -1;
	struct statfs fs;
	struct stat st;

	nothing(c, MRN_CAUSE_OPEN_TRUNC);
	/* O_EXCL: only a file that is not there yet. */
	if ((flags & (O_TRUNC | O_PATH)) != O_TRUNC ||
	    (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) ||
	    mrn_sys4(SYS_newfstatat, folder, (long)path, (long)&st, 0) < 0 ||
	    !S_ISREG(st.st_mode) || !st.st_size)
		return;
	if (folder == AT_FDCWD) {
		fs_error = mrn_sys2(SYS_statfs, (long)path, (long)&fs);
	} else {
		fd = mrn_sys4(SYS_openat, folder, (long)path, O_PATH | O_CLOEXEC, 0);
		if (fd >= 0) {
			fs_error = mrn_sys2(SYS_fstatfs, fd, (long)&fs);
			mrn_sys1(SYS_close, fd);
		}
	}
	c->folder = folder;
	c->path = path;
	begin_file(c, &st, fs_error, &fs, 0, END_OF_FILE);
}

/* Where the kernel may not be asked, as in some containers, it is taken to truncate. */
static int flags_of_how(long how)
{
	uint64_t flags;
	int r = mrn_peek(&flags, (uintptr_t)how, sizeof(flags));

	return !r ? (int)flags : r == -EFAULT ? 0 : O_TRUNC;
}

void mrn_file_change_open_number(struct mrn_file_change *c, long nr, long a, long b, long third)
{
	switch (nr) {
	case SYS_openat:
		mrn_file_change_open(c, (int)a, (const char *)b, (int)third);
		break;
	case SYS_openat2:
		mrn_file_change_open(c, (int)a, (const char *)b, flags_of_how(third));
		break;
#ifdef SYS_open
	case SYS_open:
		mrn_file_change_open(c, AT_FDCWD, (const char *)a, (int)b);
		break;
	case SYS_creat:
		mrn_file_change_open(c, AT_FDCWD, (const char *)a, O_TRUNC);
		break;
#endif
	default:
		nothing(c, MRN_CAUSE_OPEN_TRUNC);
		break;
	}
}

/* ---------------------------------------------------------------------------------- MADV_REMOVE */

struct removal {
	struct mrn_file_change *c;
	uintptr_t start, end;
	bool several; /* files */
};

static bool note_file(const struct mrn_mapping *m, void *arg)
{
	struct removal *r = arg;
	uint64_t from, to;

	if (!m->inode || m->end <= r->start || m->start >= r->end)
		return m->start < r->end;
	from = m->offset + (r->start > m->start ? r->start - m->start : 0);
	to = m->offset + ((r->end < m->end ? r->end : m->end) - m->start);
	if (!r->c->inode)
		r->c->inode = m->inode;
	else if (r->c->inode != m->inode)
		r->several = true;
	if (from < r->c->from)
		r->c->from = from;
	if (to > r->c->to)
		r->c->to = to;
	return true;
}

/* A hole in the file under [addr, addr + length): other mappings of it lose their pages too. */
void mrn_file_change_remove(struct mrn_file_change *c, const void *addr, size_t length)
{
	struct removal r = {.c = c};
	int error;

	nothing(c, MRN_CAUSE_REMOVE);
	if (!mrn_pages_spanned(addr, length, &r.start, &r.end))
		return;
	c->inode = 0;
	c->from = END_OF_FILE;
	c->to = 0;
	error = mrn_maps_visit(note_file, &r);
	c->low = r.start;
	c->high = r.end;
	if (error < 0 || r.several)
		cover_everything(c);
	begin(c);
}
