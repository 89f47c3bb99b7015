/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/hmm/dmirror_driver.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/fixture.h"
#include "os/container_of.h"

/* The page table is a tree, as in hardware: LEVELS of tables of 2^BITS entries. */
#define BITS   9
#define LEVELS 4
#define LIMIT  ((uintptr_t)1 << BITS * LEVELS) /* page numbers */

/* In an entry, beside the flags and the number of an answer: no one else has this page. */
#define EXCLUSIVE (1ul << 55)

/* What is left in device memory that has been given back. */
#define GONE 0xdb

unsigned int dmirror_broken;

/* Set while this thread's own command moves pages to this device. */
static __thread const struct dmirror *moving_to;

static struct dmirror *mirror_of(struct mmu_range_notifier *mrn)
{
	return container_of(mrn, struct dmirror, notifier);
}

static bool is_broken(enum dmirror_broken how)
{
	return dmirror_broken & how;
}

/* ----------------------------------------------------------------------------------- page table */

static uintptr_t page_number(uintptr_t addr)
{
	return addr / mrn_page_size();
}

/* The place of the entry for addr. NULL where there is no table yet, unless it is to be made. */
static uintptr_t *entry_at(struct dmirror *d, uintptr_t addr, bool make)
{
	uintptr_t *table = d->table, number = page_number(addr);

	CHECK(number < LIMIT);
	for (unsigned int level = LEVELS - 1; level; level--) {
		uintptr_t *slot = &table[number >> BITS * level & ((1u << BITS) - 1)];

		if (!*slot && !make)
			return NULL;
		/* With the driver lock held: nothing in malloc changes this mm. */
		if (!*slot)
			*slot = (uintptr_t)calloc(1u << BITS, sizeof(*slot));
		table = (uintptr_t *)*slot;
		CHECK(table);
	}
	return &table[number & ((1u << BITS) - 1)];
}

static unsigned long look_up(struct dmirror *d, uintptr_t addr)
{
	uintptr_t *entry = entry_at(d, addr, false);

	return entry ? *entry : 0;
}

/* Entries [first, last], counted from where the table begins. */
static void clear(uintptr_t *table, unsigned int level, uintptr_t first, uintptr_t last)
{
	uintptr_t below = ((uintptr_t)1 << BITS * level) - 1;

	for (uintptr_t i = first >> BITS * level; i <= last >> BITS * level; i++) {
		if (!table[i])
			continue;
		if (!level)
			table[i] = 0;
		else
			clear((uintptr_t *)table[i], level - 1,
			      i == first >> BITS * level ? first & below : 0,
			      i == last >> BITS * level ? last & below : below);
	}
}

static void zap(struct dmirror *d, uintptr_t start, uintptr_t end)
{
	uintptr_t first = page_number(start), last = page_number(end - 1);

	if (first < LIMIT)
		clear(d->table, LEVELS - 1, first, last < LIMIT ? last : LIMIT - 1);
}

static void free_table(uintptr_t *table, unsigned int level)
{
	for (size_t i = 0; level && i < 1u << BITS; i++)
		if (table[i])
			free_table((uintptr_t *)table[i], level - 1);
	free(table);
}

/* --------------------------------------------------------------------------------- invalidation */

/*
 * Is this invalidation the device's own doing? Its command knows what it moves, is the only one
 * that runs, and puts right the page table afterwards. For MIGRATE the owner alone does not tell: a
 * page that leaves the device is announced in its name, too.
 */
static bool is_mine(const struct dmirror *d, const struct mmu_notifier_range *range)
{
	if (range->owner != &d->dev)
		return false;
	if (range->event == MMU_NOTIFY_MIGRATE)
		return moving_to == d || is_broken(DMIRROR_OWNER_ALONE);
	return range->event == MMU_NOTIFY_EXCLUSIVE;
}

static bool lock_for(pthread_mutex_t *lock, const struct mmu_notifier_range *range)
{
	if (!mmu_notifier_range_blockable(range))
		return !pthread_mutex_trylock(lock);
	pthread_mutex_lock(lock);
	return true;
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct dmirror *d = mirror_of(mrn);

	if (is_mine(d, range))
		return true;
	if (!lock_for(&d->lock, range))
		return false;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	if (!is_broken(DMIRROR_NO_ZAP))
		zap(d, range->start, range->end);
	pthread_mutex_unlock(&d->lock);
	return true;
}

static void let_in(struct dmirror *d)
{
	if (d->between)
		d->between(d);
}

