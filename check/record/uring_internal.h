/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring and its lock. The lock is held while the ring's memory is read, over uses and flights (registration.h,
 * flight.h), but over no system call of the program's, and not over the end of a registration: that waits for changes of
 * memory in progress, which have to look at what is in flight. A thread that cannot have it, as in a
 * signal handler that has interrupted its holder, leaves the ring alone, so what it would have seen is not seen.
 */
#ifndef MRN_CHECK_URING_INTERNAL_H
#define MRN_CHECK_URING_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/record/lock.h"
#include "check/record/pool.h"
#include "check/record/registration.h"
#include "check/record/uring.h"
#include "check/record/uring_abi.h"

/* A registered buffer. Rings may share one: IORING_REGISTER_CLONE_BUFFERS. */
struct uring_buffer {
	struct check_pooled pooled;
	struct check_reg *reg;
	uint32_t refs; /* atomic */
};

/* Several; an entry may be NULL. Put them without a lock: whoever ends a registration waits for changes in progress. */
struct uring_buffers {
	struct uring_buffer **buffer;
	uint32_t nr;
};

struct uring_view {
	/* Our mappings; or, if the program has given the memory, the program's (NO_MMAP). */
	char *rings, *sqes;
	size_t rings_size, sqes_size;
	bool is_programs;
	uint32_t *sq_flags;
	const uint32_t *sq_head, *sq_tail, *sq_array; /* sq_array: NULL without */
	const uint32_t *cq_head, *cq_tail;
	const char *cqes;
	uint32_t sq_entries, cq_entries;
	unsigned int sqe_shift, cqe_shift;
};

struct uring_flights; /* uring_complete.c */

/* Some of a ring's groups of provided buffers. */
enum uring_group_list {
	URING_AWAITED,	     /* requests take, or took, one of their buffers */
	URING_MAY_HAVE_MORE, /* the program may have provided more */
	URING_GROUP_LISTS
};

struct uring_ring {
	struct check_pooled pooled;
	struct check_lock lock;
	/* A new ring's memory is cleared from here on. */
	uint32_t refs;	/* atomic: descriptors and registered indices */
	uint32_t flags; /* as it was asked for */
	bool is_seen;	/* there is a view */
	bool polled;	/* SQPOLL in the program's eyes: uring_setup.c */
	bool is_live;	/* atomic */
	struct uring_view view;

	struct uring_buffers buffers; /* that are registered */
	uint32_t groups;	      /* of provided buffers: uring_groups.c */
	uint32_t groups_in[URING_GROUP_LISTS];
	bool groups_to_lose; /* of those that come nobody will know what the kernel has */

	uint32_t stack;	    /* of the call that submits just now, once it has been taken */
	uint32_t looked;    /* submissions before this one have been looked at */
	uint64_t submitter; /* a thread */
	bool is_shared;	    /* others submit, too */
	bool is_overasked;  /* more was to be submitted than was there */
	bool chain;	    /* the next request is linked to the last */
	bool silent;	    /* one of its chain may complete without a word */
	bool is_unmapped;   /* liburing has not written the array yet: requests stand in order */
	uint32_t completed; /* completions before this one have been looked at */
	uint32_t in_flight; /* atomic: ranges */
	uint32_t selecting; /* atomic: those of them that take a provided buffer */
	struct uring_flights *flights;
};

/* ---- uring_rings.c */

/* The ring, locked: by descriptor, or by this thread's registered index. NULL: not followed. */
struct uring_ring *uring_take(uint32_t fd, bool is_registered);
/* The same without the lock, for a call by this thread that does not end it. */
struct uring_ring *uring_look_up(uint32_t fd, bool is_registered);
struct uring_ring *uring_new(void);
/* From here on this is the ring's; ends what was known by it. Without memory the ring is not followed. */
void uring_set_fd(uint32_t fd, struct uring_ring *r);
void uring_set_registered(uint32_t index, struct uring_ring *r);
/* Calls look for each ring: true if it was true for all. */
bool uring_each(bool (*look)(struct uring_ring *r, const void *arg), const void *arg);

/* ---- uring_setup.c */

/* liburing has made a ring. */
void uring_made_by_library(uint32_t fd, const struct io_uring_params *p);
/* It makes it another size: uring_register.c. */
void uring_resized_by_library(uint32_t fd, bool is_registered);

/* ---- uring_view.c */

/* Sets is_seen, if it can. memory: the program's (NO_MMAP): the rings and the requests. */
void uring_view_open(struct uring_ring *r, int fd, const struct io_uring_params *p,
		     const uint64_t memory[2]);
