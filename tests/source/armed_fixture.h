/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of the armed map (source/marks.h): compares it with what the kernel says is armed.
 *
 * The invariant: what is sure is mapped, armed and plain, and what is armed is maybe; up to a change that a published token
 * or an unread event announces. So settle first.
 */
#ifndef TESTS_SOURCE_ARMED_FIXTURE_H
#define TESTS_SOURCE_ARMED_FIXTURE_H

#include <fcntl.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/syscall.h"
#include "source/state.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#define PAGE 4096ul
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static struct mrn_source *source;

static inline void open_source_of(unsigned int kinds)
{
	static char why[512];
	const struct mrn_source_opts opts = {.size = sizeof(opts),
					     .why = why,
					     .why_size = sizeof(why)};

	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP("pages of another size");
	if (mrn_source_attach(mrn_mm_self(), kinds, &opts, &source))
		SKIP("%s", why);
}

/* With uffd among the kinds. */
static inline void open_source(unsigned int kinds)
{
	open_source_of(kinds);
	/* Linux 6.11: without it nothing is remembered. */
	if (source->uffd.number.maps < 0 && !MRN_BROKEN(PROCMAP_QUERY))
		SKIP("no PROCMAP_QUERY here");
	/* What the self-test has armed. */
	mrn_source_give_back(source);
}

static inline void close_source(void)
{
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ---- what is mapped */

struct shown_page {
	bool mapped, armed;
	bool plain;	    /* private memory without a file */
	uintptr_t from, to; /* its mapping */
};

/* Reads a line of f; false at the end. By raw calls: no lock, no memory, nothing that changes the mappings. */
struct line_reader {
	int fd;
	size_t at, n;
	char buffer[65536], line[512];
};

static inline bool read_line(struct line_reader *r)
{
	size_t length = 0;

	for (;;) {
		if (r->at == r->n) {
			long n = mrn_sys3(SYS_read, r->fd, (long)r->buffer, sizeof(r->buffer));

			CHECK(n >= 0);
			if (!n)
				return false;
			r->at = 0;
			r->n = (size_t)n;
		}
		if (r->buffer[r->at] == '\n')
			break;
		if (length < sizeof(r->line) - 1)
			r->line[length++] = r->buffer[r->at];
		r->at++;
	}
	r->at++;
	r->line[length] = '\0';
	return true;
}

static inline bool begins_mapping(const char *line, struct shown_page *m)
{
	unsigned long from, to, inode;
	unsigned int major, minor;
	char access[5];

	if (sscanf(line, "%lx-%lx %4s %*x %x:%x %lu", &from, &to, access, &major, &minor, &inode) !=
	    6)
		return false;
	*m = (struct shown_page){.mapped = true,
				 .plain = access[3] == 'p' && !inode && !major && !minor,
				 .from = from,
				 .to = to};
	return true;
}

/* What /proc/self/smaps shows of n pages. */
static inline void look_at_pages(const char *start, size_t n, struct shown_page *page)
{
	static struct line_reader r;
	const uintptr_t first = (uintptr_t)start, end = first + n * PAGE;
	struct shown_page m = {0};

	memset(page, 0, n * sizeof(*page));
	r.at = r.n = 0;
	r.fd = (int)mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/smaps", O_RDONLY | O_CLOEXEC,
			     0);
	CHECK(r.fd >= 0);
	while (read_line(&r)) {
		/* Only the lines of mappings begin in small letters or digits. */
		if ((r.line[0] < 'A' || r.line[0] > 'Z') && begins_mapping(r.line, &m)) {
			if (m.from >= end)
				break;
		} else if (m.to > first && !strncmp(r.line, "VmFlags:", 8)) {
			m.armed = strstr(r.line, " uw") != NULL;
			for (uintptr_t a = m.from > first ? m.from : first; a < m.to && a < end;
			     a += PAGE)
				page[(a - first) / PAGE] = m;
		}
	}
	mrn_sys1(SYS_close, r.fd);
}

static inline bool is_armed(const char *p)
{
	struct shown_page page;

	look_at_pages(p, 1, &page);
	return page.armed;
}

/* ---- the map */

static inline bool is_marked(const char *p, enum mrn_mark bit)
{
	return mrn_marks_has(&source->uffd.armed, (uintptr_t)p, (uintptr_t)p + PAGE, bit);
}