/* With the driver lock held. */
static bool has_collided(struct dmirror *d, struct mmu_range_notifier *mrn, uint64_t seq)
{
	bool collided = mmu_range_read_retry(mrn, seq) && !is_broken(DMIRROR_NO_RETRY);

	d->collisions += collided;
	return collided;
}

/* -------------------------------------------------------------------------------- device memory */

static struct dmirror *of_device(struct mrn_hmm_device *dev)
{
	return container_of(dev, struct dmirror, dev);
}

static char *device_memory(struct dmirror *d, uint64_t page)
{
	return d->memory + PAGE(page);
}

/* The lowest that are free. Scattered: one, and not next to the one before. */
static long alloc_pages(struct mrn_hmm_device *dev, size_t n, uint64_t *pages)
{
	struct dmirror *d = of_device(dev);
	size_t got = 0;

	pthread_mutex_lock(&d->memory_lock);
	for (size_t i = 0; i < DMIRROR_PAGES && got < n && d->pages_used < d->room; i++) {
		/* Scattered: every other page first, then the rest. */
		size_t page = d->scattered ? (i * 2 + i * 2 / DMIRROR_PAGES) % DMIRROR_PAGES : i;

		if (d->used[page])
			continue;
		d->used[page] = true;
		d->pages_used++;
		pages[got++] = page;
		if (d->scattered)
			break;
	}
	pthread_mutex_unlock(&d->memory_lock);
	return (long)got;
}

static void free_pages(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages)
{
	struct dmirror *d = of_device(dev);

	pthread_mutex_lock(&d->memory_lock);
	for (size_t i = 0; i < n; i++) {
		CHECK(pages[i] < DMIRROR_PAGES && d->used[pages[i]]);
		d->used[pages[i]] = false;
		d->pages_used--;
		memset(device_memory(d, pages[i]), GONE, mrn_page_size());
	}
	pthread_mutex_unlock(&d->memory_lock);
}

static int copy_to_device(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages,
			  void *const *frames)
{
	for (size_t i = 0; i < n; i++)
		memcpy(device_memory(of_device(dev), pages[i]), frames[i], mrn_page_size());
	return 0;
}

static int copy_to_ram(struct mrn_hmm_device *dev, size_t n, void *const *frames,
		       const uint64_t *pages)
{
	for (size_t i = 0; i < n; i++)
		memcpy(frames[i], device_memory(of_device(dev), pages[i]), mrn_page_size());
	return 0;
}

size_t dmirror_pages_used(struct dmirror *d)
{
	size_t used;

	pthread_mutex_lock(&d->memory_lock);
	used = d->pages_used;
	pthread_mutex_unlock(&d->memory_lock);
	return used;
}

static const struct mrn_hmm_device_ops device_ops = {
	.alloc = alloc_pages,
	.free = free_pages,
	.copy_to_device = copy_to_device,
	.copy_to_ram = copy_to_ram,
};

/* ------------------------------------------------------------------------------- open and close */

void dmirror_open(struct dmirror *d, struct mrn_hmm *hmm)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

	memset(d, 0, sizeof(*d));
	d->hmm = hmm;
	pthread_mutex_init(&d->command, NULL);
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->memory_lock, NULL);
	d->table = calloc(1u << BITS, sizeof(*d->table));
	CHECK(d->table);
	d->room = DMIRROR_PAGES;
	d->notifier.ops = &ops;
	d->notifier.driver_lock = &d->lock;
	CHECK_ERR(mmu_range_notifier_insert(&d->notifier, 0, mrn_page_down(UINTPTR_MAX),
					    hmm ? mrn_hmm_mm(hmm) : mrn_mm_self()),
		  0);
	if (!hmm)
		return;
	d->memory = mmap(NULL, PAGE(DMIRROR_PAGES), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(d->memory != MAP_FAILED);
	d->dev.ops = &device_ops;
	d->dev.pages = DMIRROR_PAGES;
	CHECK_ERR(mrn_hmm_device_add(hmm, &d->dev), 0);
}

void dmirror_close(struct dmirror *d)
{
	if (d->hmm) {
		CHECK_ERR(mrn_hmm_device_remove(d->hmm, &d->dev), 0);
		CHECK_EQ(dmirror_pages_used(d), 0);
		CHECK_EQ(munmap(d->memory, PAGE(DMIRROR_PAGES)), 0);
	}
	CHECK_ERR(mmu_range_notifier_remove(&d->notifier), 0);
	free_table(d->table, LEVELS - 1);
	pthread_mutex_destroy(&d->memory_lock);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->command);
}

