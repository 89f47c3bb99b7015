/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/shared/target.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "os/pages.h"
#include "os/syscall.h"
#include "watch/shared/text.h"

#include "os/event_path.h"

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#endif

#ifndef ST_NOSUID
#define ST_NOSUID 2
#endif

/* The kernel follows this many scripts. */
#define SCRIPTS_MAX 5
#define HEADERS_MAX 64
/* ld.so has 200 KiB. */
#define LOADER_MAX (1 << 20)

/* Not on the stack, which may be a small signal stack. */
struct scratch {
	char path[4096];
	char name[4096];
	char text[8192 + 64];
	Elf64_Ehdr elf;
};

static long read_at(long fd, void *to, size_t size, uint64_t at)
{
	return mrn_sys4(SYS_pread64, fd, (long)to, (long)size, (long)at);
}

/* It may be a fifo or a device. */
static long open_to_read(long folder, const char *path, long flags)
{
	return mrn_sys4(SYS_openat, folder, (long)path,
			O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags, 0);
}

static void copy_end(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	strcpy(to, n < size ? from : from + n - size + 1);
}

/* --------------------------------------------------------------------------------------- rights */

static bool is_marked(long fd, const struct stat *st)
{
	long uid = mrn_sys0(SYS_geteuid);

	if ((st->st_mode & S_ISUID) && st->st_uid != uid)
		return true;
	if ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) &&
	    st->st_gid != mrn_sys0(SYS_getegid))
		return true;
	return uid && mrn_sys4(SYS_fgetxattr, fd, (long)"security.capability", 0, 0) > 0;
}

/* True if the kernel would give the program rights that its caller lacks. Then ld.so preloads nothing. */
static bool raises_rights(long fd, const struct stat *st)
{
	struct statfs fs;

	return is_marked(fd, st) && mrn_sys6(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0) != 1 &&
	       (mrn_sys2(SYS_fstatfs, fd, (long)&fs) || !(fs.f_flags & ST_NOSUID));
}

/* For ld.so this is as if the program had raised them. */
static bool has_mixed_rights(void)
{
	return mrn_sys0(SYS_getuid) != mrn_sys0(SYS_geteuid) ||
	       mrn_sys0(SYS_getgid) != mrn_sys0(SYS_getegid);
}

/* ------------------------------------------------------------------------------------------ loaders */

#ifdef __GLIBC__
/* Of glibc 2; 0 if the loader does not say, -1 if it is not glibc's. ld.so states its version since 2.33. */
static int version_of(long fd, struct scratch *s)
{
	static const char says[] = "release version 2.";
	const size_t step = 8192, over = sizeof(s->text) - step;
	bool is_glibc = false;

	for (uint64_t at = 0; at < LOADER_MAX; at += step) {
		long n = read_at(fd, s->text, step + over - 1, at);
		const char *found;

		if (n <= 0)
			break;
		s->text[n] = '\0';
		is_glibc |= memmem(s->text, (size_t)n, "GLIBC_PRIVATE", 13) != NULL;
		found = memmem(s->text, (size_t)n, says, sizeof(says) - 1);
		/* A match behind the step may be cut off; the next read finds it. */
		if (found && found < s->text + step)
			return (int)watch_text_number(found + sizeof(says) - 1);
	}
	return is_glibc ? 0 : -1;
}
#endif

static void look_at_loader(struct watch_target *t, struct scratch *s,
			   const struct watch_file *known)
{
#ifdef __GLIBC__
	struct stat st;
	long fd = open_to_read(AT_FDCWD, s->name, 0);
	int version;

	copy_end(t->loader, sizeof(t->loader), s->name);
	/* It is missing, or not readable. */
	if (fd < 0)
		return;
	if (!mrn_sys2(SYS_fstat, fd, (long)&st) &&
	    (st.st_dev != known->dev || st.st_ino != known->ino)) {
		version = version_of(fd, s);
		if (version < 0)
			t->what = WATCH_OTHER_LOADER;
		else if (version < __GLIBC_MINOR__)
			t->what = WATCH_OLD_LIBC;
		t->minor = version;
	}
	mrn_sys1(SYS_close, fd);
#endif
}

