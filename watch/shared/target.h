/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether the recorder can be loaded into a program: looks at its file before it is executed, for its loader and its
 * rights. Raw calls, a bounded number of reads, no malloc: runs in the tool, in the program, and in vfork's children.
 */
#ifndef MRN_WATCH_TARGET_H
#define MRN_WATCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch_target {
	enum {
		WATCH_FITS, /* as far as can be seen: the file may not be readable */
		WATCH_OTHER_MACHINE,
		WATCH_STATIC,
		WATCH_RAISES_RIGHTS,
		WATCH_MIXED_RIGHTS, /* of the process that executes it */
		WATCH_OTHER_LOADER,
		WATCH_OLD_LIBC,
	} what;
	int minor; /* of glibc 2, if too old; 0: older than those that say so */
	/* The program, or the interpreter that a script names; its end if it is too long. */
	char path[256];
	char loader[256]; /* the same for its loader */
};

/* A file, by fstat's numbers. */
struct watch_file {
	uint64_t dev, ino;
};

/* The loader of the program at path; zeros if unknown. */
struct watch_file watch_target_loader(const char *path);

/*
 * Looks at what execveat(folder, path, ..., flags) would execute. known: a loader that is known to load the recorder.
 */
void watch_target_look(struct watch_target *t, int folder, const char *path, int flags,
		       const struct watch_file *known);

/*
 * True if LD_PRELOAD as the tool sets it would break the program. A static program ignores it, and passes it on, but
 * one, valgrind, loads programs itself. musl's loader finds no such files.
 */
bool watch_target_minds(const struct watch_target *t);

/* Why the recorder cannot be loaded, as a sentence without its full stop. */
void watch_target_say(const struct watch_target *t, char *text, size_t size);

#endif