int dmirror_release(struct dmirror *d)
{
	int err;

	pthread_mutex_lock(&d->command);
	err = mrn_hmm_device_remove(d->hmm, &d->dev);
	CHECK(err || !dmirror_pages_used(d));
	if (!err)
		err = mrn_hmm_device_add(d->hmm, &d->dev);
	pthread_mutex_unlock(&d->command);
	return err;
}

/* --------------------------------------------------------------------------------- transferring */

/* The memory behind an entry. */
static char *memory_of(struct dmirror *d, unsigned long entry)
{
	uint64_t page;

	entry &= ~EXCLUSIVE;
	if (mrn_hmm_device_page(&d->dev, entry, &page))
		return device_memory(d, page);
	return mrn_hmm_frame(d->hmm, mrn_hmm_pfn_to_frame(entry));
}

static void read_page(struct dmirror *d, unsigned long entry, char *to)
{
	char *memory = memory_of(d, entry);
	uint64_t word;

	CHECK(memory);
	memcpy(to, memory, mrn_page_size());
	memcpy(&word, to, sizeof(word));
	CHECK_MSG(!MRN_HMM_IS_POISON(word), "the device has read a frame that is not its any more");
}

static void write_page(struct dmirror *d, unsigned long entry, const char *from)
{
	char *memory = memory_of(d, entry);
	uint64_t page;

	CHECK(memory);
	memcpy(memory, from, mrn_page_size());
	if (!mrn_hmm_device_page(&d->dev, entry & ~EXCLUSIVE, &page))
		mrn_hmm_set_dirty(d->hmm, mrn_hmm_pfn_to_frame(entry & ~EXCLUSIVE));
}

/* Copies pages [done, pages) until there is no entry that will do. How many are done then. */
static size_t copy(struct dmirror *d, uintptr_t addr, size_t done, size_t pages, char *data,
		   bool write)
{
	pthread_mutex_lock(&d->lock);
	for (; done < pages; done++) {
		unsigned long entry = look_up(d, addr + PAGE(done));

		if (!(entry & HMM_PFN_VALID))
			break;
		if (write && !(entry & HMM_PFN_WRITE) && !is_broken(DMIRROR_WRITE_ANYWAY))
			break;
		if (write)
			write_page(d, entry, data + PAGE(done));
		else
			read_page(d, entry, data + PAGE(done));
	}
	pthread_mutex_unlock(&d->lock);
	return done;
}

/* Enters answers into the page table. With the driver lock held. */
static void publish(struct dmirror *d, uintptr_t addr, size_t n, const unsigned long *pfns,
		    unsigned long tag)
{
	for (size_t i = 0; i < n; i++)
		*entry_at(d, addr + PAGE(i), true) = pfns[i] | tag;
}