/* 1 and its name in s->name, 0 if there is none, -1 if unknown. */
static int find_loader(long fd, struct scratch *s)
{
	for (unsigned int i = 0; i < s->elf.e_phnum && i < HEADERS_MAX; i++) {
		Elf64_Phdr ph;

		if (read_at(fd, &ph, sizeof(ph), s->elf.e_phoff + i * sizeof(ph)) != sizeof(ph))
			return -1;
		if (ph.p_type != PT_INTERP)
			continue;
		if (!ph.p_filesz || ph.p_filesz > sizeof(s->name) ||
		    read_at(fd, s->name, ph.p_filesz, ph.p_offset) != (long)ph.p_filesz)
			return -1;
		s->name[ph.p_filesz - 1] = '\0';
		return 1;
	}
	return s->elf.e_phnum > HEADERS_MAX ? -1 : 0;
}

static bool is_ours(const Elf64_Ehdr *elf, long n)
{
	return n >= (long)sizeof(*elf) && elf->e_ident[EI_CLASS] == ELFCLASS64 &&
	       elf->e_machine == OUR_MACHINE;
}

static void look_at_elf(struct watch_target *t, struct scratch *s, long fd,
			const struct watch_file *known)
{
	struct stat st;
	int r;

	if (mrn_sys2(SYS_fstat, fd, (long)&st))
		return;
	if (raises_rights(fd, &st)) {
		t->what = WATCH_RAISES_RIGHTS;
		return;
	}
	if (!is_ours(&s->elf, read_at(fd, &s->elf, sizeof(s->elf), 0))) {
		t->what = WATCH_OTHER_MACHINE;
		return;
	}
	r = find_loader(fd, s);
	if (r > 0)
		look_at_loader(t, s, known);
	/* The loader itself has none, and preloads all the same. */
	else if (!r && (st.st_dev != known->dev || st.st_ino != known->ino) &&
		 !strstr(s->path, "/ld-linux"))
		t->what = WATCH_STATIC;
}

/* ---------------------------------------------------------------------------------------- programs */

/* "#!/bin/sh -e" -> "/bin/sh" */
static bool read_interpreter(struct scratch *s)
{
	const char *head = s->text;
	size_t n;

	if (strncmp(head, "#!", 2))
		return false;
	head += 2 + strspn(head + 2, " \t");
	n = strcspn(head, " \t\n");
	memcpy(s->path, head, n);
	s->path[n] = '\0';
	return n > 0;
}

static void fd_name(char *name, size_t size, int fd)
{
	struct watch_text w = {name, size, 0};

	watch_text_add(&w, "/proc/self/fd/");
	watch_text_add_number(&w, (uint64_t)(unsigned int)fd);
}

/* Opens the same file again, to read: the caller's descriptor may be open in another mode. */
static long open_again(int fd)
{
	char link[32];

	fd_name(link, sizeof(link), fd);
	return open_to_read(AT_FDCWD, link, 0);
}

static long open_program(int folder, const char *path, int flags)
{
	if (!path)
		return -1;
	if (!*path && (flags & AT_EMPTY_PATH))
		return open_again(folder);
	return open_to_read(folder, path, (flags & AT_SYMLINK_NOFOLLOW) ? O_NOFOLLOW : 0);
}

/* For the reader: the current path of a file given by descriptor. */
static void remember_path(struct scratch *s, int folder, const char *path)
{
	char link[32];
	long n;

	if (*path) {
		copy_end(s->path, sizeof(s->path), path);
		return;
	}
	fd_name(link, sizeof(link), folder);
	n = mrn_sys4(SYS_readlinkat, AT_FDCWD, (long)link, (long)s->path, sizeof(s->path) - 1);
	s->path[n > 0 ? n : 0] = '\0';
}

