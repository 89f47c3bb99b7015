/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lab: a device model at work on managed memory, in a storm of changes, under an oracle.
 *
 * A run has one region of managed memory. Threads of the model's driver work for the device (faults, pins,
 * submissions), threads of the device read and write frames, a CPU thread loads and stores, and storm threads meanwhile
 * discard, unmap, move, protect, migrate, lend, reclaim and reap.
 *
 * The oracle. Every thread that writes has a word of its own in each page, and writes growing values there that name
 * the page, the writer, and the generation of the page's contents, which goes up when they are discarded. So a reader
 * of a word knows whether it can be right: a word of another page, of an older generation, or less than a value written
 * before, is a stale access or a lost write. So is a device's access without the right, while the CPU does not have it
 * either. A frame that has left its page is poisoned and held back: reading the poison is a finding, and so is
 * overwriting it. A model asserts its own invariants with LAB_ASSERT.
 *
 * A model is a file in models/, with more files if its hardware is large, and an entry in the table in models.c. It
 * uses <mrn/mmu_notifier.h> and <mrn/hmm.h> as any driver would, the functions below, and parts of devices from parts/.
 */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <mrn/hmm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lab;
struct lab_thread;

/* Which of the pages that it is to invalidate a careless driver leaves. */
enum lab_cuts { LAB_CUTS_NOTHING, LAB_CUTS_SHORT_START, LAB_CUTS_SHORT_END, LAB_CUTS_FIRST_CHUNK };

/* What a careless driver does wrong: a bug that --break plants. */
struct lab_step {
	const char *name;
	const char *words; /* a sentence without its subject, the driver, and without a full stop */
	/* In all models alike: events, a bit for each, of which lab_ignores tells; and what lab_cut leaves out. */
	unsigned int ignored;
	enum lab_cuts cuts;
};

struct lab_driver {
	const char *name;
	const char *about; /* one line: what it models */
	/* Ended by one without a name. The model asks lab_is_broken, with an index, where a careless driver goes wrong. */
	const struct lab_step *steps;
	size_t size; /* of the device's structure, which is zeroed before open and freed after close */
	/* Starts the device. 0 or -errno. The run has no other thread yet. */
	int (*open)(struct lab *lab, void *dev);
	/* One operation of the driver. Several threads run it at once. */
	void (*work)(void *dev, struct lab_thread *t);
	/*
	 * Ends the device, also one that open could not start: removes its notifiers and pins, ends its threads, and
	 * frees what it has allocated. What is left is a finding. The storm is over.
	 */
	void (*close)(void *dev);
};

/* --------------------------------------------------------------------------------------- the region */

struct mrn_hmm *lab_hmm(struct lab *lab);
struct mrn_mm *lab_mm(struct lab *lab);
size_t lab_pages(const struct lab *lab); /* a power of two */
/*
 * The region comes in blocks of 2^LAB_ORDER pages, which are contiguous in frames, until the storm splits them, and
 * joins them again.
 */
#define LAB_ORDER 2
size_t lab_bytes(size_t pages);
uintptr_t lab_addr(const struct lab *lab, size_t page);
/* The page of an address; outside the region, its nearest end: for ranges of invalidations. */
size_t lab_page(const struct lab *lab, uintptr_t addr);

bool lab_is_broken(const struct lab *lab, int step);
/* First thing in a callback: true if a careless driver does nothing about this event. */
bool lab_ignores(const struct lab *lab, const struct mmu_notifier_range *range);
/* When a callback knows which pages to invalidate: leaves out those that a careless driver does. *first <= *end still. */
void lab_cut(const struct lab *lab, size_t *first, size_t *end);

/* ------------------------------------------------------------------------------------------- threads */

/* Starts a thread of the device, which lab_thread_join ends. fn returns when lab_thread_stopping, or earlier. */
struct lab_thread *lab_thread_start(struct lab *lab, void (*fn)(void *arg, struct lab_thread *t),
				    void *arg);
void lab_thread_join(struct lab_thread *t);
bool lab_thread_stopping(const struct lab_thread *t);
void lab_thread_stop(struct lab_thread *t); /* asks; does not wait */

struct lab *lab_of(const struct lab_thread *t);
uint64_t lab_random(struct lab_thread *t);
size_t lab_below(struct lab_thread *t, size_t limit); /* 0 .. limit - 1 */
bool lab_chance(struct lab_thread *t, unsigned int one_in);

/*
 * Lets other threads run now and then, where a race would have its window. Put it into the right and the broken version
 * alike: it changes nothing but the odds.
 */
void lab_pause(struct lab_thread *t);
/*
 * Waits until done(arg) is true, for which a worker of the driver has something to do. False, and a finding, if that
 * can never be: the caller is the worker, or holds what it needs.
 */
bool lab_flush(struct lab_thread *worker, bool (*done)(void *arg), void *arg);
/* Where a careless driver that leaves out this step drops its lock between the check and what relies on it. */
void lab_unlock_early(struct lab_thread *t, int step, pthread_mutex_t *lock);
/* For a window in which other threads do whole operations: waits long, so call it seldom. */
void lab_linger(struct lab_thread *t);

