/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn demo: threads transfer between buffers and a file through io_uring while other threads change
 * the memory under the buffers. The same is done three ways, and each transfer is checked.
 *
 *	buffer		memory that the program uses, with a lock, and a pattern in it that says which
 *			buffer it is and which generation
 *	change		other pages at the buffer's address, and the next generation's pattern in them.
 *			Made with the buffer's lock held: no program that is correct changes memory
 *			under its own transfer
 *	way		how a transfer gets its fixed buffer: naive, each, mrn
 *	stale		a transfer that moved other bytes than those the CPU sees in the buffer
 */
#ifndef MRN_DEMO_H
#define MRN_DEMO_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include <mrn/source.h>

struct demo_options {
	double seconds; /* for each way */
	uint64_t threads;
	uint64_t size; /* of a buffer at most, bytes */
	uint64_t seed;
	const char *file; /* or NULL: a temporary one */
	bool json;
};

#define DEMO_MIN_SIZE	 (UINT64_C(16) << 10)
#define DEMO_MAX_SIZE	 (UINT64_C(64) << 20)
#define DEMO_MAX_THREADS 64
#define DEMO_MAX_SECONDS 86400

/* What a way did. The first four are the transferring threads' own, the rest the way's. */
struct demo_figures {
	uint64_t transfers;
	uint64_t stale;
	uint64_t fallbacks; /* of the transfers, done without a fixed buffer */
	uint64_t ns;	    /* from asking for the buffer until giving it back, of all transfers */
	uint64_t registrations;
	uint64_t hits;
	uint64_t retries;
	uint64_t invalidations;
	int why_fallback; /* the first -errno */
};

/* A fixed buffer for one transfer. */
struct demo_loan {
	unsigned int index; /* in the ring's table */
	void *held;	    /* the way's own */
};

struct demo_buffer;

/* A way has one state per ring. Functions return 0 or -errno. */
struct demo_way {
	const char *name;
	int (*open)(struct io_uring *ring, struct mrn_source *source, void **state);
	/* For [addr, addr + length) of buffer b, whose lock is held until after put. */
	int (*get)(void *state, const struct demo_buffer *b, char *addr, size_t length,
		   unsigned int access, struct demo_loan *loan);
	void (*put)(void *state, struct demo_loan *loan);
	/* Adds to the way's own figures. */
	void (*add_figures)(void *state, struct demo_figures *figures);
	void (*close)(void *state);
};

extern const struct demo_way demo_naive, demo_each, demo_mrn;
#define DEMO_NR_WAYS 3
extern const struct demo_way *const demo_ways[DEMO_NR_WAYS];

/* Slots in each ring's table. */
#define DEMO_SLOTS 128u

/* machine.c: 0 with *source attached, or an exit status after a message. */
int demo_machine_prepare(struct mrn_source **source);

/* run.c: does one way for its time. 0, or -errno after a message. */
int demo_run_way(const struct demo_way *way, const struct demo_options *options, int file,
		 struct mrn_source *source, struct demo_figures *figures);

/* report.c */
struct demo_report {
	const struct demo_options *options;
	const struct mrn_source *source;
	struct demo_figures figures[DEMO_NR_WAYS];
};
int demo_report_json(const struct demo_report *report);
/* The table, a line for each way as soon as its time is over; and what follows it. */
void demo_report_heading(void);
void demo_report_way(const char *way, const struct demo_figures *f);
void demo_report_rest(const struct demo_report *report);
/* Did naive go wrong and the others not? The exit status, after a sentence on stderr when not. */
int demo_report_verdict(const struct demo_report *report);

/* Says what failed, and ends the program: for calls that only lack of memory makes fail. */
__attribute__((noreturn)) void demo_die(const char *what, int error);

#endif
