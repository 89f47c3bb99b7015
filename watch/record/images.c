/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/images.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "os/pages.h"
#include "os/peek.h"
#include "watch/record/check.h"

#include "os/event_path.h"

/*
 * What a place in the list holds. Only a look writes to a place that is EMPTY or GONE, and to one that is NEW. In the
 * word that says so, the number above counts how often the place has been filled: a reader that finds the same word
 * before and after has read one module.
 */
enum { EMPTY, NEW, HERE, GONE, STATES = 4 };

struct image {
	uint32_t word; /* atomic: STATES * how often it was filled + state */
	uint32_t seen; /* the looks': by which one last */
	uint32_t born;
	unsigned int dev_major, dev_minor;
	uint64_t inode;
	uintptr_t start, end;
	struct watch_cfi cfi;
};

#define IMAGES 512
static struct image images[IMAGES];
static unsigned int nr_images; /* places that were ever filled */
static uint32_t looks, changes;

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* From one state to another, unless somebody else has. */
static bool move(struct image *m, uint32_t from, uint32_t to)
{
	uint32_t word = load(&m->word), wanted = word - from + to;

	if (word % STATES != from ||
	    !__atomic_compare_exchange_n(&m->word, &word, wanted, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_RELAXED))
		return false;
	__atomic_fetch_add(&changes, 1, __ATOMIC_SEQ_CST);
	return true;
}

static void remove_image(struct image *m)
{
	if (!move(m, HERE, GONE))
		move(m, NEW, GONE);
}

/* ------------------------------------------------------------------------------------- its table */

/* If the kernel may not be asked, as in some containers, the address is trusted: the mapping was there just now. */
static bool read_image(void *into, uintptr_t at, size_t size)
{
	int r = mrn_peek(into, at, size);

	if (r && r != -EFAULT) {
		memcpy(into, (const void *)at, size);
		r = 0;
	}
	return !r;
}

/* The readable memory around an address: mappings that follow without a gap. False if it is in none. */
static bool set_bounds(const struct watch_image_mappings *g, uintptr_t address,
		       const uint8_t **at_low, const uint8_t **at_high)
{
	uintptr_t low = 0, high = 0;
	bool found = false;

	for (unsigned int i = 0; i < g->n; i++) {
		if (!g->part[i].readable)
			continue;
		if (g->part[i].start != high)
			low = g->part[i].start;
		high = g->part[i].end;
		if (address < low || address >= high)
			continue;
		*at_low = (const uint8_t *)low;
		*at_high = (const uint8_t *)high;
		found = true;
	}
	return found;
}

static struct watch_cfi table_at(const struct watch_image_mappings *g, uintptr_t table)
{
	static const struct watch_cfi none;
	struct watch_cfi cfi = {.table = (const uint8_t *)table};
	uint8_t head[WATCH_CFI_HEAD];

	if (!set_bounds(g, table, &cfi.low, &cfi.high) || !read_image(head, table, sizeof(head)) ||
	    !set_bounds(g, watch_cfi_entries(table, head), &cfi.entries_low, &cfi.entries_high))
		return none;
	return cfi;
}

/* Finds it from the file's header, which is mapped first. */
static struct watch_cfi table_in(const struct watch_image_mappings *g)
{
	enum { HEADERS = 64 };
	const uintptr_t base = g->part[0].start, size = g->part[0].end - base;
	static const struct watch_cfi none;
	uintptr_t table = 0, first = UINTPTR_MAX;
	Elf64_Ehdr e;

	if (g->cut_off || !g->part[0].readable || size < sizeof(e) ||
	    !read_image(&e, base, sizeof(e)))
		return none;
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) || e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phnum > HEADERS || e.e_phoff > size ||
	    size - e.e_phoff < e.e_phnum * sizeof(Elf64_Phdr))
		return none;
	for (unsigned int i = 0; i < e.e_phnum; i++) {
		Elf64_Phdr ph;

		if (!read_image(&ph, base + e.e_phoff + i * sizeof(ph), sizeof(ph)))
			return none;
		if (ph.p_type == PT_LOAD && ph.p_offset < mrn_page_size() && first == UINTPTR_MAX)
			first = mrn_page_down(ph.p_vaddr);
		else if (ph.p_type == PT_GNU_EH_FRAME)
			table = ph.p_vaddr;
	}
	if (table && first != UINTPTR_MAX)
		return table_at(g, base + (table - first));
	return none;
}

/* ---------------------------------------------------------------------------------------- looking */

static bool is_same(const struct image *m, const struct watch_image_mappings *g)
{
	return m->start == g->part[0].start && m->end == g->part[g->n - 1].end &&
	       m->inode == g->inode && m->dev_major == g->dev_major && m->dev_minor == g->dev_minor;
}

static bool is_alive(const struct image *m)
{
	const uint32_t state = load(&m->word) % STATES;

	return state == NEW || state == HERE;
}

/* It was in the list before this look has begun. */
static void confirm(struct image *m, const struct watch_image_mappings *g)
{
	const struct watch_cfi cfi = table_in(g);

	__atomic_store_n(&m->cfi.table, cfi.table, __ATOMIC_RELAXED);
	__atomic_store_n(&m->cfi.low, cfi.low, __ATOMIC_RELAXED);
	__atomic_store_n(&m->cfi.high, cfi.high, __ATOMIC_RELAXED);
	__atomic_store_n(&m->cfi.entries_low, cfi.entries_low, __ATOMIC_RELAXED);
	__atomic_store_n(&m->cfi.entries_high, cfi.entries_high, __ATOMIC_RELAXED);
	move(m, NEW, HERE);
}

