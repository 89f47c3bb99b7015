/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fallocate, ftruncate, truncate, open(O_TRUNC), madvise(MADV_REMOVE): they take pages from a file, hence from each of
 * its mappings, and their arguments do not say where those are.
 *
 * There may be any number of mappings, and nothing may be allocated to remember them. So before the call
 * /proc/self/maps gives the ranges that map the changed part of the file. Each gets a token, held across the call; if
 * there are too many, the two nearest share one. The call may block for as long as it likes (a lease, FUSE, NFS):
 * lookups elsewhere do not wait for it.
 *
 * A mapping that another thread makes after that look, outside the tokens, may still be read, and shadowed, before the
 * file changes. So there is a second look afterwards, and what it finds outside the tokens is announced late
 * (MRN_RANGE_AFTER). That is enough: a mapping that was read before the change is still there, or has gone or moved by
 * a call with a bracket of its own; and a mapping that the second look is too early to see is made after the change,
 * with pages from after it.
 *
 * If there is neither a notifier nor a source at the beginning, the kernel is not asked: truncating is as frequent as
 * rewriting files, a look costs more than many a truncation, and a sandbox may forbid it. A notifier that has come by
 * the end of the call is told late, of everything. (It was inserted, and a full fence passed, before its owner read a
 * translation that the call then took away; and the call's end looks for notifiers after a full fence of its own. So
 * the look finds it.)
 *
 * Mappings are matched by inode number alone: on btrfs maps and stat show different devices, and mistaking another file
 * for this one is harmless. Where the two inode numbers may differ, every file mapping matches: on all file systems but
 * those known to have one number (overlayfs has two), and for a block device, which has one page cache but may be
 * opened by many nodes with numbers of their own. Not seen: a file that is mapped through an overlay or FUSE's
 * passthrough, and changed past it; such a mapping is good for one use (source/files.h).
 *
 * Two sizes that race: a truncation counts as growing the file if the size before it was smaller. If another thread
 * makes the file longer in between, the two calls have no order to begin with.
 */
#undef _FILE_OFFSET_BITS /* else the functions below would be named fallocate64 and so on */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "source/bracket/check.h"
#include "os/atomic.h"
#include "os/maps.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/other.h"
#include "source/confined.h"
#include "source/interposer.h"

#include "os/event_path.h"

#define END_OF_FILE UINT64_MAX

void mrn_file_change_none(struct mrn_file_change *c)
{
	c->pending = false;
	c->own_argument = 0;
}

/* ------------------------------------------------------------------------------ which file it is */