/* From a script to its interpreter. True: look at that next. */
static bool look_at(struct watch_target *t, struct scratch *s, long fd,
		    const struct watch_file *known)
{
	long n = read_at(fd, s->text, 256, 0);

	if (n < 0)
		n = 0;
	s->text[n] = '\0';
	if (n >= SELFMAG && !memcmp(s->text, ELFMAG, SELFMAG)) {
		look_at_elf(t, s, fd, known);
		copy_end(t->path, sizeof(t->path), s->path);
		return false;
	}
	return read_interpreter(s);
}

void watch_target_look(struct watch_target *t, int folder, const char *path, int flags,
		       const struct watch_file *known)
{
	struct scratch *s = mrn_pages_alloc(sizeof(*s));
	long fd = s ? open_program(folder, path, flags) : -1;

	*t = (struct watch_target){.what = WATCH_FITS};
	if (fd >= 0)
		remember_path(s, folder, path);
	for (unsigned int i = 0; fd >= 0 && i <= SCRIPTS_MAX; i++) {
		bool more = look_at(t, s, fd, known);

		mrn_sys1(SYS_close, fd);
		fd = more ? open_to_read(AT_FDCWD, s->path, 0) : -1;
	}
	if (fd >= 0)
		mrn_sys1(SYS_close, fd);
	if (*t->path && t->what == WATCH_FITS && has_mixed_rights())
		t->what = WATCH_MIXED_RIGHTS;
	if (s)
		mrn_pages_free(s, sizeof(*s));
}

struct watch_file watch_target_loader(const char *path)
{
	struct scratch *s = mrn_pages_alloc(sizeof(*s));
	long fd = s ? open_to_read(AT_FDCWD, path, 0) : -1;
	struct watch_file loader = {0, 0};
	struct stat st;

	if (fd >= 0) {
		long n = read_at(fd, &s->elf, sizeof(s->elf), 0);

		if (is_ours(&s->elf, n) && find_loader(fd, s) > 0 &&
		    !mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)s->name, (long)&st, 0))
			loader = (struct watch_file){st.st_dev, st.st_ino};
		mrn_sys1(SYS_close, fd);
	}
	if (s)
		mrn_pages_free(s, sizeof(*s));
	return loader;
}

bool watch_target_minds(const struct watch_target *t)
{
	return t->what == WATCH_OTHER_MACHINE || t->what == WATCH_OLD_LIBC ||
	       (t->what == WATCH_OTHER_LOADER && !strstr(t->loader, "/ld-musl"));
}

void watch_target_say(const struct watch_target *t, char *text, size_t size)
{
	/* What follows the program's path and its loader. */
	static const char *const says[] = {
		[WATCH_FITS] = "",
		[WATCH_OTHER_MACHINE] =
			" is a program for another kind of machine than this library",
		[WATCH_STATIC] = " is linked statically, so nothing can be preloaded into it",
		[WATCH_RAISES_RIGHTS] =
			" is setuid, setgid or has capabilities, so nothing is preloaded into it",
		[WATCH_OTHER_LOADER] =
			", which is not glibc's, so the recorder cannot be loaded into it",
		[WATCH_OLD_LIBC] = ", older than the glibc that the recorder was built with",
	};
	struct watch_text w = {text, size, 0};

	if (t->what == WATCH_MIXED_RIGHTS) {
		watch_text_add(
			&w,
			"its effective user or group is not its real one, so nothing is preloaded into ");
		watch_text_add(&w, t->path);
		return;
	}
	watch_text_add(&w, t->path);
	if (t->what == WATCH_OTHER_LOADER || t->what == WATCH_OLD_LIBC) {
		watch_text_add(&w, " is loaded by ");
		watch_text_add(&w, t->loader);
	}
	if (t->what == WATCH_OLD_LIBC && t->minor) {
		watch_text_add(&w, " of glibc 2.");
		watch_text_add_number(&w, (unsigned int)t->minor);
	}
	watch_text_add(&w, says[t->what]);
}