static void add(struct watch_images_look *look, const struct watch_image_mappings *g)
{
	struct image *m;
	unsigned int i = 0;
	uint32_t word;

	while (i < nr_images && is_alive(&images[i]))
		i++;
	if (i == IMAGES)
		return;
	m = &images[i];
	word = load(&m->word) / STATES * STATES + STATES;
	/* Readers of what was here before notice. */
	__atomic_store_n(&m->word, word + EMPTY, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&m->start, g->part[0].start, __ATOMIC_RELAXED);
	__atomic_store_n(&m->end, g->part[g->n - 1].end, __ATOMIC_RELAXED);
	m->inode = g->inode;
	m->dev_major = g->dev_major;
	m->dev_minor = g->dev_minor;
	m->seen = m->born = look->number;
	__atomic_store_n(&m->word, word + NEW, __ATOMIC_SEQ_CST);
	if (i == nr_images)
		__atomic_store_n(&nr_images, i + 1, __ATOMIC_SEQ_CST);
	if (MRN_BROKEN(WATCH_ONCE))
		confirm(m, g);
	else
		look->found_new = true;
}

static void note(struct watch_images_look *look)
{
	const struct watch_image_mappings *g = &look->group;

	if (!g->n || !g->executable)
		return;
	for (unsigned int i = 0; i < nr_images; i++) {
		struct image *m = &images[i];

		if (!is_alive(m) || m->start >= g->part[g->n - 1].end || m->end <= g->part[0].start)
			continue;
		if (is_same(m, g)) {
			m->seen = look->number;
			if (m->born != look->number && load(&m->word) % STATES == NEW)
				confirm(m, g);
			return;
		}
		remove_image(m);
	}
	add(look, g);
}

void watch_images_begin(struct watch_images_look *look)
{
	look->number = ++looks;
	look->found_new = false;
	look->group.n = 0;
}

static void start_group(struct watch_image_mappings *g, const struct mrn_mapping *m)
{
	g->n = 0;
	g->executable = g->cut_off = false;
	g->inode = m->inode;
	g->dev_major = m->dev_major;
	g->dev_minor = m->dev_minor;
}

void watch_images_see(struct watch_images_look *look, const struct mrn_mapping *m)
{
	struct watch_image_mappings *g = &look->group;
	const bool of_file = mrn_mapping_is_of_file(m);
	const bool goes_on = g->n && of_file && m->inode == g->inode &&
			     m->dev_major == g->dev_major && m->dev_minor == g->dev_minor &&
			     (m->offset || m->writable);

	if (!goes_on) {
		note(look);
		g->n = 0;
		if (!of_file || m->offset)
			return;
		start_group(g, m);
	}
	if (g->n == WATCH_IMAGE_MAPPINGS) {
		g->cut_off = true;
		g->part[g->n - 1].end = m->end;
	} else {
		g->part[g->n].start = m->start;
		g->part[g->n].end = m->end;
		g->part[g->n++].readable = m->readable;
	}
	g->executable |= m->executable;
}

bool watch_images_end(struct watch_images_look *look, bool whole)
{
	note(look);
	for (unsigned int i = 0; whole && i < nr_images; i++)
		if (is_alive(&images[i]) && images[i].seen != look->number)
			remove_image(&images[i]);
	return look->found_new;
}

/* ---------------------------------------------------------------------------------- on the event path */

void watch_images_unmapped(uintptr_t start, uintptr_t end)
{
	unsigned int n = __atomic_load_n(&nr_images, __ATOMIC_SEQ_CST);

	for (unsigned int i = 0; i < n && !MRN_BROKEN(WATCH_IMAGES); i++)
		if (is_alive(&images[i]) &&
		    __atomic_load_n(&images[i].start, __ATOMIC_RELAXED) < end &&
		    __atomic_load_n(&images[i].end, __ATOMIC_RELAXED) > start)
			remove_image(&images[i]);
}

bool watch_images_find(uintptr_t pc, struct watch_cfi *cfi)
{
	unsigned int n = __atomic_load_n(&nr_images, __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < n; i++) {
		const struct image *m = &images[i];
		uint32_t word = __atomic_load_n(&m->word, __ATOMIC_ACQUIRE);
		uintptr_t start = __atomic_load_n(&m->start, __ATOMIC_RELAXED);

		if (word % STATES != HERE ||
		    pc - start >= __atomic_load_n(&m->end, __ATOMIC_RELAXED) - start)
			continue;
		cfi->table = __atomic_load_n(&m->cfi.table, __ATOMIC_RELAXED);
		cfi->low = __atomic_load_n(&m->cfi.low, __ATOMIC_RELAXED);
		cfi->high = __atomic_load_n(&m->cfi.high, __ATOMIC_RELAXED);
		cfi->entries_low = __atomic_load_n(&m->cfi.entries_low, __ATOMIC_RELAXED);
		cfi->entries_high = __atomic_load_n(&m->cfi.entries_high, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&m->word, __ATOMIC_RELAXED) == word)
			return true;
	}
	return false;
}

uint32_t watch_images_changes(void)
{
	return __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
}