/* -------------------------------------------------------------------------------------------- access */

/*
 * The device reads or writes a page through its translation: memory is mrn_hmm_frame of the frame, or the device's own
 * memory. The oracle checks every word read. The translation must not go away in the middle: invalidations wait for
 * accesses in flight.
 */
void lab_dma_read(struct lab_thread *t, const void *memory, size_t page);
void lab_dma_write(struct lab_thread *t, void *memory, size_t page);
/* Either, at random. */
void lab_dma(struct lab_thread *t, void *memory, size_t page, bool may_write);

/*
 * For a driver that copies with the CPU: between hold and release, no thread unmaps or discards the page, as programs
 * do not do with memory that they passed to a system call. False while a thread does so: then do not touch the page at
 * lab_addr.
 */
bool lab_page_hold(struct lab *lab, size_t page);
void lab_page_release(struct lab *lab, size_t page);

/* ------------------------------------------------------------------------------------------- dirt */

/*
 * mrn_hmm_pin, _unpin and _set_dirty. A driver says in time which pages its device has written to: before the callback
 * returns that takes the translation away, or when it unpins them, however late. If it does not, what was written is a
 * finding; so is lab_set_dirty for a frame that has left its page.
 */
long lab_pin(struct lab *lab, size_t first, size_t n, bool write, uint64_t *frames);
void lab_unpin(struct lab *lab, size_t first, const uint64_t *frames, size_t n, bool dirty);
void lab_set_dirty(struct lab *lab, size_t page, uint64_t frame);

/* --------------------------------------------------------------------------------------- a second process */

/* In open, for a driver whose file processes pass on: there is one more, with an mm of its own. 0 or -errno. */
int lab_second_start(struct lab *lab);
/* The mm of the process that asks for this operation: mostly lab_mm. Draws; call once for each operation. */
struct mrn_mm *lab_caller(struct lab_thread *t);
/* lab_pin in either mm; lab_unpin knows the frames. For the second process, pages are of what it has in the region's place. */
long lab_pin_of(struct lab *lab, struct mrn_mm *mm, size_t first, size_t n, bool write,
		uint64_t *frames);
/* mrn_hmm_frame, for the frames of both. */
void *lab_frame(struct lab *lab, uint64_t frame);

/* ------------------------------------------------------------------------------------------- the mm's end */

/*
 * The mm does not end between get and put: for a driver that looks something up and publishes it, or that keeps the mm
 * until it is closed. False once the last user has gone. The last put ends the mm, with all callbacks, before it
 * returns.
 */
bool lab_mm_get(struct lab *lab);
void lab_mm_put(struct lab *lab);

/* ------------------------------------------------------------------------------------------- waiting */

/*
 * Call before what may wait for another thread: a finding in a callback that may not block, also when it need not wait
 * this time. how: what it does, for the finding.
 */
void lab_might_sleep(const char *how);
/*
 * A driver's locks. lab_lock and lab_down are for what its holder may keep while it sleeps, the kernel's mutex and
 * rw_semaphore; the others, spinlock and rwlock, for what it may not. Before a lock is taken and after it is dropped, others
 * may run for a while: where a step is on the wrong side of it, that is its window.
 */
void lab_lock(pthread_mutex_t *lock);
void lab_spin_lock(pthread_mutex_t *lock);
void lab_unlock(pthread_mutex_t *lock);
void lab_down_read(pthread_rwlock_t *lock);
void lab_down_write(pthread_rwlock_t *lock);
void lab_read_lock(pthread_rwlock_t *lock);
void lab_write_lock(pthread_rwlock_t *lock);
void lab_rw_unlock(pthread_rwlock_t *lock);

/* -------------------------------------------------------------------------------------------- memory */

/*
 * Zeroed memory, or NULL, now and then. May sleep, and may reclaim, that is, call the callbacks of the run's mm: so hold no
 * lock that one of them takes. MRN_LOCK_ORDER=1 reports such a driver lock. Counted: what a driver has not freed when it is
 * closed is a finding.
 */
void *lab_alloc(size_t size);
void lab_free(void *memory);

/* ----------------------------------------------------------------------------------- figures, findings */

void lab_count_faults(struct lab_thread *t, size_t n);
/* An operation began again n times because of collisions. Call once per operation, also with 0. */
void lab_count_retries(struct lab_thread *t, unsigned int n);
/* For callbacks, in any thread. */
void lab_count_invalidation(struct lab *lab, const struct mmu_notifier_range *range);
void lab_count_refusal(struct lab *lab);

/* Asserts an invariant of the device. A finding if it is false. */
#define LAB_ASSERT(lab, cond, ...)                                                   \
	do {                                                                         \
		if (__builtin_expect(!(cond), 0))                                    \
			lab_finding(lab, __FILE__, __LINE__, #cond, "" __VA_ARGS__); \
	} while (0)

__attribute__((format(printf, 5, 6), cold)) void lab_finding(struct lab *lab, const char *file,
							     int line, const char *cond,
							     const char *format, ...);

#endif
