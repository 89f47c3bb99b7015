/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/registration.h"

#include <errno.h>
#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "check/record/change.h"
#include "check/record/depot.h"
#include "check/record/finding.h"
#include "check/record/map.h"
#include "check/record/pool.h"
#include "check/shared/check.h"
#include "os/container_of.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/thread.h"

#include "os/event_path.h"

/* How a page was changed first: 0, or CHANGED, the cause and the number of a stack. */
#define CHANGED	    (UINT32_C(1) << 31)
#define CAUSE_SHIFT 24
#define STACK_MASK  ((UINT32_C(1) << CAUSE_SHIFT) - 1)
_Static_assert(CHECK_STACKS < STACK_MASK && MRN_NR_CAUSES < 1 << 7, "a change is one word");
/*
 * A change had begun there before the registration, and was not over: it may come after the pin, or have come before. Only
 * the pages can tell.
 */
#define DOUBTED (CHANGED | STACK_MASK)

/* In no entry of the page map. */
#define KNOWN (UINT64_C(1) << 60)

/* What is known of a page. */
struct page {
	uint64_t entry;	  /* of the page map, when it had been pinned, and KNOWN; or 0 */
	uint32_t changed; /* atomic */
};

#define FEW 4

struct check_reg {
	struct check_pooled pooled;
	struct mmu_range_notifier notifier;
	/*
	 * 1 while it is registered, and 1 for each use in progress. The pages' memory is given back by who takes it to
	 * 0, so a use that has taken it from 1 up may read them.
	 */
	uint32_t refs;
	uint32_t stack;
	uintptr_t start, base; /* base: of its first page */
	size_t length, nr_pages;
	uint64_t name;
	struct page *page, few[FEW];
	uint8_t of;
	bool unseen, pinned;
	bool ended;    /* atomic: but its notifier may be there still */
	uint32_t next; /* of those: see end_late */
};

static struct check_pool pool = CHECK_POOL(struct check_reg, pooled);

/* ------------------------------------------------------------------------------------- a change */

static struct check_finding finding_of(const struct check_reg *reg, enum check_grade grade)
{
	return (struct check_finding){
		.grade = (uint8_t)grade,
		.of = reg->of,
		.registered = reg->stack,
		.name = __atomic_load_n(&reg->name, __ATOMIC_RELAXED),
		.start = reg->start,
		.length = reg->length,
	};
}

static void report_change(const struct check_reg *reg, enum mrn_cause cause, uint32_t stack,
			  size_t first, size_t last)
{
	struct check_finding f = finding_of(reg, CHECK_CHANGE);

	f.cause = (uint8_t)cause;
	f.changed = stack;
	f.changed_start = reg->base + first * mrn_page_size();
	f.changed_end = reg->base + (last + 1) * mrn_page_size();
	check_finding_add(&f, NULL);
}

