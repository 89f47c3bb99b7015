/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A consumer of this process's own memory, without the cache: shadows of three pages, as fixed buffers of an io_uring,
 * which hold the pages of their registration. One thread uses them, as long as it may keep them. Another takes the
 * pages away, by calls that no library sees and by calls that libc makes inside itself, and puts others in their place.
 *
 * Runs first with notifiers that no source watches, which must be found stale, and then with those of a source, which
 * must not. Link with -lmrn-interpose, -lmrn and -luring.
 */
#include <liburing.h>
#include <malloc.h>
#include <mrn/mrn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	4096
#define CHANGES 600
#define NEED	MRN_COVER_PAGES
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)

struct shadow {
	struct mmu_range_notifier mrn; /* first: a callback gets its address */
	uint64_t *page;
	unsigned int slot; /* in the ring's table of buffers */
	bool valid;	   /* under the driver lock: the buffer in the slot may be used */
};

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static struct io_uring ring;
static int file; /* the target of transfers */
static struct mrn_source *source;
static uint64_t pinned, checked, stale;

/* ------------------------------------------------------------------------------------- the consumer */

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct shadow *s = (struct shadow *)mrn;

	if (mmu_notifier_range_blockable(range))
		pthread_mutex_lock(&driver_lock);
	else if (pthread_mutex_trylock(&driver_lock))
		return false;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	s->valid = false;
	pthread_mutex_unlock(&driver_lock);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

/* The device takes the page that is there now, in place of the old one. */
static int pin(struct shadow *s)
{
	struct iovec iov = {s->page, PAGE};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(&ring, s->slot, &iov, &tag, 1);

	pinned++;
	return r < 0 ? r : 0;
}

/* Returns with the driver lock held and a valid shadow; or -errno. */
static int shadow_lock(struct shadow *s)
{
	for (;;) {
		/*
		 * Before each use, too: a change by a bare call is announced after it, and the call may return before
		 * all callbacks have run. This waits for them.
		 */
		uint64_t seq = mmu_range_read_begin(&s->mrn);
		int r;

		pthread_mutex_lock(&driver_lock);
		if (s->valid && !mmu_range_read_retry(&s->mrn, seq))
			return 0;
		pthread_mutex_unlock(&driver_lock);
		r = pin(s);
		/* The memory is being changed: try again. */
		if (r == -EFAULT)
			continue;
		if (r)
			return r;
		pthread_mutex_lock(&driver_lock);
		if (!mmu_range_read_retry(&s->mrn, seq)) {
			s->valid = true;
			return 0;
		}
		pthread_mutex_unlock(&driver_lock);
	}
}

/* Returns what the device finds in the page. */
static int use(struct shadow *s, uint64_t *word)
{
	struct io_uring_cqe *cqe;
	int r = shadow_lock(s);

	if (r)
		return r;
	io_uring_prep_write_fixed(io_uring_get_sqe(&ring), file, s->page, sizeof(*word), 0,
				  (int)s->slot);
	r = io_uring_submit_and_wait(&ring, 1);
	if (r == 1 && !io_uring_wait_cqe(&ring, &cqe)) {
		r = cqe->res == sizeof(*word) ? 0 : -EIO;
		io_uring_cqe_seen(&ring, cqe);
	}
	pthread_mutex_unlock(&driver_lock);
	return r ? r : pread(file, word, sizeof(*word), 0) == sizeof(*word) ? 0 : -EIO;
}

/* -------------------------------------------------------------------- who takes the memory away */

/* A system call that no library sees. */
static long raw(long nr, void *a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = -1;
	register long r9 __asm__("r9") = 0;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
#else
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = (long)a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = -1;
	register long x5 __asm__("x5") = 0;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
#endif
}

static bool remap(struct shadow *s)
{
	return !raw(SYS_munmap, s->page, PAGE, 0, 0) &&
	       raw(SYS_mmap, s->page, PAGE, RW, ANON | MAP_FIXED) == (long)s->page;
}

static bool discard(struct shadow *s)
{
	return !raw(SYS_madvise, s->page, PAGE, MADV_DONTNEED, 0);
}

/* The last block of the heap: libc moves the break back, and on again, when it is told to return free memory. */
#define BLOCK (16 * PAGE)
static char *block;

static uint64_t *page_of_block(void)
{
	return (uint64_t *)(((uintptr_t)block + 2 * PAGE - 1) & ~(uintptr_t)(PAGE - 1));
}

static bool trim(struct shadow *s)
{
	free(block);
	malloc_trim(0);
	block = malloc(BLOCK);
	return block && page_of_block() == s->page;
}

static bool (*const change[])(struct shadow *s) = {remap, discard, trim};
#define SHADOWS 3

/* ------------------------------------------------------------------------------------ one against the other */

