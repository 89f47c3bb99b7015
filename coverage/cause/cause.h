/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A catalog of causes: the ways in which a process's own memory changes under an address. Each is made
 * to happen for real, on a place of its own:
 *
 *	cause_prepare	memory, all 'A'
 *			... register it here: a pin takes the pages that hold 'A'
 *	cause_change	the one change, by libc's function or by a raw system call
 *	cause_refill	the same addresses, all 'B'
 *			... what still reads 'A' is stale
 *	cause_drop
 *
 * All but the change goes past libc by raw system calls, so that who stands in front of libc, or has
 * written into it, is told of the change alone. Nothing here knows of libmrn.
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
	bool part;		     /* of the place's middle only */
	int arg;		     /* the way's own: an advice, a mode, a flag */
	/* A page that is pinned stays: nothing goes stale, and what can be asked is who is told. */
	bool keeps_page;
	bool by_ring;	   /* io_uring does it, not a call of ours */
	bool ends_program; /* another one takes its place: see next */
};

extern const struct cause cause_table[];
extern const size_t cause_count;

struct cause_place {
	/* What is prepared, changed, and refilled. */
	char *addr;
	size_t length;
	/* For who makes another program take this one's place: the same file's arguments then. Set it before the change. */
	char *const *next;
	/* In words, what is lacking or odd; never NULL. */
	const char *why;

	/* The rest is the catalog's own. */
	const struct cause *cause;
	char *room; /* reserved addresses, which hold the place and the spare */
	size_t room_length;
	char *spare;	 /* as long as the place, to be moved from or to */
	bool spare_gone; /* a hole now */
	bool is_stray;	 /* a move has ended up elsewhere: here, which may be 0 */
	char *stray;
	char *hole; /* what the change has unmapped of the place */
	size_t hole_length;
	bool filled; /* ... and refill has mapped again */
	int fd;
	int shm;
	int pkey;
	pid_t child;
	char *block, *fence; /* of malloc; what keeps it where it is */
	char *guard;	     /* a page mapped behind it */
	void *library;
	pthread_t thread;
	bool has_thread;
	pthread_barrier_t leave; /* the thread waits here */
	struct io_uring *ring;
};

/* The cause of this name; NULL for none. */
const struct cause *cause_find(const char *name);

/*
 * -EOPNOTSUPP where this kernel, C library or file system lacks the cause; place->why says what. After
 * a failure, too, it takes cause_drop. The structure must not be moved until then.
 */
int cause_prepare(const struct cause *cause, struct cause_place *place);

/* The same errors. -EAGAIN: somebody else's work has come between; try again with a new place. */
int cause_change(struct cause_place *place);

/* -EAGAIN: the address has been given to somebody else meanwhile. */
int cause_refill(struct cause_place *place);

void cause_drop(struct cause_place *place);

#endif
