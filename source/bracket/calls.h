/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For each call: what it may change, as a bracket. Arguments are the call's own. A call that cannot
 * change a translation, and one that the kernel is certain to refuse, gets an empty bracket.
 */
#ifndef MRN_SOURCE_BRACKET_CALLS_H
#define MRN_SOURCE_BRACKET_CALLS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "source/bracket/bracket.h"
#include "source/bracket/read.h"
#include "source/bracket/spans.h"

/* map.c */
void mrn_bracket_munmap(struct mrn_bracket *b, const void *addr, size_t length);
void mrn_bracket_mmap_fixed(struct mrn_bracket *b, const void *addr, size_t length, int flags,
			    int fd);
bool mrn_mmap_replaces(int flags);
void mrn_bracket_mremap(struct mrn_bracket *b, const void *addr, size_t old_size, size_t new_size,
			int flags, const void *new_addr);
/* After an mremap that has succeeded: to is where it is now. */
void mrn_bracket_moved(const void *addr, size_t old_size, size_t new_size, int flags,
		       const void *to);
void mrn_bracket_remap_file_pages(struct mrn_bracket *b, const void *addr, size_t size);

/* protect.c */
void mrn_bracket_mprotect(struct mrn_bracket *b, const void *addr, size_t length, int prot);

/* brk.c: to is where the break is to be */
void mrn_bracket_brk(struct mrn_bracket *b, uintptr_t to);

/* fork.c: for the parent; a child has nothing to end */
void mrn_bracket_fork(struct mrn_bracket *b);

/* exec.c: of this process; and of whoever calls, who may be a vfork's child and leave this memory as it is */
void mrn_bracket_exec(struct mrn_bracket *b);
void mrn_bracket_exec_by_name(struct mrn_bracket *b);

/* shm.c */
void mrn_bracket_shmat(struct mrn_bracket *b, int id, const void *addr, int flags);
void mrn_bracket_shmdt(struct mrn_bracket *b, const void *addr);

/* advise.c; MADV_REMOVE changes a file, and has mrn_file_change_remove and _many */
bool mrn_advice_is_harmless(int advice);
void mrn_bracket_madvise(struct mrn_bracket *b, const void *addr, size_t length, int advice);
void mrn_bracket_process_madvise(struct mrn_bracket *b, const struct iovec *iov, unsigned int count,
				 int advice);
/* Of ranges that cannot be read here. */
void mrn_bracket_madvise_anywhere(struct mrn_bracket *b, int advice);

/*
 * file.c: a change of a file, and so of every mapping of it. What it may change, before the call; held.h holds the tokens for
 * as long as the call takes. Asks the kernel for nothing where nobody could be told.
 */
#define MRN_FILE_SPANS	 8
#define MRN_OWN_ARGUMENT 136 /* bytes; the longest file handle */

struct mrn_file_change {
	enum mrn_cause cause;
	bool pending;	 /* nothing else is set when the call changes nothing */
	bool unwatched;	 /* nobody was there to be told: nothing else is set */
	bool every_file; /* which mappings show the file cannot be told by number */
	uint64_t inode;
	uint64_t from, to; /* of the file, bytes; whole pages, UINT64_MAX for no end */
	struct mrn_span span[MRN_FILE_SPANS + 1]; /* where it is mapped */
	unsigned int nr_spans;
	int folder;	  /* what path begins at */
	const char *path; /* of truncate and open, or NULL */
	/* The structure that the second or the third argument points to, read once: the call is made with this one. 0: none. */
	unsigned int own_argument;
	uint64_t argument[MRN_OWN_ARGUMENT / sizeof(uint64_t)];
};

void mrn_file_change_none(struct mrn_file_change *c);
/* Sets c up. True: nobody is there to be told before the call, and that is all. */
bool mrn_file_change_nobody(struct mrn_file_change *c, enum mrn_cause cause);
void mrn_file_change_fallocate(struct mrn_file_change *c, int fd, int mode, off_t offset,
			       off_t length);
void mrn_file_change_ftruncate(struct mrn_file_change *c, int fd, off_t length);
void mrn_file_change_truncate(struct mrn_file_change *c, const char *path, off_t length);
/* Pending only when it truncates a file that has something in it, or nobody has looked. */
void mrn_file_change_open(struct mrn_file_change *c, int folder, const char *path, int flags);
/* open_by_handle_at. handle is a struct file_handle, and becomes the own argument. */
void mrn_file_change_open_handle(struct mrn_file_change *c, int mount, const void *handle,
				 int flags);
void mrn_file_change_remove(struct mrn_file_change *c, const void *addr, size_t length);
/* process_madvise's, of many ranges: of all files that are mapped. */
void mrn_file_change_remove_many(struct mrn_file_change *c);
/* After the call, of a change that was pending: whatever shows the file by now, and is outside the spans. */
void mrn_file_change_late(const struct mrn_file_change *c);

/* What to make the call with, of argument n, which came as this. */
static inline long mrn_file_change_argument(const struct mrn_file_change *c, unsigned int n,
					    long came)
{
	return c->own_argument == n ? (long)(uintptr_t)c->argument : came;
}

/*
 * number.c: all of that for a system call by its number, the call itself included, which real makes, as it came. Returns what
 * real returned: -errno, or -1, for failure. A number that changes nothing is called and nothing else.
 */
typedef long (*mrn_real_call)(long nr, long a, long b, long c, long d, long e, long f);
long mrn_bracket_number(mrn_real_call real, const struct mrn_call *call, long nr, const long *a);
/* What a call by its number is about: whose tokens end with it at once, and whose may have to be held for long. */
enum mrn_call_kind {
	MRN_CALL_OTHER,
	MRN_CALL_MEMORY,
	MRN_CALL_FILE,
};
enum mrn_call_kind mrn_call_kind(const struct mrn_call *call);
/* Of a call of a file's kind: what it may change. */
void mrn_file_change_number(struct mrn_file_change *change, const struct mrn_call *call);

#endif