/* File systems on which stat and maps show the same inode number. */
static bool has_one_number(const struct statfs *fs)
{
	switch ((uint32_t)fs->f_type) {
	case BTRFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case HUGETLBFS_MAGIC:
	case NFS_SUPER_MAGIC:
	case RAMFS_MAGIC:
	case TMPFS_MAGIC:
	case XFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* A sandbox forbids the look: this does not mean that the call will fail. */
static bool is_not_to_be_known(long error)
{
	return error == -EPERM || error == -ENOSYS;
}

static bool is_known_by_number(const struct stat *st, long fs_error, const struct statfs *fs)
{
	return fs_error >= 0 && !S_ISBLK(st->st_mode) && has_one_number(fs);
}

/* ---------------------------------------------------------------------- looking at the mappings */

/* The part of a mapping that shows the change; false if none does. */
static bool is_changed(const struct mrn_file_change *c, const struct mrn_mapping *m,
		       uintptr_t *start, uintptr_t *end)
{
	uint64_t from = m->offset, to = m->offset + (m->end - m->start);

	if (!mrn_mapping_is_of_file(m) || (m->inode != c->inode && !c->every_file))
		return false;
	if (from < c->from)
		from = c->from;
	if (to > c->to)
		to = c->to;
	*start = m->start + (from - m->offset);
	*end = m->start + (to - m->offset);
	return from < to;
}

static bool note_mapping(const struct mrn_mapping *m, void *arg)
{
	struct mrn_file_change *c = arg;
	uintptr_t start, end;

	if (is_changed(c, m, &start, &end))
		c->nr_spans = mrn_spans_add(c->span, c->nr_spans,
					    MRN_BROKEN(BRACKET_HULL) ? 1 : MRN_FILE_SPANS, start,
					    end);
	return true;
}

static bool announce_late(const struct mrn_mapping *m, void *arg)
{
	const struct mrn_file_change *c = arg;
	uintptr_t start, end;

	if (is_changed(c, m, &start, &end) && !mrn_spans_hold(c->span, c->nr_spans, start, end))
		mrn_bracket_late(MMU_NOTIFY_CLEAR, c->cause, start, end, c->failed);
	return true;
}

static void everything_late(const struct mrn_file_change *c)
{
	mrn_bracket_late(MMU_NOTIFY_CLEAR, c->cause, 0, UINTPTR_MAX, c->failed);
}

static void cover_everything(struct mrn_file_change *c)
{
	c->span[0].start = 0;
	c->span[0].end = UINTPTR_MAX;
	c->nr_spans = 1;
}

static bool covers_everything(const struct mrn_file_change *c)
{
	return mrn_spans_hold(c->span, c->nr_spans, 0, UINTPTR_MAX);
}

bool mrn_file_change_nobody(struct mrn_file_change *c, enum mrn_cause cause)
{
	c->cause = cause;
	c->pending = false;
	c->unwatched = c->failed = false;
	c->every_file = false;
	c->own_argument = 0;
	c->nr_spans = 0;
	c->path = NULL;
	if (mrn_bracket_is_anothers())
		return true;
	if (!mrn_bracket_tells_nobody() || mrn_source_is_attached())
		return false;
	c->pending = c->unwatched = true;
	return true;
}

static void begin(struct mrn_file_change *c)
{
	c->pending = true;
	if (mrn_maps_visit(note_mapping, c) < 0)
		cover_everything(c);
}

/* Matches every mapping of a file, whichever part it shows. */
static void any_file(struct mrn_file_change *c)
{
	c->every_file = true;
	c->from = 0;
	c->to = END_OF_FILE;
}

static void begin_any_file(struct mrn_file_change *c)
{
	any_file(c);
	begin(c);
}

/* begin for [from, to) of the file that st and fs describe. */
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
	c->every_file = !is_known_by_number(st, fs_error, fs);
	begin(c);
}

void mrn_file_change_late(const struct mrn_file_change *c)
{
	struct stat st;

	if (c->unwatched) {
		/* Orders the change before the look for notifiers; pairs with the fence in insert. */
		mrn_fence_full();
		if (!mrn_bracket_tells_nobody())
			everything_late(c);
		return;
	}
	/* Between the look and the call, the name may have come to mean another file. */
	if (c->path && (mrn_sys4(SYS_newfstatat, c->folder, (long)c->path, (long)&st, 0) < 0 ||
			st.st_ino != c->inode))
		everything_late(c);
	else if (!covers_everything(c) && mrn_maps_visit(announce_late, (void *)(uintptr_t)c) < 0)
		everything_late(c);
}

/* ------------------------------------------------------------------------------------ fallocate */

void mrn_file_change_fallocate(struct mrn_file_change *c, int fd, int mode, off_t offset,
			       off_t length)
{
	uint64_t from = (uint64_t)offset, to = from + (uint64_t)length;
	struct statfs fs;
	struct stat st;
	long error;

	/* These modes only add. */
	if (!(mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_UNSHARE_RANGE))) {
		mrn_file_change_none(c);
		return;
	}
	if (mrn_file_change_nobody(c, MRN_CAUSE_FALLOCATE))
		return;
	if (offset < 0 || length <= 0 || to > INT64_MAX)
		return;
	error = mrn_sys2(SYS_fstat, fd, (long)&st);
	if (is_not_to_be_known(error))
		begin_any_file(c);
	if (error < 0)
		return;
	/* Any mode but a hole or zeros in place moves all that follows, or is not known here. */
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		to = END_OF_FILE;
	begin_file(c, &st, mrn_sys2(SYS_fstatfs, fd, (long)&fs), &fs, from, to);
}

