/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a run.
 */
#ifndef LAB_WORLD_H
#define LAB_WORLD_H

#include <semaphore.h>

#include "lab/crash.h"
#include "lab/held.h"
#include "lab/parts/devmem.h"
#include "lab/run.h"
#include "os/text.h"

#define LAB_PAGES	64
#define LAB_FRAMES	(LAB_PAGES * 16)
#define LAB_MAX_WRITERS 16
#define LAB_STRIDE	(64 / sizeof(uint64_t)) /* a writer's words are a cache line apart */
#define LAB_STORMS	2
#define LAB_EVENTS	16 /* of a thread, a power of two */
/*
 * The storm keeps pace with the driver, so that a busy machine does not change a run: a stroke every so many
 * operations, with at most so many due.
 */
#define LAB_OPS_A_STROKE 4
#define LAB_STROKES_DUE	 16

/*
 * The oracle's view of a page. state: generation << 16 | UNSTABLE | CLOSED | number of CPU users. CLOSED: the thread
 * that changes the page keeps the CPU's threads away, as a program does not touch memory that it unmaps. UNSTABLE: the
 * contents may be about to go, and the generation to go up.
 */
struct lab_oracle_page {
	uint64_t state;
	uint64_t rights;	 /* rights.c */
	uint64_t takes, written; /* tracking.c */
	uint64_t pins, marks;	 /* dirt.c */
	/* By writer: the last value that is certainly there, if the page still has the value's generation. */
	uint64_t last[LAB_MAX_WRITERS];
};

struct lab_event {
	uint64_t number; /* counts from 1, in all threads; 0 while it is being written */
	const char *what;
	uint32_t first, n;
};

/* Of an event: the pages are not known, only how many. */
#define LAB_SOMEWHERE UINT32_MAX

struct lab_ring {
	uint64_t next;
	struct lab_event event[LAB_EVENTS];
};

struct lab_thread {
	struct lab *lab;
	unsigned int id, writer;
	const char *role;
	/* For a crash: what it did last. access is NULL before the first access. */
	const char *access;
	size_t page;
	struct lab_ring ring;
	char signal_stack[LAB_SIGNAL_STACK];
	uint64_t random;
	uint64_t counter; /* of values written */
	bool stop;
	pthread_t pthread;
	int tid; /* 0 until it runs */
	bool ended;
	void (*fn)(void *arg, struct lab_thread *t);
	void *arg;
	struct lab_thread *next;
	/* figures: private to this thread until it has ended, except ops, which others may read */
	uint64_t ops, faults, retries;
	uint64_t histogram[LAB_RETRY_BUCKETS];
};

struct lab {
	const struct lab_driver *driver;
	const struct lab_config *config;
	struct mrn_hmm *hmm;
	struct lab_devmem other; /* another device with memory, to which the storm migrates */
	int backing_fd;
	struct mrn_hmm *second; /* second.c; or NULL */
	void *second_base;
	uintptr_t base;
	void *dev;
	struct lab_oracle_page page[LAB_PAGES];

	bool short_of_memory;		 /* an allocation may fail, as the driver is at work */
	uint64_t ops_left;		 /* signed in effect: work stops below 1 */
	bool stop;			 /* storms and CPU */
	uint32_t workers_done;		 /* a futex */
	sem_t strokes_due, strokes_room; /* strokes that the driver has posted, and may post */
	uint64_t invalidations, refusals, stale, asserts, leaks;
	uint32_t mm_users;   /* exit.c */
	uint64_t exit_until; /* threads pause for the exit until then */
	uint64_t ns;	     /* that the operations took */
	unsigned int nr_threads;
	struct lab_thread
		*threads; /* all, including ended ones; written under lock, entries stay */
	pthread_mutex_t lock;
	pthread_mutex_t take_lock; /* tracking.c */

	uint64_t nr_events;
	struct lab_ring others; /* of threads that are not in the list */
	struct lab_crash crash;
	uint32_t reported; /* 1: a thread writes the first finding */
	struct lab_result *result;
};

/* ---- run.c */

/* The run whose driver is open, or NULL: one at a time in a process. */
struct lab *lab_running(void);

/* ---- exit.c */

/* The process exits: drops its reference on the mm. Meanwhile threads stay for a while where they call lab_pause. */
void lab_exit(struct lab *lab);
/* Part of lab_pause. */
void lab_pause_at_exit(struct lab *lab);

/* ---- thread.c */

