/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/registration.h"

#include <errno.h>
#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "check/record/calls.h"
#include "check/record/change.h"
#include "check/record/depot.h"
#include "check/record/files.h"
#include "check/record/finding.h"
#include "check/record/kept.h"
#include "check/record/map.h"
#include "check/record/mark.h"
#include "check/record/page.h"
#include "check/record/pool.h"
#include "check/shared/check.h"
#include "os/container_of.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/thread.h"
#include "watch/record/vdso_clock.h"

#include "os/event_path.h"

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
	uint32_t life;	       /* atomic: of the things that have had this place */
	uintptr_t start, base; /* base: of its first page */
	size_t length, nr_pages;
	uint64_t name;
	struct check_page *page, few[FEW];
	uint8_t of;
	bool unseen, pinned;
	bool ended;    /* atomic: but its notifier may be there still */
	uint32_t next; /* of those: see end_late */
	uint32_t told; /* atomic: the finding that its end belongs to; 0: none */
};

static struct check_pool pool = CHECK_POOL(struct check_reg, pooled);

/* -------------------------------------------------------------------------------------- a hold */

/* False: it is nobody's. */
static bool get(struct check_reg *reg)
{
	uint32_t refs = __atomic_load_n(&reg->refs, __ATOMIC_RELAXED);

	while (refs && !__atomic_compare_exchange_n(&reg->refs, &refs, refs + 1, true,
						    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		;
	return refs;
}

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

static uintptr_t page_at(const struct check_reg *reg, size_t i)
{
	return reg->base + i * mrn_page_size();
}

/* True if the change leaves the page alone, which is a file's. */
static bool is_spared(const struct mmu_notifier_range *range, const struct check_page *p)
{
	return check_change_spares_files(range) &&
	       (__atomic_load_n(&p->entry, __ATOMIC_RELAXED) & MRN_PAGEMAP_FILE);
}

/* Before a change that spares files: notes which of those are, whose pages were not there when they were registered. */
static void note_files(struct check_reg *reg, size_t first, uintptr_t end)
{
	struct check_files files;
	bool begun = false;

	for (size_t i = first; page_at(reg, i) < end; i++) {
		uint64_t *entry = &reg->page[i].entry;

		if (__atomic_load_n(entry, __ATOMIC_RELAXED) &
		    (MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_SWAPPED | MRN_PAGEMAP_FILE))
			continue;
		if (!begun)
			check_files_begin(&files, page_at(reg, i), end);
		begun = true;
		if (check_files_have(&files, page_at(reg, i)))
			__atomic_fetch_or(entry, MRN_PAGEMAP_FILE, __ATOMIC_RELAXED);
	}
	if (begun)
		check_files_end(&files);
}

/* True if it says nothing of the page, after a call that has failed, that it is not in the page table. */
static bool may_be_away(const struct mmu_notifier_range *range, uint64_t was)
{
	return range->event == MMU_NOTIFY_CLEAR &&
	       ((was & MRN_PAGEMAP_FILE) ||
		(was & (CHECK_KNOWN | MRN_PAGEMAP_PRESENT)) == CHECK_KNOWN);
}

/* Where nothing may be pinned, the page may have another number although nobody has taken it. */
static bool keeps_number(enum check_interface of)
{
	return of != CHECK_FABRIC && of != CHECK_UCX;
}

/*
 * True if the page is where it was, as far as can be told, after a call that has failed or was left. If only its number can
 * tell, that is a doubt.
 */
static bool is_kept(const struct check_reg *reg, size_t i, const struct mmu_notifier_range *range,
		    enum check_ending ending, struct check_kept *kept, bool *doubt)
{
	uint64_t was = __atomic_load_n(&reg->page[i].entry, __ATOMIC_RELAXED);

	if (!keeps_number(reg->of))
		was &= ~MRN_PAGEMAP_FRAME;
	*doubt = ending == CHECK_END_LEFT && !check_change_unmaps(range);
	if (check_kept_is(kept, page_at(reg, i), was))
		return true;
	if (!may_be_away(range, was) || MRN_BROKEN(CHECK_AWAY))
		return false;
	*doubt = was & MRN_PAGEMAP_PRESENT;
	return true;
}

/* Whether it has made a page stale. */
static enum check_verdict close_pages(struct check_reg *reg, const struct check_mark *m,
				      const struct mmu_notifier_range *range,
				      enum check_ending ending)
{
	const bool late = range->flags & MRN_RANGE_AFTER, asks = ending != CHECK_END_MADE;
	bool any = false, doubts = false;
	struct check_kept kept;

	if (asks)
		check_kept_begin(&kept, range, m->start, m->end);
	for (size_t i = (m->start - reg->base) / mrn_page_size(); page_at(reg, i) < m->end; i++) {
		struct check_page *p = &reg->page[i];
		const bool spared = is_spared(range, p);
		bool stays = spared, doubt = false;

		/* If that was known at the start, it has not been opened. */
		if (spared && m->pinned)
			continue;
		if (asks && !spared)
			stays = is_kept(reg, i, range, ending, &kept, &doubt);
		any |= check_page_close(p, m->how, late, stays);
		doubt &= stays;
		doubts |= doubt;
		if (doubt)
			check_page_doubt(p, m->how);
	}
	if (asks)
		check_kept_end(&kept);
	if (any)
		return CHECK_FOUND;
	return doubts && ending == CHECK_END_LEFT ? CHECK_UNSURE : CHECK_NOT_FOUND;
}

/*
 * What the change is a finding of may end in another thread just now. Who tells stores told and then looks at ended, who ends
 * it stores ended and then looks at told, with a full barrier between the two: so one of them sees both, and takes it.
 */
static void tell_of_end(struct check_reg *reg, bool here)
{
	const uint32_t finding = __atomic_exchange_n(&reg->told, 0, __ATOMIC_SEQ_CST);

	if (!MRN_BROKEN(CHECK_ENDS))
		check_finding_ended(finding, here);
}

static void tell(struct check_reg *reg, uint32_t finding)
{
	MRN_HOOK(tells);
	__atomic_store_n(&reg->told, finding, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&reg->ended, __ATOMIC_SEQ_CST))
		tell_of_end(reg, false);
}

/* Of one that has ended meanwhile nobody needs to know. */
static void settle(const struct check_mark *m, const struct mmu_notifier_range *range,
		   enum check_ending ending)
{
	struct check_reg *reg =
		container_of(check_pool_at(&pool, m->number), struct check_reg, pooled);
	const bool held = get(reg);
	enum check_verdict verdict = CHECK_NOT_FOUND;
	uint32_t finding;

	if (held && (reg->life == m->state || MRN_BROKEN(CHECK_LIVES)) &&
	    !__atomic_load_n(&reg->ended, __ATOMIC_RELAXED))
		verdict = close_pages(reg, m, range, ending);
	if (verdict == CHECK_FOUND)
		CHECK_COUNT(changes);
	finding = check_finding_close(m->finding, verdict);
	if (finding)
		tell(reg, finding);
	if (held)
		put(reg);
}

/* It counts at the change's end; or now, if there is none. */
static uint32_t begin_report(const struct check_reg *reg, const struct check_mark *m,
			     enum mrn_cause cause)
{
	struct check_finding f = finding_of(reg, CHECK_CHANGE);

	f.cause = (uint8_t)cause;
	f.changed = m->how & CHECK_STACK;
	f.changed_at = watch_now_ns();
	f.changed_start = m->start;
	f.changed_end = m->end;
	return check_finding_open(&f, NULL);
}

static bool invalidate(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	struct check_reg *reg = container_of(notifier, struct check_reg, notifier);
	const uintptr_t end = page_at(reg, reg->nr_pages);
	struct check_mark mark = {.settle = settle,
				  .number = reg->pooled.number,
				  .state = reg->life,
				  .start = range->start > reg->base ? range->start : reg->base,
				  .end = range->end < end ? range->end : end};
	bool any = false;

	mmu_range_notifier_update_seq(notifier, seq);
	if (__atomic_load_n(&reg->ended, __ATOMIC_RELAXED) || MRN_BROKEN(CHECK_CHANGES) ||
	    !check_change_takes_pages(range) || mark.start >= mark.end)
		return true;
	if (MRN_BROKEN(CHECK_WHOLE)) {
		mark.start = reg->base;
		mark.end = end;
	}
	mark.how = check_how(range->cause, check_depot_take());
	mark.pinned = __atomic_load_n(&reg->pinned, __ATOMIC_ACQUIRE);
	if (mark.pinned && check_change_spares_files(range) && !MRN_BROKEN(CHECK_CAME))
		note_files(reg, (mark.start - reg->base) / mrn_page_size(), mark.end);
	for (size_t i = (mark.start - reg->base) / mrn_page_size(); page_at(reg, i) < mark.end; i++)
		if (!mark.pinned || !is_spared(range, &reg->page[i]))
			any |= check_page_open(&reg->page[i], mark.how);
	if (!any)
		return true;
	if (reg->unseen && mark.pinned)
		mark.finding = begin_report(reg, &mark, range->cause);
	check_mark_add(&mark, range);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* -------------------------------------------------------------------------- its beginning and end */

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
	for (size_t i = 0; i < reg->nr_pages; i++)
		check_page_doubt(&reg->page[i], CHECK_CHANGED);
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
	struct check_pooled *pooled;
	struct check_reg *reg;

	if (check_is_in_a_child() && !MRN_BROKEN(CHECK_COPIES))
		return NULL;
	pooled = check_pool_get(&pool);
	reg = pooled ? container_of(pooled, struct check_reg, pooled) : NULL;
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
	reg->life++;
	reg->of = (uint8_t)of;
	reg->unseen = flags & CHECK_UNSEEN_USES;
	reg->pinned = reg->ended = false;
	reg->told = 0;
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
	struct check_map map;
	uint64_t entry;

	check_map_begin(&map, page_at(reg, first), page_at(reg, end));
	for (size_t i = first; i < end && check_map_entry(&map, page_at(reg, i), &entry); i++)
		__atomic_store_n(&reg->page[i].entry, entry | CHECK_KNOWN, __ATOMIC_RELAXED);
	check_map_end(&map);
}

/* False: there is nothing to do. */
static bool is_here(const struct check_reg *reg)
{
	return reg && (!check_is_in_a_copy() || MRN_BROKEN(CHECK_COPIES));
}

void check_reg_done(struct check_reg *reg, uint64_t name)
{
	if (!is_here(reg))
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
	if (!is_here(reg))
		return;
	__atomic_store_n(&reg->ended, !MRN_BROKEN(CHECK_LATE), __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&reg->told, __ATOMIC_SEQ_CST))
		tell_of_end(reg, true);
	if (remove_notifier(reg)) {
		end_late(reg);
		return;
	}
	put(reg);
	if (__atomic_load_n(&late, __ATOMIC_RELAXED))
		end_those(__atomic_exchange_n(&late, 0, __ATOMIC_ACQUIRE));
}