/* The same by ioctl. l_start counts from the beginning, or from elsewhere with another l_whence. */
void mrn_file_change_ioctl(struct mrn_file_change *c, int fd, unsigned int request, const void *arg)
{
	const bool is_32 = _IOC_SIZE(request) == _IOC_SIZE(MRN_FS_UNRESVSP_32);
	const size_t at = is_32 ? 4 : 8;
	char copy[48] = {0};
	int16_t whence;
	int64_t start, length;

	if (mrn_file_change_nobody(c, MRN_CAUSE_FALLOCATE))
		return;
	if (mrn_peek(copy, (uintptr_t)arg, _IOC_SIZE(request))) {
		/* The part is not known. */
		mrn_file_change_fallocate(c, fd, FALLOC_FL_COLLAPSE_RANGE, 0, 1);
		return;
	}
	__builtin_memcpy(&whence, copy + 2, sizeof(whence));
	__builtin_memcpy(&start, copy + at, sizeof(start));
	__builtin_memcpy(&length, copy + at + 8, sizeof(length));
	if (whence)
		mrn_file_change_fallocate(c, fd, FALLOC_FL_COLLAPSE_RANGE, 0, 1);
	else
		mrn_file_change_fallocate(c, fd, FALLOC_FL_PUNCH_HOLE, start, length);
	if (!c->pending)
		return;
	__builtin_memcpy(c->argument, copy, sizeof(copy));
	c->own_argument = 3;
}

/* -------------------------------------------------------------------------- ftruncate, truncate */

void mrn_file_change_ftruncate(struct mrn_file_change *c, int fd, off_t length)
{
	struct statfs fs;
	struct stat st;
	long error;

	if (mrn_file_change_nobody(c, MRN_CAUSE_FTRUNCATE) || length < 0)
		return;
	error = mrn_sys2(SYS_fstat, fd, (long)&st);
	if (is_not_to_be_known(error))
		begin_any_file(c);
	if (error < 0 || st.st_size <= length)
		return;
	begin_file(c, &st, mrn_sys2(SYS_fstatfs, fd, (long)&fs), &fs, (uint64_t)length,
		   END_OF_FILE);
}

void mrn_file_change_truncate(struct mrn_file_change *c, const char *path, off_t length)
{
	struct statfs fs;
	struct stat st;
	long error;

	if (mrn_file_change_nobody(c, MRN_CAUSE_FTRUNCATE) || length < 0)
		return;
	error = mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)path, (long)&st, 0);
	if (is_not_to_be_known(error))
		begin_any_file(c);
	if (error < 0 || st.st_size <= length)
		return;
	c->folder = AT_FDCWD;
	c->path = path;
	begin_file(c, &st, mrn_sys2(SYS_statfs, (long)path, (long)&fs), &fs, (uint64_t)length,
		   END_OF_FILE);
}

/* ----------------------------------------------------------------------------------------- open */

