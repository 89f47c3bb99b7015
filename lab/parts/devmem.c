/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/devmem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lab/held.h"
#include "os/container_of.h"

uint64_t *lab_devmem_at(const struct lab_devmem *m, uint64_t page)
{
	return (uint64_t *)(m->memory + lab_bytes(page));
}

static struct lab_devmem *devmem_of(struct mrn_hmm_device *dev)
{
	return container_of(dev, struct lab_devmem, dev);
}

/* Both are atomic: stale accesses may race with them. */
static void poison(const struct lab_devmem *m, uint64_t page)
{
	for (size_t k = 0; k < lab_bytes(1) / sizeof(uint64_t); k++)
		__atomic_store_n(lab_devmem_at(m, page) + k, MRN_HMM_POISON(page),
				 __ATOMIC_RELAXED);
}

static bool is_poisoned(const struct lab_devmem *m, uint64_t page)
{
	for (size_t k = 0; k < lab_bytes(1) / sizeof(uint64_t); k++)
		if (__atomic_load_n(lab_devmem_at(m, page) + k, __ATOMIC_RELAXED) !=
		    MRN_HMM_POISON(page))
			return false;
	return true;
}

static long take(struct mrn_hmm_device *dev, size_t n, uint64_t *pages)
{
	struct lab_devmem *m = devmem_of(dev);
	size_t got = 0;

	lab_spin_lock(&m->lock);
	for (uint64_t page = 0; page < dev->pages && got < n; page++) {
		if (m->used[page])
			continue;
		LAB_ASSERT(m->lab, is_poisoned(m, page),
			   "page %ju of a device was written to while it was nobody's",
			   (uintmax_t)page);
		m->used[page] = true;
		pages[got++] = page;
	}
	lab_unlock(&m->lock);
	return (long)got;
}

static void give_back(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages)
{
	struct lab_devmem *m = devmem_of(dev);

	lab_spin_lock(&m->lock);
	for (size_t k = 0; k < n; k++) {
		poison(m, pages[k]);
		m->used[pages[k]] = false;
	}
	lab_unlock(&m->lock);
}

static int copy_to_device(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages,
			  void *const *frames)
{
	for (size_t k = 0; k < n; k++)
		memcpy(lab_devmem_at(devmem_of(dev), pages[k]), frames[k], lab_bytes(1));
	return 0;
}

static int copy_to_ram(struct mrn_hmm_device *dev, size_t n, void *const *frames,
		       const uint64_t *pages)
{
	for (size_t k = 0; k < n; k++)
		memcpy(frames[k], lab_devmem_at(devmem_of(dev), pages[k]), lab_bytes(1));
	return 0;
}

const struct mrn_hmm_device_ops lab_devmem_ops = {
	.alloc = take,
	.free = give_back,
	.copy_to_device = copy_to_device,
	.copy_to_ram = copy_to_ram,
};

static void free_memory(struct lab_devmem *m)
{
	lab_let_go(LAB_DEVICES);
	pthread_mutex_destroy(&m->lock);
	free(m->used);
	free(m->memory);
	m->lab = NULL;
}

int lab_devmem_open(struct lab_devmem *m, struct lab *lab, uint64_t pages)
{
	int err = -ENOMEM;

	lab_hold(LAB_DEVICES);
	m->lab = lab;
	m->dev.pages = pages;
	if (!m->dev.ops)
		m->dev.ops = &lab_devmem_ops;
	pthread_mutex_init(&m->lock, NULL);
	m->used = calloc(pages, sizeof(*m->used));
	m->memory = calloc(pages, lab_bytes(1));
	if (m->used && m->memory) {
		for (uint64_t page = 0; page < pages; page++)
			poison(m, page);
		err = mrn_hmm_device_add(lab_hmm(lab), &m->dev);
	}
	if (err)
		free_memory(m);
	return err;
}

void lab_devmem_close(struct lab_devmem *m)
{
	int err;

	if (!m->lab)
		return;
	err = mrn_hmm_device_remove(lab_hmm(m->lab), &m->dev);
	LAB_ASSERT(m->lab, !err, "a device's pages cannot come back: %d", err);
	for (uint64_t page = 0; page < m->dev.pages; page++)
		LAB_ASSERT(m->lab, !m->used[page], "page %ju of a device is lost", (uintmax_t)page);
	free_memory(m);
}

void *lab_devmem_page(const struct lab_devmem *m, uint64_t pfn)
{
	uint64_t page;

	return mrn_hmm_device_page(&m->dev, pfn, &page) ? lab_devmem_at(m, page) : NULL;
}