static struct shadow shadow[SHADOWS];
/* Odd while a page is being changed; half of it is what all pages hold otherwise. */
static uint64_t turn;
static int failed;

static void *use_them(void *arg)
{
	for (uint64_t i = 0; !failed; i++) {
		struct shadow *s = &shadow[i % SHADOWS];
		uint64_t before = __atomic_load_n(&turn, __ATOMIC_ACQUIRE), word;

		if (before == 2 * (CHANGES + 1))
			break;
		failed = use(s, &word);
		/* Only if nothing changed meanwhile can a stale word be told from a new one. */
		if ((before & 1) || before != __atomic_load_n(&turn, __ATOMIC_ACQUIRE))
			continue;
		stale += word != before / 2;
		__atomic_store_n(&checked, checked + 1, __ATOMIC_RELEASE);
	}
	return arg;
}

static void publish(uint64_t value)
{
	for (int i = 0; i < SHADOWS; i++)
		__atomic_store_n(shadow[i].page, value, __ATOMIC_RELAXED);
	__atomic_store_n(&turn, 2 * value, __ATOMIC_RELEASE);
}

static bool change_them(void)
{
	for (uint64_t value = 1; value <= CHANGES; value++) {
		struct shadow *s = &shadow[value % SHADOWS];
		uint64_t seen = __atomic_load_n(&checked, __ATOMIC_ACQUIRE);

		/* Each has been used, and is kept if it may be. */
		while (__atomic_load_n(&checked, __ATOMIC_ACQUIRE) < seen + 2 * SHADOWS && !failed)
			sched_yield();
		__atomic_store_n(&turn, turn + 1, __ATOMIC_RELEASE);
		if (!change[value % SHADOWS](s))
			return false;
		publish(value);
	}
	return true;
}

static int insert(struct shadow *s, struct mrn_source *by)
{
	uintptr_t page = (uintptr_t)s->page;

	return by ? mrn_range_notifier_insert(&s->mrn, page, PAGE, by, NEED)
		  : mmu_range_notifier_insert(&s->mrn, page, PAGE, mrn_mm_self());
}

/* With notifiers that this source watches, or NULL. 0, or the program's exit status. */
static int run(const char *name, struct mrn_source *by)
{
	pthread_t user;
	bool changed;

	pinned = checked = stale = turn = 0;
	publish(0);
	for (int i = 0; i < SHADOWS; i++) {
		shadow[i].mrn = (struct mmu_range_notifier){.ops = &ops};
		shadow[i].slot = (unsigned int)i;
		if (insert(&shadow[i], by))
			return 1;
	}
	if (pthread_create(&user, NULL, use_them, NULL))
		return 1;
	changed = change_them();
	__atomic_store_n(&turn, 2 * (CHANGES + 1), __ATOMIC_RELEASE);
	pthread_join(user, NULL);
	for (int i = 0; i < SHADOWS; i++) {
		mmu_range_notifier_remove(&shadow[i].mrn);
		shadow[i].valid = false;
	}
	if (failed) {
		fprintf(stderr, "own_consumer: %s\n", strerror(-failed));
		return 1;
	}
	if (!changed) {
		fprintf(stderr, "own_consumer: skipped: the heap was not given back as expected\n");
		return 77;
	}
	printf("%-24s %d changes, %ju pins, %ju uses checked, %ju stale\n", name, CHANGES,
	       (uintmax_t)pinned, (uintmax_t)checked, (uintmax_t)stale);
	return 0;
}

static bool make_device(void)
{
	file = memfd_create("file", 0);
	return file >= 0 && !io_uring_queue_init(4, &ring, 0) &&
	       !io_uring_register_buffers_sparse(&ring, SHADOWS);
}

int main(void)
{
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = NEED};
	struct mrn_coverage coverage;
	uint64_t stale_unwatched;
	int r;

	opts.why = why;
	opts.why_size = sizeof(why);
	if (!make_device()) {
		fprintf(stderr, "own_consumer: skipped: no io_uring with fixed buffers here\n");
		return 77;
	}
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source)) {
		fprintf(stderr, "own_consumer: skipped: %s\n", why);
		return 77;
	}
	mrn_source_coverage(source, &coverage);
	block = malloc(BLOCK);
	shadow[0].page = mmap(NULL, PAGE, RW, ANON, -1, 0);
	shadow[1].page = mmap(NULL, PAGE, RW, ANON, -1, 0);
	shadow[2].page = page_of_block();
	if (!block || shadow[0].page == MAP_FAILED || shadow[1].page == MAP_FAILED)
		return 1;
	r = run("not watched:", NULL);
	stale_unwatched = stale;
	if (r)
		return r;
	r = run("watched by the source:", source);
	if (r)
		return r;
	mrn_source_detach(source);
	/* Dispatch sees every call, armed or not. */
	return stale || (!stale_unwatched && !(coverage.bracketed & MRN_COVER_RAW));
}