void uring_view_close(struct uring_ring *r);
/* A mapping of the ring's descriptor, which no child inherits; NULL if there is none. */
void *uring_map(size_t size, int fd, uint64_t offset);
void uring_unmap(void *view, size_t size);
/* Copies from the view: false if it is not there any more. */
bool uring_view_read(const struct uring_view *v, void *into, const void *from, size_t size);
bool uring_view_word(const struct uring_view *v, const uint32_t *word, uint32_t *value);

/* ---- uring_register.c: with the ring's lock */

struct uring_buffers uring_take_buffers(struct uring_ring *r);
void uring_put_buffers(struct uring_buffers *b);
/* In a forked child. */
void uring_restart_buffers(void);
/* NULL: nothing is known of it. */
struct check_reg *uring_registered(const struct uring_ring *r, uint32_t index);

/* ---- uring_groups.c */

bool uring_registers_group(long a[6], long *result);
bool uring_unregisters_group(long a[6]);
/* liburing has registered a ring of them. */
void uring_group_made_by_library(uint32_t fd, bool is_registered,
				 const struct io_uring_buf_reg *reg);
/* The ring's, without its lock. */
void uring_put_groups(const struct uring_ring *r, uint32_t first);
/* In a forked child. */
void uring_restart_groups(void);

/* Of a request that takes a buffer of a group that is not there, or is not followed. */
#define URING_OTHER_GROUP (~0u)
/* The following are called with the ring's lock. That group: a number, or URING_OTHER_GROUP. */
uint32_t uring_group_of(const struct uring_ring *r, uint32_t id);
/* A request provides buffers (IORING_OP_PROVIDE_BUFFERS) for that group, which need not be there. */
uint32_t uring_group_given(struct uring_ring *r, const struct io_uring_sqe *sqe);
/* A request that takes one of its buffers begins; or ends, and with it its flight. */
void uring_group_awaited(struct uring_ring *r, uint32_t group);
void uring_group_done(uint32_t group, uint32_t flight);
/* A completion brings one back; group 0: it is not known of which. */
void uring_group_back(struct uring_ring *r, uint32_t group, const struct io_uring_cqe *cqe);
/* It is not known any more what the kernel has of this group; or of any. Of URING_OTHER_GROUP: of any that comes. */
void uring_group_lose(struct uring_ring *r, uint32_t group);
void uring_groups_lose(struct uring_ring *r);
/* Before the program's call: takes in what has been provided. */
void uring_groups_look(struct uring_ring *r);
/* [start, end) goes: places the flights of requests that may take a buffer there. */
void uring_groups_place(struct uring_ring *r, uintptr_t start, uintptr_t end);

/* ---- uring_op.c */

struct uring_request {
	const char *op; /* NULL: it uses no memory that we know of */
	bool is_fixed;	/* that of a registered buffer */
	bool is_vector, is_message;
	bool selects; /* it takes one of the buffers that the program has provided */
	bool bundles; /* or several at once */
	uint64_t addr;
	uint64_t length; /* bytes, or entries; of a provided buffer: at most so many bytes, or 0 */
	uint32_t index;	 /* of a registered buffer; or the group of provided ones */
};

void uring_read_request(const struct io_uring_sqe *sqe, bool is_long, struct uring_request *q);
/* Calls use for each range of it. */
void uring_each_range(const struct uring_request *q,
		      void (*use)(void *arg, uintptr_t addr, size_t length), void *arg);

/* ---- uring_submit.c: with the ring's lock, if nothing else is said */

void uring_submits(struct uring_ring *r, uint32_t most);
/* Without the lock: liburing will submit all before this one. */
void uring_submitted_by_library(uint32_t fd, bool is_registered, uint32_t tail);

/* ---- uring_complete.c: with the ring's lock */

/* Ends the flights whose completions are there. */
void uring_completed(struct uring_ring *r);
/* position: of the request in the submission queue. */
void uring_flies(struct uring_ring *r, const struct io_uring_sqe *sqe,
		 const struct uring_request *q, uint32_t position);
void uring_forget_flights(struct uring_ring *r);
/* It is gone. Requests that take a buffer may wait on, for one with its id. */
void uring_forget_group(struct uring_ring *r, uint32_t group);
/* One of them that takes as many bytes of it as any; most: how many, 0 for all. 0: there is none. */
uint32_t uring_flight_selecting(const struct uring_ring *r, uint32_t group, uint32_t *most);

#endif
