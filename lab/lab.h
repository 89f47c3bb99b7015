/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lab: a device model at work on managed memory, in a storm of changes, under an oracle.
 *
 * A run has one region of managed memory. Threads of the model's driver work for the device (faults,
 * pins, submissions), threads of the device read and write frames, a thread of the CPU loads and
 * stores, and storm threads discard, unmap, move, protect, migrate, reclaim and reap all the while.
 *
 * The oracle. Every thread that writes has a word of its own in each page, and writes growing values
 * there that name the page, the writer, and the generation of the page's contents, which goes up when
 * they are discarded. So whoever reads a word knows whether it can be right: a word of another page, of
 * an older generation, or less than what was written before, is a stale access or a lost write. And a
 * frame that has left its page is poisoned and kept: reading the poison is a finding, and so is having
 * written over it. What a model knows to be true of itself it asserts with LAB_ASSERT.
 *
 * A model is a file of models/, with a file more where its hardware is large, and an entry of the table in
 * models.c. It uses <mrn/mmu_notifier.h> and <mrn/hmm.h> as any driver would, what is below, and from
 * parts/ what devices are made of.
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

struct lab_driver {
	const char *name;
	const char *about; /* one line: what it is the model of */
	/*
	 * What --break can take out, ended by NULL. The model numbers them from 0 with an enum, and asks
	 * lab_is_broken at the place where a careless driver would leave the step out.
	 */
	const char *const *steps;
	/* Makes the device. 0 or -errno. No other thread of the run is there yet. */
	int (*open)(struct lab *lab, void **dev);
	/* One operation of the driver, by one of several threads at once. */
	void (*work)(void *dev, struct lab_thread *t);
	/* Ends the device: nothing of it may be inserted, pinned or running afterwards. The storm is over. */
	void (*close)(void *dev);
};

/* --------------------------------------------------------------------------------------- the region */

struct mrn_hmm *lab_hmm(struct lab *lab);
struct mrn_mm *lab_mm(struct lab *lab);
size_t lab_pages(const struct lab *lab); /* a power of two */
uintptr_t lab_addr(const struct lab *lab, size_t page);
/* The page of an address of the region; beyond it, the nearest end: for ranges of invalidations. */
size_t lab_page(const struct lab *lab, uintptr_t addr);

bool lab_is_broken(const struct lab *lab, int step);

/* ------------------------------------------------------------------------------------------- threads */

/* A thread of the device, until lab_thread_join. fn returns when lab_thread_stopping, or its own reasons. */
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
 * Where a race would have its window, lets others run now and then. It is in the right and in the broken
 * version alike, and changes nothing but the odds.
 */
void lab_pause(struct lab_thread *t);
/* Where the window is for somebody who stays away while others do whole operations: often, so seldom called. */
void lab_linger(struct lab_thread *t);

/* -------------------------------------------------------------------------------------------- access */

/*
 * The device reads or writes a page through its translation: memory is mrn_hmm_frame of the frame, or the
 * device's own memory. Every word read is looked at by the oracle. The page's translation must not be
 * able to go away in the middle: an access in flight is what an invalidation waits for.
 */
void lab_dma_read(struct lab_thread *t, const void *memory, size_t page);
void lab_dma_write(struct lab_thread *t, void *memory, size_t page);
/* Either, at random. */
void lab_dma(struct lab_thread *t, void *memory, size_t page, bool may_write);

/*
 * For a driver that has the CPU copy: between the two, nobody unmaps or discards the page, as programs do
 * not with memory that they have given to a system call. False while somebody does: then it is not to be
 * touched at lab_addr.
 */
bool lab_page_hold(struct lab *lab, size_t page);
void lab_page_release(struct lab *lab, size_t page);

/* ----------------------------------------------------------------------------------- figures, findings */

void lab_count_faults(struct lab_thread *t, size_t n);
/* An operation has begun again this many times because of collisions. Once an operation, 0 included. */
void lab_count_retries(struct lab_thread *t, unsigned int n);
/* For callbacks, in whatever thread. */
void lab_count_invalidation(struct lab *lab, const struct mmu_notifier_range *range);
void lab_count_refusal(struct lab *lab);

/* What must be true of the device at this point. A finding when it is not. */
#define LAB_ASSERT(lab, cond, ...)                                                   \
	do {                                                                         \
		if (__builtin_expect(!(cond), 0))                                    \
			lab_finding(lab, __FILE__, __LINE__, #cond, "" __VA_ARGS__); \
	} while (0)

__attribute__((format(printf, 5, 6), cold)) void lab_finding(struct lab *lab, const char *file,
							     int line, const char *cond,
							     const char *format, ...);

#endif