/* ----------------------------------------------------------------------------------------- a use */

/* True if nobody has touched what may be the same page: shared memory that is mapped again. */
static bool may_come_back(uint64_t was, uintptr_t addr)
{
	return (was & MRN_PAGEMAP_FILE) && check_files_are_mapped(addr) && !MRN_BROKEN(CHECK_BACK);
}

/*
 * True if another page is there now than was pinned, as far as can be told. Without privileges the map has no numbers, and
 * then a page that was taken away counts as another. One that is in doubt does, if none was there after the pin.
 *
 * While changes are open, nobody knows whether any has taken it, or will: then what is there counts as what was, so a use beside
 * a call that fails is none of changed memory. The price is one that is missed, if between the call and its end another
 * thread has mapped memory there unseen, and uses it.
 */
static bool is_another(const struct check_reg *reg, size_t i, uint32_t changed, int fd,
		       enum check_now *now)
{
	const uint64_t was = __atomic_load_n(&reg->page[i].entry, __ATOMIC_RELAXED);
	const bool stale = (changed & CHECK_STALE) ||
			   ((changed & CHECK_OPEN) && MRN_BROKEN(CHECK_OPEN_USE));
	uint64_t is;

	*now = CHECK_NOW_UNKNOWN;
	if (MRN_BROKEN(CHECK_NUMBERS))
		return true;
	if (fd < 0 || mrn_pagemap_read(fd, page_at(reg, i), 1, &is))
		return stale || (changed & CHECK_OPEN);
	if (!stale && (changed & CHECK_OPEN) && (is & MRN_PAGEMAP_SWAPPED) && check_kept_there(is))
		return false;
	if (!(is & MRN_PAGEMAP_PRESENT)) {
		/* A file's page may be away, and be the same when it is back. */
		if (!stale && (!(was & MRN_PAGEMAP_PRESENT) || (was & MRN_PAGEMAP_FILE)))
			return false;
		if (!may_come_back(was, page_at(reg, i))) {
			*now = CHECK_NOW_NOTHING;
			return true;
		}
		if (!(was & MRN_PAGEMAP_FRAME) || mrn_pagemap_touch(page_at(reg, i)) ||
		    mrn_pagemap_read(fd, page_at(reg, i), 1, &is) || !(is & MRN_PAGEMAP_PRESENT))
			return true;
	}
	if (!(was & MRN_PAGEMAP_PRESENT))
		return stale || ((changed & CHECK_DOUBT) && (was & CHECK_KNOWN));
	if (!(was & MRN_PAGEMAP_FRAME) || !(is & MRN_PAGEMAP_FRAME))
		return stale;
	*now = CHECK_NOW_OTHER;
	return (was & MRN_PAGEMAP_FRAME) != (is & MRN_PAGEMAP_FRAME);
}

static void report_use(const struct check_reg *reg, uint32_t changed, size_t i, size_t last,
		       enum check_now now, uintptr_t addr, size_t length, const char *op)
{
	struct check_finding f = finding_of(reg, CHECK_USE);
	size_t end = i + 1;

	while (end <= last &&
	       check_how_of(__atomic_load_n(&reg->page[end].changed, __ATOMIC_RELAXED)) ==
		       check_how_of(changed))
		end++;
	f.cause = (uint8_t)((changed & ~CHECK_CHANGED) >> CHECK_CAUSE_SHIFT);
	f.changed = changed & CHECK_STACK;
	f.now = (uint8_t)now;
	f.used = check_depot_take();
	f.changed_start = page_at(reg, i);
	f.changed_end = page_at(reg, end);
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
		/* Acquire pairs with the releases in page.h. */
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

	if (!is_here(reg) || !get(reg))
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

	if (!is_here(reg) || !get(reg))
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
			check_page_again(&reg->page[i]);
		note_pages(reg, first, last + 1);
	}
	put(reg);
}

void check_reg_restart(void)
{
	late = 0;
	check_pool_restart(&pool);
}