/* lab_thread_start, for a thread with another role than the device's. The role is a static string. */
struct lab_thread *lab_thread_start_as(struct lab *lab, const char *role,
				       void (*fn)(void *arg, struct lab_thread *t), void *arg);
/* lab_chance in any thread: callbacks come in threads that the lab has not started, too. False outside a run. */
bool lab_chance_here(unsigned int one_in);
/* For the calling thread, around the start of an invalidation whose callbacks may not block. NULL: it is over. */
void lab_forbid_sleep(struct lab *lab);
/* The calling thread, or NULL if the lab did not start it. */
struct lab_thread *lab_self(const struct lab *lab);

/* ---- flush.c */

/* Waits until a thread of the driver has ended. If it never will, prints what is known and ends the process. */
void lab_await_end(struct lab_thread *t);

/* ---- events.c */

/* What the calling thread does: a static string. */
void lab_event(struct lab *lab, const char *what, size_t first, size_t n);
/* The last events of all threads, in their order. */
void lab_tell_last_events(const struct lab *lab, struct mrn_text *text);
void lab_tell_events_of(const struct lab_ring *ring, struct mrn_text *text);
void lab_tell_thread(struct mrn_text *text, const struct lab_thread *t);

/* ---- findings.c */

/* Reports a stale access, in words. */
__attribute__((format(printf, 2, 3), cold)) void lab_stale(struct lab *lab, const char *format,
							   ...);
/* Reports something that the driver has left. */
__attribute__((format(printf, 2, 3), cold)) void lab_leak(struct lab *lab, const char *format, ...);
/* Reports a callback that may not block, and might; counted as an assertion. */
void lab_sleeps(struct lab *lab, const char *how);
/* How many there are so far. */
uint64_t lab_findings(const struct lab *lab);
void lab_violation(void *lab, uint64_t frame, size_t offset, uint64_t found);

/* ---- oracle.c */

/* The word in a page's memory that only this writer writes. */
static inline const uint64_t *lab_word(const void *memory, unsigned int writer)
{
	return (const uint64_t *)memory + writer * LAB_STRIDE;
}

uint64_t lab_generation(struct lab *lab, size_t page);

/* The storm closes pages, and opens them; unstable: the contents may go. In ascending order. */
void lab_pages_close(struct lab *lab, size_t first, size_t n, bool unstable);
void lab_pages_open(struct lab *lab, size_t first, size_t n, bool lost);
/* Checks that everything written and not discarded is there. Call after all threads have ended. */
void lab_check_all(struct lab *lab);

/* ---- rights.c */

/*
 * In the storm: what devices may do from here on. Call after a right has been taken away, and before one is given. Unless
 * pinned: to pages that no driver has pinned.
 */
void lab_rights_set(struct lab *lab, size_t first, size_t n, int prot);
void lab_rights_set_unless_pinned(struct lab *lab, size_t first, size_t n, int prot);
/* A device calls lab_rights before an access, and lab_check_right after it. */
uint64_t lab_rights(struct lab *lab, size_t page);
void lab_check_right(struct lab *lab, size_t page, uint64_t before, bool write);

/* ---- tracking.c */

/* In the storm: asks which pages have been written to, and checks the answer. */
void lab_take_soft_dirty(struct lab *lab, size_t first, size_t n);
/* A writer calls lab_takes before a write, and lab_tell_write after it. */
uint64_t lab_takes(struct lab *lab, size_t page);
void lab_tell_write(struct lab *lab, size_t page, uint64_t before);

/* ---- dirt.c */

/* True if a driver has pinned the page. */
bool lab_is_pinned(struct lab *lab, size_t page);
/* In the storm: finds pages that would lose what was written to them, since nobody has marked them. */
void lab_drop_clean(struct lab_thread *t, size_t first, size_t n);
/* A writer calls this after a write. Other memory than frames is dirty without a driver's saying so. */
void lab_mark_write(struct lab *lab, const void *memory, size_t page);

/* ---- loan.c */

/* In the storm: lends pages exclusively for a while, and checks that nobody writes to them. */
void lab_lend(struct lab_thread *t, size_t first, size_t n);

/* ---- second.c */

/* Part of lab_unpin. False: the frames are not the second process's. */
bool lab_second_unpin(struct lab *lab, const uint64_t *frames, size_t n, bool dirty);
/* Call after the driver is closed, if lab_second_start has been called or not. */
void lab_second_end(struct lab *lab);

/* ---- storm.c, oracle.c: threads */

void lab_storm(void *lab, struct lab_thread *t);
void lab_cpu(void *lab, struct lab_thread *t);
#endif
