/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring for programs that mrn check looks at: over bare system calls, by libc's syscall() or by those of liburing's functions
 * that do nothing else; or over liburing. Whatever fails ends the program.
 */
#ifndef TESTS_CHECK_PROGRAMS_RING_H
#define TESTS_CHECK_PROGRAMS_RING_H

#include <liburing.h>
#include <stdbool.h>

/* Newer than Debian 12's headers. */
#define RING_NO_MMAP	   (1u << 14)
#define RING_NO_SQARRAY	   (1u << 16)
#define RING_CLONE_BUFFERS 30
struct ring_clone {
	unsigned int src_fd, flags, src_off, dst_off, nr, pad[3];
};

struct ring {
	bool by_liburing;
	struct io_uring
		uring; /* of which the bare form uses the parameters' and rings' pointers alone */
	struct io_uring_params params;
	int fd, enters; /* what io_uring_enter gets */
	unsigned int enter_flags;
	char *rings, *sqes;
	unsigned int tail;
};

/* "FORM CASE", where FORM is bare, calls or liburing: returns the case, and true in the last form; NULL: there is no such. */
const char *ring_form(const char *word, bool *by_liburing);
struct ring_case {
	const char *name;
	void (*run)(void);
};
/* Runs the one of that name. */
void ring_run(const struct ring_case *cases, size_t nr, const char *name);

/* Skips the program (77) if the kernel refuses such a ring. */
void ring_open(struct ring *r, bool by_liburing, unsigned int flags);
void ring_close(struct ring *r);
/* From here on it enters by a registered index. */
void ring_register_fd(struct ring *r);
struct io_uring_sqe *ring_sqe(struct ring *r);
void ring_submit(struct ring *r);
/* The next completion. */
void ring_reap_cqe(struct ring *r, int *res, unsigned int *flags);
/* What it says; the form without reaping leaves it in the ring. */
int ring_reap(struct ring *r);
void ring_wait(struct ring *r);
/* io_uring_register, with the ring's descriptor. */
int ring_register(struct ring *r, unsigned int op, const void *arg, unsigned int nr);

/* Ends the program with this status, unless ok. */
void need(bool ok, const char *what);
void skip(bool ok, const char *what);

#endif
