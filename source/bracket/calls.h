/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For each call: what it may change, as a bracket. Arguments are the call's own. A call that cannot change a
 * translation, and one that the kernel is certain to refuse, gets an empty bracket.
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
/* After a successful mmap of free addresses, which has returned to. */
void mrn_bracket_mapped(const void *to, size_t length, int flags, int fd);
void mrn_bracket_mremap(struct mrn_bracket *b, const void *addr, size_t old_size, size_t new_size,
			int flags, const void *new_addr);
/* True if an mremap that has returned to has left all pages of the old range where they were. */
bool mrn_mremap_stays(const void *addr, size_t old_size, size_t new_size, const void *to);
/* After a successful mremap, which has returned to. */
void mrn_bracket_moved(const void *addr, size_t old_size, size_t new_size, int flags,
		       const void *to);
void mrn_bracket_remap_file_pages(struct mrn_bracket *b, const void *addr, size_t size);

/* protect.c */
void mrn_bracket_mprotect(struct mrn_bracket *b, const void *addr, size_t length, int prot);

/* brk.c: to is the new break */
void mrn_bracket_brk(struct mrn_bracket *b, uintptr_t to);

/* fork.c: for the parent; a child has nothing to end */
void mrn_bracket_fork(struct mrn_bracket *b);

/*
 * exec.c: an exec by this process; _by_name: by the caller, which may be a vfork's child, and leave this memory
 * unchanged
 */
void mrn_bracket_exec(struct mrn_bracket *b);
void mrn_bracket_exec_by_name(struct mrn_bracket *b);

/* shm.c */
void mrn_bracket_shmat(struct mrn_bracket *b, int id, const void *addr, int flags);
void mrn_bracket_shmdt(struct mrn_bracket *b, const void *addr);

/* advise.c; for MADV_REMOVE, which changes a file, see mrn_file_change_remove and _many */
bool mrn_advice_is_harmless(int advice);
void mrn_bracket_madvise(struct mrn_bracket *b, const void *addr, size_t length, int advice);
void mrn_bracket_process_madvise(struct mrn_bracket *b, const struct iovec *iov, unsigned int count,
				 int advice);
/* Of ranges that cannot be read. */
void mrn_bracket_madvise_anywhere(struct mrn_bracket *b, int advice);

/*
 * file.c: a change of a file, and so of every mapping of it. Set up before the call: what the call may change; held.h
 * holds the tokens while the call lasts. Does not ask the kernel if nobody could be told.
 */
#define MRN_FILE_SPANS	 8
#define MRN_OWN_ARGUMENT 136 /* bytes; the longest file handle */

struct mrn_file_change {
	enum mrn_cause cause;
	bool pending;	 /* false: the call changes nothing, and nothing else is set */
	bool unwatched;	 /* nobody was there to be told: nothing else is set */
	bool failed;	 /* the call: set at its end */
	bool every_file; /* the file cannot be recognised by inode number */
	uint64_t inode;
	uint64_t from, to; /* bytes of the file, whole pages; UINT64_MAX: no end */
	struct mrn_span span[MRN_FILE_SPANS + 1]; /* the ranges that map it */
	unsigned int nr_spans;
	int folder;	  /* path starts there */
	const char *path; /* for truncate and open, or NULL */
	/*
	 * The structure that the second or third argument points to, read once: the call is made with this copy. 0:
	 * none.
	 */
	unsigned int own_argument;
	uint64_t argument[MRN_OWN_ARGUMENT / sizeof(uint64_t)];
};

void mrn_file_change_none(struct mrn_file_change *c);
/* Sets c up. True: nobody is there to be told, and c is complete. */
bool mrn_file_change_nobody(struct mrn_file_change *c, enum mrn_cause cause);
void mrn_file_change_fallocate(struct mrn_file_change *c, int fd, int mode, off_t offset,
			       off_t length);
void mrn_file_change_ftruncate(struct mrn_file_change *c, int fd, off_t length);
void mrn_file_change_truncate(struct mrn_file_change *c, const char *path, off_t length);
/* Pending only if it truncates a file that is not empty, or may be. */
void mrn_file_change_open(struct mrn_file_change *c, int folder, const char *path, int flags);
/* open_by_handle_at. handle is a struct file_handle, and becomes the own argument. */
void mrn_file_change_open_handle(struct mrn_file_change *c, int mount, const void *handle,
				 int flags);
void mrn_file_change_remove(struct mrn_file_change *c, const void *addr, size_t length);
/* For process_madvise of many ranges: of all mapped files. */
void mrn_file_change_remove_many(struct mrn_file_change *c);
/* After the call, if the change was pending: announces mappings of the file outside the spans. */
void mrn_file_change_late(const struct mrn_file_change *c);

/* Argument n for the call, which came as `came`. */
static inline long mrn_file_change_argument(const struct mrn_file_change *c, unsigned int n,
					    long came)
{
	return c->own_argument == n ? (long)(uintptr_t)c->argument : came;
}

/*
 * number.c: all of this for a system call by its number, including the call itself, which real makes with the arguments
 * as they came. Returns what real returned: -errno, or -1, for failure. For a number that changes nothing, only makes
 * the call.
 */
typedef long (*mrn_real_call)(long nr, long a, long b, long c, long d, long e, long f);
long mrn_bracket_number(mrn_real_call real, const struct mrn_call *call, long nr, const long *a);
/*
 * The kind of a call by its number: tokens of MEMORY end with the call at once; those of FILE may have to be held for
 * long.
 */
enum mrn_call_kind {
	MRN_CALL_OTHER,
	MRN_CALL_MEMORY,
	MRN_CALL_FILE,
};
enum mrn_call_kind mrn_call_kind(const struct mrn_call *call);
/* For a call of the kind FILE: what it may change. */
void mrn_file_change_number(struct mrn_file_change *change, const struct mrn_call *call);

#endif