/* Asks for n pages, at most a chunk, and enters them. */
static int fault_chunk(struct dmirror *d, uintptr_t addr, size_t n, bool write)
{
	unsigned long pfns[DMIRROR_CHUNK];
	struct hmm_range range = {
		.notifier = &d->notifier,
		.start = addr,
		.end = addr + PAGE(n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = &d->dev,
	};

	for (;;) {
		int err;

		range.notifier_seq = mmu_range_read_begin(range.notifier);
		err = hmm_range_fault(&range);
		if (err == -EBUSY) {
			d->collisions++;
			continue;
		}
		if (err)
			return err;
		let_in(d);
		pthread_mutex_lock(&d->lock);
		if (!has_collided(d, range.notifier, range.notifier_seq))
			break;
		pthread_mutex_unlock(&d->lock);
	}
	for (size_t i = 0; i < n; i++) {
		/* What is asked for is there when it comes out well. */
		CHECK(pfns[i] & HMM_PFN_VALID);
		CHECK(!write || (pfns[i] & HMM_PFN_WRITE));
		CHECK(!(pfns[i] & HMM_PFN_ERROR));
	}
	publish(d, addr, n, pfns, 0);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int fault(struct dmirror *d, uintptr_t addr, size_t pages, bool write)
{
	int err = 0;

	while (pages && !err) {
		size_t n = pages < DMIRROR_CHUNK ? pages : DMIRROR_CHUNK;

		err = fault_chunk(d, addr, n, write);
		addr += PAGE(n);
		pages -= n;
	}
	return err;
}

static int transfer(struct dmirror *d, struct dmirror_buffer *b, size_t pages, bool write)
{
	uintptr_t addr = (uintptr_t)b->ptr;
	/* Not the mirror itself, so that a transfer that fails has not half happened. */
	char *data = malloc(PAGE(pages));
	size_t done = 0;
	int err = 0;

	CHECK(data);
	if (write)
		memcpy(data, b->mirror, PAGE(pages));
	b->faults = 0;
	pthread_mutex_lock(&d->command);
	for (;;) {
		done = copy(d, addr, done, pages, data, write);
		if (done == pages)
			break;
		err = fault(d, addr + PAGE(done), pages - done, write);
		if (err)
			break;
		b->faults++;
	}
	pthread_mutex_unlock(&d->command);
	b->cpages = done;
	if (!err && !write)
		memcpy(b->mirror, data, PAGE(pages));
	free(data);
	return err;
}

int dmirror_read(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	return transfer(d, b, pages, false);
}

int dmirror_write(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	return transfer(d, b, pages, true);
}

/* What the page table says already: -ENOENT when it says nothing of some page. */
static int read_mapped(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	char *data = malloc(PAGE(pages));

	CHECK(data);
	b->cpages = copy(d, (uintptr_t)b->ptr, 0, pages, data, false);
	if (b->cpages == pages)
		memcpy(b->mirror, data, PAGE(pages));
	free(data);
	return b->cpages == pages ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------------------------- snapshot */

/* Any invalidation makes a snapshot worthless, and that is all there is to do. */
struct snapshot {
	struct mmu_range_notifier notifier;
	struct dmirror *d;
};

static bool spoil(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		  uint64_t cur_seq)
{
	struct dmirror *d = (container_of(mrn, struct snapshot, notifier))->d;

	if (!lock_for(&d->lock, range))
		return false;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&d->lock);
	return true;
}

static bool holds_zeros(const char *memory)
{
	for (size_t i = 0; i < mrn_page_size(); i++)
		if (memory[i])
			return false;
	return true;
}

static unsigned char describe(struct dmirror *d, unsigned long pfn)
{
	unsigned char sees;
	uint64_t page;

	if (pfn & HMM_PFN_ERROR)
		return SEES_ERROR;
	if (!(pfn & HMM_PFN_VALID))
		return SEES_NONE;
	sees = pfn & HMM_PFN_WRITE ? SEES_WRITE : SEES_READ;
	if (hmm_pfn_to_map_order(pfn) == DMIRROR_HUGE_ORDER)
		sees |= SEES_HUGE;
	if (!d->hmm)
		return sees;
	if (mrn_hmm_device_page(&d->dev, pfn, &page))
		sees |= SEES_LOCAL;
	else if (holds_zeros(memory_of(d, pfn)))
		sees |= SEES_ZERO;
	return sees;
}

static int snapshot_chunk(struct dmirror *d, uintptr_t addr, size_t n, unsigned char *sees)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = spoil};
	struct snapshot s = {.notifier = {.ops = &ops, .driver_lock = &d->lock}, .d = d};
	unsigned long pfns[DMIRROR_CHUNK];
	struct hmm_range range = {
		.notifier = &s.notifier,
		.start = addr,
		.end = addr + PAGE(n),
		.hmm_pfns = pfns,
		.dev_private_owner = d->hmm ? &d->dev : NULL,
	};
	int err = mmu_range_notifier_insert(&s.notifier, addr, PAGE(n), d->notifier.mm);

	while (!err) {
		range.notifier_seq = mmu_range_read_begin(range.notifier);
		err = hmm_range_fault(&range);
		if (err == -EBUSY) {
			d->collisions++;
			err = 0;
			continue;
		}
		if (err)
			break;
		let_in(d);
		pthread_mutex_lock(&d->lock);
		if (!has_collided(d, range.notifier, range.notifier_seq)) {
			for (size_t i = 0; i < n; i++)
				sees[i] = describe(d, pfns[i]);
			pthread_mutex_unlock(&d->lock);
			break;
		}
		pthread_mutex_unlock(&d->lock);
	}
	CHECK_ERR(mmu_range_notifier_remove(&s.notifier), 0);
	return err;
}

