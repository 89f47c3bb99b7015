/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "os/check.h"
#include "source/check.h"
#include "os/maps.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/confined.h"

static bool is_device(const struct stat *st, const struct mrn_mapping *m)
{
	return major(st->st_dev) == m->dev_major && minor(st->st_dev) == m->dev_minor;
}

/*
 * The mount that the kernel has for itself: for memfds, SysV segments and shared anonymous memory. It is never
 * unmounted, so its device number stays. known is 0 before the first one is seen.
 */
static bool is_memorys_own(const struct mrn_mapping *m)
{
	static uint64_t known;
	uint64_t device = __atomic_load_n(&known, __ATOMIC_RELAXED);
	struct stat st;

	if (!device) {
		long fd = mrn_sys2(SYS_memfd_create, (long)"mrn-device", MFD_CLOEXEC);

		if (fd < 0)
			return false;
		if (mrn_sys2(SYS_fstat, fd, (long)&st) == 0)
			device = st.st_dev;
		mrn_sys1(SYS_close, fd);
		__atomic_store_n(&known, device, __ATOMIC_RELAXED);
	}
	st.st_dev = device;
	return device && is_device(&st, m);
}

/* Checked each time: another file system may be mounted there by now. */
static bool is_mounted_at(const char *folder, const struct mrn_mapping *m)
{
	struct stat st;

	return mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)folder, (long)&st, 0) == 0 &&
	       is_device(&st, m);
}

/* A tmpfs mounted with nodev. */
static bool is_tmpfs_at(const char *folder, const struct mrn_mapping *m)
{
	struct statfs fs;

	return is_mounted_at(folder, m) && mrn_sys2(SYS_statfs, (long)folder, (long)&fs) == 0 &&
	       fs.f_type == TMPFS_MAGIC && (fs.f_flags & ST_NODEV);
}

/* One line of mountinfo, "id parent major:minor root place options ... - type source options". */
struct line {
	unsigned int field; /* from 0 on; after the hyphen, from AFTER on */
	unsigned int length;
	char text[64];	 /* the beginning of the field */
	bool is_its;	 /* the device is the one looked for */
	bool has_no_dev; /* mounted with nodev */
};
#define DEVICE	2
#define OPTIONS 5
#define AFTER	100

/* What mountinfo says of a device. */
enum mounted {
	NOT_A_TMPFS,
	TMPFS,
	TMPFS_WITH_DEVICES,
};

static const char *decimal(const char *p, unsigned int *out)
{
	for (*out = 0; *p >= '0' && *p <= '9'; p++)
		*out = *out * 10 + (unsigned int)(*p - '0');
	return p;
}

static bool names_device(const char *text, const struct mrn_mapping *m)
{
	unsigned int ma, mi;
	const char *p = decimal(text, &ma);

	if (*p != ':')
		return false;
	p = decimal(p + 1, &mi);
	return !*p && ma == m->dev_major && mi == m->dev_minor;
}

static bool has_option(const char *text, const char *option)
{
	const size_t n = strlen(option);

	for (; text; text = strchr(text, ',')) {
		text += *text == ',';
		if (!strncmp(text, option, n) && (!text[n] || text[n] == ','))
			return true;
	}
	return false;
}

/* Call at the end of a field. True if the line is of the device, and of a tmpfs. */
static bool take_field(struct line *l, const struct mrn_mapping *m)
{
	l->text[l->length < sizeof(l->text) ? l->length : sizeof(l->text) - 1] = '\0';
	if (l->field == DEVICE)
		l->is_its = names_device(l->text, m);
	if (l->field == OPTIONS)
		l->has_no_dev = has_option(l->text, "nodev");
	if (l->field < AFTER && !strcmp(l->text, "-"))
		l->field = AFTER - 1;
	l->field++;
	l->length = 0;
	return l->field == AFTER + 1 && l->is_its && !strcmp(l->text, "tmpfs");
}

static enum mounted how_it_is_mounted(const struct mrn_mapping *m)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/mountinfo", O_RDONLY | O_CLOEXEC,
			   0);
	enum mounted how = NOT_A_TMPFS;
	struct line l = {0};
	char buf[1024];
	long n;

	if (fd < 0)
		return NOT_A_TMPFS;
	/* It may be mounted more than once. */
	while ((n = mrn_sys3(SYS_read, fd, (long)buf, sizeof(buf))) > 0 || n == -EINTR)
		for (long i = 0; i < n; i++) {
			if (buf[i] == ' ' || buf[i] == '\n') {
				if (take_field(&l, m) && how != TMPFS_WITH_DEVICES)
					how = l.has_no_dev ? TMPFS : TMPFS_WITH_DEVICES;
			} else if (l.length++ < sizeof(l.text)) {
				l.text[l.length - 1] = buf[i];
			}
			if (buf[i] == '\n')
				l = (struct line){0};
		}
	mrn_sys1(SYS_close, fd);
	return how;
}

/* The mode of the file that is mapped at start: 0 if unknown. */
struct look {
	uintptr_t start;
	mode_t mode;
};

static bool look_at_file(const struct mrn_mapping *m, void *arg)
{
	struct look *look = arg;
	struct statfs fs;
	struct stat st;

	if (m->start < look->start)
		return true;
	if (m->start == look->start && !mrn_mapping_file(m, &st, &fs))
		look->mode = st.st_mode;
	return false;
}

static bool is_of_a_regular_file(const struct mrn_mapping *m)
{
	struct look look = {.start = m->start};

	return mrn_maps_visit(look_at_file, &look) == 0 && S_ISREG(look.mode);
}

/*
 * A tmpfs may have nodes of block devices, under any name: they show pages of the device's page cache. On a mount with
 * nodev nobody can have opened one.
 */
static bool is_memory(const struct mrn_mapping *m)
{
	if (!mrn_mapping_is_of_file(m) || m->page_size > mrn_page_size() || is_memorys_own(m) ||
	    is_tmpfs_at("/dev/shm", m))
		return true;
	switch (how_it_is_mounted(m)) {
	case TMPFS:
		return true;
	case TMPFS_WITH_DEVICES:
		return is_of_a_regular_file(m);
	default:
		return false;
	}
}

bool mrn_shows_page_cache(uintptr_t start, uintptr_t end)
{
	bool whole;

	return mrn_shows_page_cache_in(start, end, &whole);
}

bool mrn_shows_page_cache_in(uintptr_t start, uintptr_t end, bool *whole)
{
	struct mrn_mapping m;
	bool shows = false;
	int fd, r = 0;

	*whole = true;
	if (MRN_BROKEN(SOURCE_FILES))
		return false;
	/* The program may be forbidden to ask. */
	if (mrn_is_confined())
		return true;
	fd = mrn_maps_open();
	if (fd < 0)
		return true;
	for (; start < end && !shows; start = m.end) {
		r = mrn_maps_next(fd, start, &m);
		*whole = *whole && !r && m.start <= start;
		if (r || m.start >= end)
			break;
		shows = !is_memory(&m);
	}
	mrn_sys1(SYS_close, fd);
	return shows || (r && r != -ENOENT);
}