void mrn_file_change_open(struct mrn_file_change *c, int folder, const char *path, int flags)
{
	long fd, error, fs_error = -1;
	struct statfs fs;
	struct stat st;

	/* O_EXCL opens only a new file. */
	if ((flags & (O_TRUNC | O_PATH)) != O_TRUNC ||
	    (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
		mrn_file_change_none(c);
		return;
	}
	if (mrn_file_change_nobody(c, MRN_CAUSE_OPEN_TRUNC))
		return;
	error = mrn_sys4(SYS_newfstatat, folder, (long)path, (long)&st, 0);
	if (is_not_to_be_known(error))
		begin_any_file(c);
	if (error < 0 || !S_ISREG(st.st_mode) || !st.st_size)
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

/* Reads the handle once, if the kernel may be asked. */
static void take_handle(struct mrn_file_change *c, const void *handle)
{
	uint32_t header[2]; /* the number of bytes that follow, and their type */

	if (mrn_peek(header, (uintptr_t)handle, sizeof(header)) ||
	    header[0] > MRN_OWN_ARGUMENT - sizeof(header) ||
	    mrn_peek(c->argument, (uintptr_t)handle, sizeof(header) + header[0]))
		return;
	/* The bytes that follow were counted by the first reading. */
	__builtin_memcpy(c->argument, header, sizeof(header));
	c->own_argument = 2;
}

void mrn_file_change_open_handle(struct mrn_file_change *c, int mount, const void *handle,
				 int flags)
{
	struct statfs fs;
	struct stat st;
	long fd;

	if ((flags & (O_TRUNC | O_PATH)) != O_TRUNC) {
		mrn_file_change_none(c);
		return;
	}
	if (mrn_file_change_nobody(c, MRN_CAUSE_OPEN_TRUNC))
		return;
	take_handle(c, handle);
	fd = mrn_sys3(SYS_open_by_handle_at, mount,
		      mrn_file_change_argument(c, 2, (long)(uintptr_t)handle), O_PATH | O_CLOEXEC);
	if (fd < 0 || mrn_sys2(SYS_fstat, fd, (long)&st) < 0) {
		begin_any_file(c);
	} else if (S_ISREG(st.st_mode) && st.st_size) {
		begin_file(c, &st, mrn_sys2(SYS_fstatfs, fd, (long)&fs), &fs, 0, END_OF_FILE);
	}
	if (fd >= 0)
		mrn_sys1(SYS_close, fd);
}

/* ---------------------------------------------------------------------------------- MADV_REMOVE */

/* A memfd, a SysV segment or shared anonymous memory: the kernel gives them these names, on a mount of its own. */
static bool is_memorys_own(const struct mrn_mapping *m)
{
	return !m->dev_major && (!strncmp(m->path, "/memfd:", 7) || !strncmp(m->path, "/SYSV", 5) ||
				 !strcmp(m->path, "/dev/zero (deleted)"));
}

static bool is_mapped_by_number(const struct mrn_mapping *m)
{
	struct statfs fs;
	struct stat st;

	/* Where the program may be forbidden to ask, the file is not known. */
	return is_memorys_own(m) || (!mrn_is_confined() && mrn_mapping_file(m, &st, &fs) == 0 &&
				     is_known_by_number(&st, 0, &fs));
}

struct removal {
	struct mrn_file_change *c;
	uintptr_t start, end;
	unsigned int files; /* 2: more than one */
	bool is_known;	    /* by its number */
};

static bool note_file(const struct mrn_mapping *m, void *arg)
{
	struct removal *r = arg;
	uint64_t from, to;

	if (!mrn_mapping_is_of_file(m) || m->end <= r->start || m->start >= r->end)
		return m->start < r->end;
	from = m->offset + (r->start > m->start ? r->start - m->start : 0);
	to = m->offset + ((r->end < m->end ? r->end : m->end) - m->start);
	if (r->files && r->c->inode != m->inode)
		r->files = 2;
	else if (!r->files)
		r->files = 1;
	r->is_known = r->is_known && is_mapped_by_number(m);
	r->c->inode = m->inode;
	if (from < r->c->from)
		r->c->from = from;
	if (to > r->c->to)
		r->c->to = to;
	return true;
}

/* A hole in the file under [addr, addr + length): other mappings of it lose their pages too. */
void mrn_file_change_remove(struct mrn_file_change *c, const void *addr, size_t length)
{
	struct removal r = {.c = c, .is_known = true};
	int error;

	if (mrn_file_change_nobody(c, MRN_CAUSE_REMOVE) ||
	    !mrn_pages_spanned(addr, length, &r.start, &r.end))
		return;
	c->from = END_OF_FILE;
	c->to = 0;
	error = mrn_maps_visit(note_file, &r);
	c->nr_spans = mrn_spans_add(c->span, 0, MRN_FILE_SPANS, r.start, r.end);
	/* Several files, or an unknown one. */
	if (error < 0 || r.files > 1)
		any_file(c);
	else if (!r.is_known)
		c->every_file = true;
	begin(c);
}

void mrn_file_change_remove_many(struct mrn_file_change *c)
{
	if (mrn_file_change_nobody(c, MRN_CAUSE_REMOVE))
		return;
	any_file(c);
	begin(c);
}