static int snapshot(struct dmirror *d, const void *addr, size_t pages, unsigned char *sees)
{
	uintptr_t at = (uintptr_t)addr;
	int err = 0;

	while (pages && !err) {
		size_t n = pages < DMIRROR_CHUNK ? pages : DMIRROR_CHUNK;

		err = snapshot_chunk(d, at, n, sees);
		at += PAGE(n);
		sees += n;
		pages -= n;
	}
	return err;
}

int dmirror_snapshot(struct dmirror *d, const void *addr, size_t pages, unsigned char *sees)
{
	int err;

	pthread_mutex_lock(&d->command);
	err = snapshot(d, addr, pages, sees);
	pthread_mutex_unlock(&d->command);
	return err;
}

/* --------------------------------------------------------------------------- moving and lending */

/* Pages that cannot be read are not passed over, they are a mistake of whoever asks. */
static int look_for_errors(struct dmirror *d, const struct dmirror_buffer *b, size_t pages)
{
	void (*between)(struct dmirror * d) = d->between;
	unsigned char *sees = malloc(pages);
	int err;

	CHECK(sees);
	d->between = NULL;
	err = snapshot(d, b->ptr, pages, sees);
	d->between = between;
	for (size_t i = 0; i < pages && !err; i++)
		err = sees[i] & SEES_ERROR ? -EINVAL : 0;
	free(sees);
	return err;
}

/* 0, 1 when it has to be done again, or -errno. */
static int move_and_publish(struct dmirror *d, uintptr_t addr, size_t pages, unsigned long *pfns)
{
	uint64_t seq = mmu_range_read_begin(&d->notifier);
	bool collided;
	long there;

	moving_to = d;
	there = mrn_hmm_migrate_to_device(d->hmm, &d->dev, (void *)addr, PAGE(pages), pfns);
	moving_to = NULL;
	let_in(d);
	pthread_mutex_lock(&d->lock);
	collided = has_collided(d, &d->notifier, seq);
	/* There is nothing for pages that did not move: they have to be asked for. */
	if (there < 0 || collided)
		zap(d, addr, addr + PAGE(pages));
	else
		publish(d, addr, pages, pfns, 0);
	pthread_mutex_unlock(&d->lock);
	return there < 0 ? (int)there : collided;
}

int dmirror_migrate_to_device(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	unsigned long *pfns = calloc(pages, sizeof(*pfns));
	int err;

	CHECK(pfns);
	b->cpages = 0;
	pthread_mutex_lock(&d->command);
	err = look_for_errors(d, b, pages);
	if (!err) {
		do
			err = move_and_publish(d, (uintptr_t)b->ptr, pages, pfns);
		while (err == 1);
	}
	if (!err)
		err = read_mapped(d, b, pages);
	pthread_mutex_unlock(&d->command);
	free(pfns);
	return err;
}

int dmirror_migrate_to_system(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	long came;

	pthread_mutex_lock(&d->command);
	came = mrn_hmm_migrate_to_ram(d->hmm, b->ptr, PAGE(pages));
	pthread_mutex_unlock(&d->command);
	b->cpages = came < 0 ? 0 : (size_t)came;
	return came < 0 ? (int)came : 0;
}

int dmirror_exclusive(struct dmirror *d, struct dmirror_buffer *b, size_t pages)
{
	unsigned long *pfns = calloc(pages, sizeof(*pfns));
	bool collided = true;
	int err = 0;

	CHECK(pfns);
	b->cpages = 0;
	pthread_mutex_lock(&d->command);
	while (collided && !err) {
		uint64_t seq = mmu_range_read_begin(&d->notifier);
		long lent = mrn_hmm_make_exclusive(d->hmm, b->ptr, PAGE(pages), &d->dev, pfns);

		err = lent < 0 ? (int)lent : 0;
		if (err)
			break;
		CHECK_EQ(lent, pages);
		let_in(d);
		pthread_mutex_lock(&d->lock);
		collided = has_collided(d, &d->notifier, seq);
		if (!collided)
			publish(d, (uintptr_t)b->ptr, pages, pfns, EXCLUSIVE);
		pthread_mutex_unlock(&d->lock);
	}
	if (!err)
		err = read_mapped(d, b, pages);
	pthread_mutex_unlock(&d->command);
	free(pfns);
	return err;
}

int dmirror_check_exclusive(struct dmirror *d, const struct dmirror_buffer *b, size_t pages)
{
	int err = 0;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < pages && !err; i++)
		err = look_up(d, (uintptr_t)b->ptr + PAGE(i)) & EXCLUSIVE ? -EPERM : 0;
	pthread_mutex_unlock(&d->lock);
	return err;
}
