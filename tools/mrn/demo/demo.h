/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn demo: threads transfer between buffers and a file through io_uring while other threads change the memory under
 * the buffers. The same is done in three ways, and each transfer is checked.
 *
 *	buffer		memory that the program uses, with a lock, and a pattern that names the buffer
 *			and its generation
 *	change		other pages at the buffer's address, with the next generation's pattern. Made
 *			with the buffer's lock held: no correct program changes memory under its own
 *			transfer
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
	uint64_t size; /* the largest buffer, bytes */
	uint64_t seed;
	const char *file; /* NULL: a temporary one */
	bool json;
};

#define DEMO_MIN_SIZE	 (UINT64_C(16) << 10)
#define DEMO_MAX_SIZE	 (UINT64_C(64) << 20)
#define DEMO_MAX_THREADS 64
#define DEMO_MAX_SECONDS 86400

/* What a way did. The transferring threads count the first four, the way the rest. */
struct demo_figures {
	uint64_t transfers;
	uint64_t stale;
	uint64_t fallbacks; /* transfers without a fixed buffer */
	uint64_t ns;	    /* from asking for the buffer until giving it back, for all transfers */
	uint64_t registrations;
	uint64_t hits;
	uint64_t retries;
	uint64_t invalidations;
	int why_fallback; /* the first -errno */
};

/* A fixed buffer for one transfer. */
struct demo_loan {
	unsigned int index; /* in the ring's table */
	void *held;	    /* for the way */
};

struct demo_buffer;

/* A way has one state per ring. Functions return 0 or -errno. */
struct demo_way {
	const char *name;
	int (*open)(struct io_uring *ring, struct mrn_source *source, void **state);
	/* For [addr, addr + length) of buffer b. Hold b's lock until after put. */
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

/* run.c: runs one way for its time. 0, or -errno after a message. */
int demo_run_way(const struct demo_way *way, const struct demo_options *options, int file,
		 struct mrn_source *source, struct demo_figures *figures);

/* report.c */
struct demo_report {
	const struct demo_options *options;
	const struct mrn_source *source;
	struct demo_figures figures[DEMO_NR_WAYS];
};
int demo_report_json(const struct demo_report *report);
/* Prints the table, a line for each way as soon as its time is over; and what follows it. */
void demo_report_heading(void);
void demo_report_way(const char *way, const struct demo_figures *f);
void demo_report_rest(const struct demo_report *report);
/* Returns CLI_OK if naive went wrong and the others did not; else another exit status, after a sentence on stderr. */
int demo_report_verdict(const struct demo_report *report);

/* Says what failed, and ends the program: for calls that fail only for lack of memory. */
__attribute__((noreturn)) void demo_die(const char *what, int error);

#endif
