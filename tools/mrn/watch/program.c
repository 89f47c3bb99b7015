/* SPDX-License-Identifier: BSD-3-Clause */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/watch/program.h"

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#endif

#define SAY(...) cli_say("mrn watch", __VA_ARGS__)

/* ------------------------------------------------------------------------------------- finding it */

static bool is_executable(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static int refuse(const char *name, const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		SAY("%s: %s", name, strerror(errno));
		return errno == ENOENT || errno == ENOTDIR ? WATCH_NO_FILE : WATCH_NO_EXEC;
	}
	SAY("%s: %s", name, S_ISREG(st.st_mode) ? strerror(EACCES) : "not a program");
	return WATCH_NO_EXEC;
}

int watch_find_program(const char *name, char path[PATH_MAX])
{
	const char *dir = getenv("PATH"), *end;
	bool found = false;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return is_executable(path) ? 0 : refuse(name, path);
	}
	for (dir = dir ? dir : "/bin:/usr/bin"; dir && *name; dir = *end ? end + 1 : NULL) {
		char one[PATH_MAX];

		end = strchrnul(dir, ':');
		/* An empty entry is the current folder. */
		snprintf(one, PATH_MAX, "%.*s%s%s", (int)(end - dir), dir, end == dir ? "./" : "/",
			 name);
		if (is_executable(one)) {
			snprintf(path, PATH_MAX, "%s", one);
			return 0;
		}
		if (!found && !access(one, F_OK)) {
			found = true;
			snprintf(path, PATH_MAX, "%s", one);
		}
	}
	if (found)
		return refuse(name, path);
	SAY("there is no program \"%s\"", name);
	return WATCH_NO_FILE;
}

/* ----------------------------------------------------------------------------------- looking at it */

/* Would the kernel give the program rights that its caller has not? Then ld.so preloads nothing. */
static bool raises_rights(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != geteuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getegid())
		return true;
	return geteuid() && getxattr(path, "security.capability", NULL, 0) > 0;
}

static bool has_interpreter(int fd, const Elf64_Ehdr *eh)
{
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr ph;
		off_t at = (off_t)(eh->e_phoff + (uint64_t)i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) != (ssize_t)sizeof(ph))
			return false;
		if (ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* "#!/bin/sh -e" -> "/bin/sh" */
static bool read_interpreter(const char *head, char path[PATH_MAX])
{
	size_t n;

	if (strncmp(head, "#!", 2))
		return false;
	head += 2 + strspn(head + 2, " \t");
	n = strcspn(head, " \t\n");
	snprintf(path, PATH_MAX, "%.*s", (int)n, head);
	return n > 0;
}

static int check_elf(int fd, const char *path, const char *head, size_t n)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)(const void *)head;

	if (n < sizeof(*eh) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_machine != OUR_MACHINE) {
		SAY("%s is a program for another kind of machine than this library, so it cannot be watched",
		    path);
		return WATCH_CANNOT;
	}
	/* The loader itself has no interpreter, and preloads all the same. */
	if (!has_interpreter(fd, eh) && !strstr(path, "/ld-linux")) {
		SAY("%s is linked statically, so nothing can be preloaded into it, and it cannot be watched",
		    path);
		return WATCH_CANNOT;
	}
	return 0;
}

static int check(const char *path, unsigned int depth)
{
	char head[256] __attribute__((aligned(8))) = "", next[PATH_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	ssize_t n;

	/* To be executed it need not be readable. Then we shall see. */
	if (fd < 0)
		return 0;
	n = read(fd, head, sizeof(head) - 1);
	if (n >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG)) {
		if (raises_rights(fd, path)) {
			SAY("%s is setuid, setgid or has capabilities, so nothing is preloaded into it, and "
			    "it cannot be watched",
			    path);
			r = WATCH_CANNOT;
		} else {
			r = check_elf(fd, path, head, (size_t)n);
		}
	} else if (read_interpreter(head, next) && depth < 4) {
		r = check(next, depth + 1);
	}
	close(fd);
	return r;
}

int watch_check_program(const char *path)
{
	return check(path, 0);
}
