/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of dmirror: its accesses to memory, and what causes them.
 *
 * An access uses only the table, and goes to a frame or to the device's own memory. The engine accesses pages that it
 * finds there. A program, which runs in the driver's threads, gives commands: to read or write a page, which the driver
 * fetches if the table lacks it, and now and then one of the others.
 */
#include "lab/models/dmirror.h"

#include <errno.h>
#include <unistd.h>

#define DEVMEM_PAGES 24 /* fewer than the region has, so that it can be full */

/* ------------------------------------------------------------------------------------------- accesses */

static void *memory_of(struct dmirror *d, uint64_t entry)
{
	void *memory = lab_devmem_page(&d->mdevice, entry & ~DPT_ATOMIC);

	return memory ? memory : mrn_hmm_frame(lab_hmm(d->lab), entry & ~DPT_ATOMIC);
}

static uint64_t checksum(const uint64_t *memory)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < (size_t)getpagesize() / sizeof(*memory); k++)
		sum = (sum << 7 | sum >> 57) + __atomic_load_n(memory + k, __ATOMIC_RELAXED);
	return sum;
}

/* Checks that no other write came between its read and its write. */
static void operate_atomically(struct dmirror *d, size_t i, void *memory, struct lab_thread *t)
{
	uint64_t sum = checksum(memory);

	lab_pause(t);
	LAB_ASSERT(d->lab, checksum(memory) == sum,
		   "page %zu was written to in the middle of an atomic operation", i);
	lab_dma(t, memory, i, true);
}

/* One access. False when the translation is missing. */
static bool access_page(struct dmirror *d, size_t i, bool write, struct lab_thread *t)
{
	pthread_mutex_t *unit = &d->unit[i % DMIRROR_UNITS];
	uint64_t entry = lab_mmu_begin(&d->pt, i, write);

	if (entry == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	lab_spin_lock(unit);
	if (entry & DPT_ATOMIC)
		operate_atomically(d, i, memory_of(d, entry), t);
	else
		lab_dma(t, memory_of(d, entry), i, write);
	lab_unlock(unit);
	lab_mmu_end(&d->pt, i);
	return true;
}

/* ----------------------------------------------------------------------------------------- the engine */

static void engine(void *arg, struct lab_thread *t)
{
	struct dmirror *d = arg;

	while (!lab_thread_stopping(t)) {
		access_page(d, lab_below(t, lab_pages(d->lab)), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

/* ------------------------------------------------------------------------------------------- a program */

static void read_or_write(const struct dmirror_cmd *c)
{
	bool write = lab_chance(c->t, 2);

	if (access_page(c->d, c->i, write, c->t))
		lab_count_retries(c->t, 0);
	else if (!dmirror_fault(c, write))
		access_page(c->d, c->i, write, c->t);
}

/* A command for a few pages somewhere. */
static struct dmirror_cmd new_command(struct dmirror *d, struct lab_thread *t)
{
	struct dmirror_cmd c = {.d = d, .t = t, .n = 1 + lab_below(t, DMIRROR_MAX_PAGES)};

	c.i = lab_below(t, lab_pages(d->lab) - c.n + 1);
	c.addr = (void *)lab_addr(d->lab, c.i);
	c.length = c.n * (size_t)getpagesize();
	return c;
}

void dmirror_work(void *dev, struct lab_thread *t)
{
	struct dmirror_cmd c = new_command(dev, t);

	switch (lab_below(t, 32)) {
	case 0:
		dmirror_snapshot(&c);
		break;
	case 1:
		dmirror_exclusive(&c);
		break;
	case 2:
		dmirror_migrate_to_device(&c);
		lab_count_retries(t, 0);
		break;
	case 3:
		mrn_hmm_migrate_to_ram(lab_hmm(c.d->lab), c.addr, c.length);
		lab_count_retries(t, 0);
		break;
	default:
		read_or_write(&c);
	}
}

/* ------------------------------------------------------------------------------------------ open, close */

int dmirror_device_open(struct dmirror *d)
{
	int err;

	for (size_t u = 0; u < DMIRROR_UNITS; u++)
		pthread_mutex_init(&d->unit[u], NULL);
	err = lab_mmu_init(&d->pt, lab_pages(d->lab));
	d->pt.rights = DPT_ATOMIC;
	if (!err)
		err = lab_devmem_open(&d->mdevice, d->lab, DEVMEM_PAGES);
	if (err)
		return err;
	d->engine = lab_thread_start(d->lab, engine, d);
	return d->engine ? 0 : -ENOMEM;
}

void dmirror_device_stop(struct dmirror *d)
{
	if (d->engine)
		lab_thread_join(d->engine);
	lab_devmem_close(&d->mdevice);
}

void dmirror_device_close(struct dmirror *d)
{
	for (size_t u = 0; u < DMIRROR_UNITS; u++)
		pthread_mutex_destroy(&d->unit[u]);
	lab_mmu_destroy(&d->pt);
}