/* Its first change, except a doubt, makes a page stale: what changes afterwards has nothing to do with the registration. */
static bool note(struct page *p, uint32_t change)
{
	uint32_t was = __atomic_load_n(&p->changed, __ATOMIC_RELAXED);

	/* Release pairs with the acquire in look. */
	while (!was || was == DOUBTED)
		if (__atomic_compare_exchange_n(&p->changed, &was, change, true, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

static bool invalidate(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	struct check_reg *reg = container_of(notifier, struct check_reg, notifier);
	const uintptr_t end = reg->base + reg->nr_pages * mrn_page_size();
	size_t first, last;
	bool any = false;
	uint32_t stack;

	mmu_range_notifier_update_seq(notifier, seq);
	if (__atomic_load_n(&reg->ended, __ATOMIC_RELAXED) || MRN_BROKEN(CHECK_CHANGES) ||
	    !check_change_takes_pages(range) || range->start >= end || range->end <= reg->base)
		return true;
	first = range->start > reg->base ? (range->start - reg->base) / mrn_page_size() : 0;
	last = ((range->end < end ? range->end : end) - 1 - reg->base) / mrn_page_size();
	if (MRN_BROKEN(CHECK_WHOLE)) {
		first = 0;
		last = reg->nr_pages - 1;
	}
	stack = check_depot_take();
	for (size_t i = first; i <= last; i++) {
		struct page *p = &reg->page[i];

		if (check_change_spares_files(range) &&
		    (__atomic_load_n(&p->entry, __ATOMIC_RELAXED) & MRN_PAGEMAP_FILE))
			continue;
		any |= note(p, CHANGED | (uint32_t)range->cause << CAUSE_SHIFT | stack);
	}
	if (!any)
		return true;
	CHECK_COUNT(changes);
	if (reg->unseen && __atomic_load_n(&reg->pinned, __ATOMIC_ACQUIRE))
		report_change(reg, range->cause, stack, first, last);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* -------------------------------------------------------------------------- its beginning and end */

static size_t size_of_pages(const struct check_reg *reg)
{
	return reg->nr_pages * sizeof(*reg->page);
}

static void give_back(struct check_reg *reg)
{
	if (reg->page != reg->few)
		mrn_pages_free(reg->page, size_of_pages(reg));
	reg->page = NULL;
	check_pool_put(&pool, &reg->pooled);
}

static void put(struct check_reg *reg)
{
	/* Acquire and release: the others' reads of the pages come before their memory goes. */
	if (!__atomic_sub_fetch(&reg->refs, 1, __ATOMIC_ACQ_REL))
		give_back(reg);
}

static bool make_pages(struct check_reg *reg, uintptr_t addr, size_t length)
{
	const uintptr_t end = mrn_page_up(addr + length);

	reg->start = addr;
	reg->length = length;
	reg->base = mrn_page_down(addr);
	if (end <= addr)
		return false;
	reg->nr_pages = (end - reg->base) / mrn_page_size();
	reg->page = reg->few;
	memset(reg->few, 0, sizeof(reg->few));
	if (reg->nr_pages > FEW)
		reg->page = mrn_pages_alloc(size_of_pages(reg));
	return reg->page;
}

/*
 * Inserting, reading and removing are not for signal handlers: in one that has interrupted any of them, a call of the
 * program's would wait for itself. So none interrupts them, as far as they are ours.
 */
static mrn_sigmask hold_signals(void)
{
	return MRN_BROKEN(CHECK_SIGNALS) ? 0 : mrn_signals_block();
}

static void let_signals(mrn_sigmask mask)
{
	if (!MRN_BROKEN(CHECK_SIGNALS))
		mrn_signals_restore(mask);
}

/* UCX and libfabric pin nothing for some transports; the uses of the others are not seen. */
static bool is_pinned(enum check_interface of)
{
	return of == CHECK_IO_URING || of == CHECK_VERBS || MRN_BROKEN(CHECK_UNPINNED);
}

/*
 * For a change whose start did not find the notifier. A first read finds its token (A3), or the change is over, and what is
 * pinned from here on is what it has left. Where nothing may be pinned, no page says anything.
 */
static void doubt(struct check_reg *reg)
{
	static const struct timespec no_wait;
	uint64_t seq;

	if (!is_pinned(reg->of) || MRN_BROKEN(CHECK_BEGUN) ||
	    !mrn_range_read_begin_until(&reg->notifier, &no_wait, &seq))
		return;
	for (size_t i = 0; i < reg->nr_pages; i++) {
		uint32_t none = 0;

		__atomic_compare_exchange_n(&reg->page[i].changed, &none, DOUBTED, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
}

static int insert(struct check_reg *reg)
{
	const mrn_sigmask mask = hold_signals();
	int r = mmu_range_notifier_insert(&reg->notifier, reg->start, reg->length, mrn_mm_self());

	if (!r)
		doubt(reg);
	let_signals(mask);
	return r;
}

static int remove_notifier(struct check_reg *reg)
{
	const mrn_sigmask mask = hold_signals();
	int r = mmu_range_notifier_remove(&reg->notifier);

	let_signals(mask);
	return r;
}

struct check_reg *check_reg_begin(enum check_interface of, uintptr_t addr, size_t length,
				  uint32_t flags)
{
	struct check_pooled *pooled = check_pool_get(&pool);
	struct check_reg *reg = pooled ? container_of(pooled, struct check_reg, pooled) : NULL;

	if (reg && !make_pages(reg, addr, length)) {
		check_pool_put(&pool, pooled);
		reg = NULL;
	}
	if (!reg) {
		CHECK_COUNT(no_memory);
		return NULL;
	}
	reg->notifier = (struct mmu_range_notifier){.ops = &ops};
	reg->stack = check_depot_take();
	reg->of = (uint8_t)of;
	reg->unseen = flags & CHECK_UNSEEN_USES;
	reg->pinned = reg->ended = false;
	reg->name = 0;
	/* Release pairs with check_use's acquire: it sees all of the above. */
	__atomic_store_n(&reg->refs, 1, __ATOMIC_RELEASE);
	if (!insert(reg))
		return reg;
	CHECK_COUNT(no_memory);
	put(reg);
	return NULL;
}

/* What is pinned, from one page to before another, as far as this process may know. */
static void note_pages(struct check_reg *reg, size_t first, size_t end)
{
	enum { PIECE = 64 };
	uint64_t entry[PIECE];
	int fd = check_map_open();

	for (size_t i = first; fd >= 0 && i < end; i += PIECE) {
		const size_t n = end - i < PIECE ? end - i : PIECE;

		if (mrn_pagemap_read(fd, reg->base + i * mrn_page_size(), n, entry))
			break;
		for (size_t k = 0; k < n; k++)
			__atomic_store_n(&reg->page[i + k].entry, entry[k] | KNOWN,
					 __ATOMIC_RELAXED);
	}
	if (fd >= 0)
		mrn_pagemap_close(fd);
}

void check_reg_done(struct check_reg *reg, uint64_t name)
{
	if (!reg)
		return;
	__atomic_store_n(&reg->name, name, __ATOMIC_RELAXED);
	if (reg->pinned)
		return;
	CHECK_COUNT(registrations);
	note_pages(reg, 0, reg->nr_pages);
	__atomic_store_n(&reg->pinned, true, __ATOMIC_RELEASE);
}

/*
 * Those that could not be removed, since they were ended in a callback, as a consumer of mrn's own may do: the newest's
 * number. They are removed when the next one can be.
 */
static uint32_t late;

static void end_late(struct check_reg *reg)
{
	reg->next = __atomic_load_n(&late, __ATOMIC_RELAXED);
	/* Release pairs with the acquire in end_those: it sees next. All are taken at once, so the head is no other's. */
	while (!__atomic_compare_exchange_n(&late, &reg->next, reg->pooled.number, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static void end_those(uint32_t number)
{
	while (number) {
		struct check_reg *reg =
			container_of(check_pool_at(&pool, number), struct check_reg, pooled);

		number = reg->next;
		if (remove_notifier(reg))
			end_late(reg);
		else
			put(reg);
	}
}

void check_reg_end(struct check_reg *reg)
{
	if (!reg)
		return;
	__atomic_store_n(&reg->ended, !MRN_BROKEN(CHECK_LATE), __ATOMIC_RELAXED);
	if (remove_notifier(reg)) {
		end_late(reg);
		return;
	}
	put(reg);
	if (__atomic_load_n(&late, __ATOMIC_RELAXED))
		end_those(__atomic_exchange_n(&late, 0, __ATOMIC_ACQUIRE));
}

/* ----------------------------------------------------------------------------------------- a use */

/* False: it is nobody's. */
static bool get(struct check_reg *reg)
{
	uint32_t refs = __atomic_load_n(&reg->refs, __ATOMIC_RELAXED);

	while (refs && !__atomic_compare_exchange_n(&reg->refs, &refs, refs + 1, true,
						    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		;
	return refs;
}

/*
 * True if another page is there now than was pinned, as far as can be told. Without privileges the map has no numbers,
 * and then a page that was taken away counts as another; one that is in doubt does, if none was there after the pin.
 */
static bool is_another(const struct check_reg *reg, size_t i, uint32_t changed, int fd,
		       enum check_now *now)
{
	const uint64_t was = __atomic_load_n(&reg->page[i].entry, __ATOMIC_RELAXED);
	uint64_t is;

	*now = CHECK_NOW_UNKNOWN;
	if (MRN_BROKEN(CHECK_NUMBERS))
		return true;
	if (fd < 0 || mrn_pagemap_read(fd, reg->base + i * mrn_page_size(), 1, &is))
		return changed != DOUBTED;
	if (!(is & MRN_PAGEMAP_PRESENT)) {
		*now = CHECK_NOW_NOTHING;
		return true;
	}
	if (!(was & MRN_PAGEMAP_PRESENT))
		return changed != DOUBTED || (was & KNOWN);
	if (!(was & MRN_PAGEMAP_FRAME) || !(is & MRN_PAGEMAP_FRAME))
		return changed != DOUBTED;
	*now = CHECK_NOW_OTHER;
	return (was & MRN_PAGEMAP_FRAME) != (is & MRN_PAGEMAP_FRAME);
}

static void report_use(const struct check_reg *reg, uint32_t changed, size_t i, size_t last,
		       enum check_now now, uintptr_t addr, size_t length, const char *op)
{
	struct check_finding f = finding_of(reg, CHECK_USE);
	size_t end = i + 1;

	while (end <= last && __atomic_load_n(&reg->page[end].changed, __ATOMIC_RELAXED) == changed)
		end++;
	f.cause = (uint8_t)((changed & ~CHANGED) >> CAUSE_SHIFT);
	f.changed = changed == DOUBTED ? 0 : changed & STACK_MASK;
	f.now = (uint8_t)now;
	f.used = check_depot_take();
	f.changed_start = reg->base + i * mrn_page_size();
	f.changed_end = reg->base + end * mrn_page_size();
	f.used_start = addr;
	f.used_length = length;
	check_finding_add(&f, op);
}

/* One finding for a use: that of the first of its pages that is stale. True if there is one. */
static bool look(const struct check_reg *reg, uintptr_t addr, size_t length, const char *op)
{
	const size_t first = (addr - reg->base) / mrn_page_size();
	const size_t last = (addr + length - 1 - reg->base) / mrn_page_size();
	int fd = -EBADF;
	bool settled = false, stale = false;

	for (size_t i = first; i <= last && !stale; i++) {
		/* Acquire pairs with the release in invalidate. */
		uint32_t changed = __atomic_load_n(&reg->page[i].changed, __ATOMIC_ACQUIRE);
		enum check_now now;

		if (!changed)
			continue;
		if (fd == -EBADF)
			fd = check_map_open();
		settled = !is_another(reg, i, changed, fd, &now);
		if (settled)
			continue;
		report_use(reg, changed, i, last, now, addr, length, op);
		stale = true;
	}
	if (settled)
		CHECK_COUNT(settled);
	if (fd >= 0)
		mrn_pagemap_close(fd);
	return stale;
}

bool check_use(struct check_reg *reg, uintptr_t addr, size_t length, const char *op)
{
	uintptr_t end = addr + length;
	bool stale = false;

	if (!reg || !get(reg))
		return false;
	CHECK_COUNT(uses);
	/* What lies outside is refused by the kernel or the device. */
	if (length && addr >= reg->start && end > addr && end <= reg->start + reg->length)
		stale = look(reg, addr, length, op);
	put(reg);
	return stale;
}

void check_reg_again(struct check_reg *reg, uintptr_t addr, size_t length)
{
	uintptr_t end = addr + length;

	if (!reg || !get(reg))
		return;
	if (addr < reg->start)
		addr = reg->start;
	if (end > reg->start + reg->length)
		end = reg->start + reg->length;
	if (addr < end && !MRN_BROKEN(CHECK_AGAIN)) {
		const size_t first = (addr - reg->base) / mrn_page_size();
		const size_t last = (end - 1 - reg->base) / mrn_page_size();

		/* What changes from here on counts: the marks go first. */
		for (size_t i = first; i <= last; i++)
			__atomic_store_n(&reg->page[i].changed, 0, __ATOMIC_RELAXED);
		note_pages(reg, first, last + 1);
	}
	put(reg);
}

void check_reg_restart(void)
{
	late = 0;
	check_pool_restart(&pool);
}
