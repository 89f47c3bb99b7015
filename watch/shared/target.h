/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Can the recorder be loaded into a program? By a look at its file before it is executed: whose loader it has, and which rights.
 * Raw calls, at most so many reads, and no malloc: it runs in the tool, and in the program and its vfork's children.
 */
#ifndef MRN_WATCH_TARGET_H
#define MRN_WATCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch_target {
	enum {
		WATCH_FITS, /* as far as can be seen: it may be readable by nobody */
		WATCH_OTHER_MACHINE,
		WATCH_STATIC,
		WATCH_RAISES_RIGHTS,
		WATCH_MIXED_RIGHTS, /* of whoever executes it */
		WATCH_OTHER_LOADER,
		WATCH_OLD_LIBC,
	} what;
	int minor; /* of glibc 2, when it is old; 0: older than those that say so */
	char path
		[256]; /* the program, or the interpreter that a script names; the end of it when it is long */
	char loader[256]; /* the same of what loads it */
};

/* A file, by fstat's figures. */
struct watch_file {
	uint64_t dev, ino;
};

/* The loader's file of the program at path, zeros when it cannot be told. */
struct watch_file watch_target_loader(const char *path);

/* What execveat(folder, path, ..., flags) would execute. known: a loader into whose programs the recorder has been loaded. */
void watch_target_look(struct watch_target *t, int folder, const char *path, int flags,
		       const struct watch_file *known);

/*
 * Would it suffer from LD_PRELOAD as the tool sets it? A static program does not know it, and hands it on; one, valgrind, loads
 * programs itself. musl's loader finds no such files.
 */
bool watch_target_minds(const struct watch_target *t);

/* Why it does not fit, as a sentence without its full stop. */
void watch_target_say(const struct watch_target *t, char *text, size_t size);

#endif
