/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A catalog of causes: the ways in which a process's own memory changes under an address. Each really happens, on a
 * place of its own:
 *
 *	cause_prepare	memory, all 'A'
 *			... register it here: a pin takes the pages that hold 'A'
 *	cause_change	the one change, by libc's function or by a raw system call
 *	cause_refill	the same addresses, all 'B'
 *			... what still reads 'A' is stale
 *	cause_drop
 *
 * All but the change bypasses libc by raw system calls, so that an interposer of libc, or a hook in it, is told only of
 * the change. Nothing here knows libmrn.
 *
 * Functions return 0 or -errno.
 */
#ifndef COVERAGE_CAUSE_CAUSE_H
#define COVERAGE_CAUSE_CAUSE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct io_uring;
struct cause_way;

struct cause {
	const char *name;
	const char *about;	     /* half a sentence */
	const struct cause_way *way; /* how; rows of one way differ in what follows */
	bool raw;		     /* by a system call instruction, not by libc's function */
	bool part;		     /* changes only the place's middle */
	int arg;		     /* for the way: an advice, a mode, a flag */
	/* A pinned page stays: nothing goes stale; only who is told can be tried. */
	bool keeps_page;
	bool by_ring;	   /* io_uring does it, not a call of this program */
	bool ends_program; /* another program replaces this one: see next */
};

extern const struct cause cause_table[];
extern const size_t cause_count;

struct cause_place {
	/* The range that is prepared, changed, and refilled. */
	char *addr;
	size_t length;
	/* For a cause that executes a program: the arguments, for this program's own file. Set before the change. */
	char *const *next;
	/* What is missing or odd, in words; never NULL. */
	const char *why;

	/* The rest is the catalog's own. */
	const struct cause *cause;
	char *room; /* reserved addresses around the place and the spare */
	size_t room_length;
	char *spare;	 /* as long as the place, to move from or to */
	bool spare_gone; /* a hole now */
	bool is_stray;	 /* a move went elsewhere, to stray, which may be 0 */
	char *stray;
	char *hole; /* the part of the place that the change has unmapped */
	size_t hole_length;
	bool filled; /* ... and refill has mapped again */
	int fd;
	int shm;
	int pkey;
	pid_t child;
	char *block, *fence; /* malloc's block, and one that keeps it in place */
	char *guard;	     /* a page mapped behind it */
	void *library;
	pthread_t thread;
	bool has_thread;
	pthread_barrier_t leave; /* the thread waits here */
	struct io_uring *ring;
};

/* The cause of this name; NULL if there is none. */
const struct cause *cause_find(const char *name);

/*
 * -EOPNOTSUPP if this kernel, C library or file system lacks the cause; place->why says what is missing. Call
 * cause_drop after a failure, too. Do not move the structure until then.
 */
int cause_prepare(const struct cause *cause, struct cause_place *place);

/* The same errors. -EAGAIN: another thread has interfered; try again with a new place. */
int cause_change(struct cause_place *place);

/* -EAGAIN: the address has been given to another mapping meanwhile. */
int cause_refill(struct cause_place *place);

void cause_drop(struct cause_place *place);

#endif