static inline void check_page(const char *p, const struct shown_page *page, bool has_grown)
{
	bool sure = is_marked(p, MRN_MARK_SURE), maybe = is_marked(p, MRN_MARK_MAYBE);

	CHECK_MSG(!sure || page->armed, "%p is sure, and %s", (const void *)p,
		  page->mapped ? "not armed" : "not mapped");
	CHECK_MSG(!sure || page->plain, "%p is sure, and can go away without an event",
		  (const void *)p);
	CHECK_MSG(!sure || is_marked(p, MRN_MARK_LISTED), "%p is sure, and never given back",
		  (const void *)p);
	CHECK_MSG(!page->armed || maybe || has_grown, "%p is armed, and brackets leave it so",
		  (const void *)p);
	CHECK_MSG(!sure || maybe, "%p is sure, and brackets leave it so", (const void *)p);
}

/* Waits until what has happened so far has been handled. */
static inline void settle(void)
{
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
}

/* At most 64 pages. */
static inline void check_map(const char *start, size_t n)
{
	static struct shown_page page[64];

	CHECK(n <= sizeof(page) / sizeof(page[0]));
	settle();
	look_at_pages(start, n, page);
	for (size_t i = 0; i < n; i++)
		check_page(start + i * PAGE, &page[i], false);
}

/* ---- raw changes */

static inline char *map_raw(const char *at, size_t n, int flags)
{
	char *p = (char *)mrn_sys6(SYS_mmap, (long)at, (long)(n * PAGE), RW, flags, -1, 0);

	CHECK_MSG(!mrn_sys_failed((long)p), "%ld", (long)p);
	if (at)
		CHECK(p == at);
	return p;
}

static inline void unmap_raw(const char *p, size_t n)
{
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, (long)(n * PAGE)), 0);
}

/* Pages with free addresses on both sides. */
static inline char *map_apart(size_t n)
{
	char *p = map_raw(NULL, n + 2, ANON);

	unmap_raw(p, 1);
	unmap_raw(p + (n + 1) * PAGE, 1);
	return p + PAGE;
}

/* ---- a consumer */

#define NEED MRN_COVER_UFFD

struct consumer {
	struct mmu_range_notifier mrn;
	unsigned int calls;
};

static inline bool count_call(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct consumer *c = (struct consumer *)mrn;

	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	__atomic_add_fetch(&c->calls, 1, __ATOMIC_RELEASE);
	return true;
}

static const struct mmu_range_notifier_ops count_ops = {.invalidate = count_call};

static inline void consumer_insert(struct consumer *c, const char *p, size_t n)
{
	*c = (struct consumer){.mrn.ops = &count_ops};
	CHECK_ERR(mrn_range_notifier_insert(&c->mrn, (uintptr_t)p, n * PAGE, source, NEED), 0);
}

/* Returns with what is built valid: a change from here on must call back. */
static inline void consumer_build(struct consumer *c)
{
	uint64_t seq;

	do
		seq = mmu_range_read_begin(&c->mrn);
	while (mmu_range_read_retry(&c->mrn, seq));
}

static inline unsigned int calls_of(const struct consumer *c)
{
	return __atomic_load_n(&c->calls, __ATOMIC_ACQUIRE);
}

static inline void consumer_remove(struct consumer *c)
{
	CHECK_ERR(mmu_range_notifier_remove(&c->mrn), 0);
}

/* A registration that has gone: what it has armed may stay. */
static inline void use_briefly(const char *p, size_t n)
{
	struct consumer c;

	consumer_insert(&c, p, n);
	consumer_build(&c);
	consumer_remove(&c);
}

/* A consumer that builds now is told of a raw change of each page that comes later; all pages are mapped. */
static inline void check_raw_changes_are_told(const char *p, size_t n)
{
	struct consumer c;

	consumer_insert(&c, p, n);
	for (size_t i = 0; i < n; i++) {
		unsigned int before;

		consumer_build(&c);
		before = calls_of(&c);
		map_raw(p + i * PAGE, 1, ANON | MAP_FIXED);
		settle();
		CHECK_MSG(calls_of(&c) > before, "a change of page %zu was not told", i);
	}
	consumer_remove(&c);
}

#endif
