/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that malloc takes back inside itself: good for one use while that may be going on, and cached again after it. The
 * threads' frees are real ones, of blocks at the end of a thread's heap, which glibc then trims.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <mrn/mrn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mm.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/bracket/check.h"
#include "source/uffd/zappers.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/no_device.h"
#include "tests/pin_device.h"
#include "tests/source/heap_owner.h"

#define OLD 'A'
#define NEW 'B'

static struct break_later broken;
static struct pin_device dev;
static struct mrn_source *source;
static struct mrn_regcache *cache;

static void attach_source(void)
{
	if (!mrn_heap_knowledge())
		SKIP("malloc is not glibc's, or not seen");
	source = attach_or_skip(MRN_SOURCE_AUTO);
	if (!(mrn_source_coverage(source, NULL) & MRN_SOURCE_UFFD))
		SKIP("no userfaultfd here");
}

static void attach(void)
{
	pin_device_open(&dev);
	attach_source();
	cache = pin_cache(&dev, source, MRN_COVER_PAGES, 0);
	break_now(&broken);
}

static void detach(void)
{
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	pin_device_close(&dev);
}

static uint64_t used_once(void)
{
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	return s.use_once;
}

/* True if a get of the page is good for one use. */
static bool is_for_one_use(const char *page)
{
	const struct mrn_regcache_entry *entry;
	uint64_t before = used_once();

	CHECK_ERR(mrn_regcache_get(cache, page, 1, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	return used_once() != before;
}

/* The number of gets of the page for one use before it is cached again, or most. */
static unsigned int gets_for_one_use(const char *page, unsigned int most)
{
	unsigned int n = 0;

	while (n < most && is_for_one_use(page))
		n++;
	return n;
}

TEST(trimmed_memory_is_cached_again)
{
	struct owner o = {0};

	attach();
	start_owner(&o);
	CHECK(!is_for_one_use(o.page));
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	CHECK(!is_for_one_use(o.page));
	CHECK(!is_for_one_use(o.page));
	end_owner(&o);
	detach();
}

/* Another thread is inside free, too, at first. */
TEST(trimmed_memory_is_for_one_use_until_free_has_returned)
{
	struct owner o = {.is_held = true}, other = {.is_held = true};

	attach();
	mrn_check_freed_hook = hold;
	start_owner(&other);
	start_owner(&o);
	CHECK(!is_for_one_use(o.page));
	test_gate_open(&other.free_now);
	test_gate_wait(&other.freed);
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	CHECK(is_for_one_use(o.page));
	test_gate_open(&other.go_on);
	end_owner(&other);
	CHECK(is_for_one_use(o.page));
	test_gate_open(&o.go_on);
	end_owner(&o);
	CHECK(!is_for_one_use(o.page));
	CHECK(!is_for_one_use(o.page));
	detach();
}
TWIN(trimmed_memory_is_for_one_use_until_free_has_returned, end_is_believed,
     BREAK_LATER(broken, UFFD_ZAPS_BELIEVED));
TWIN(trimmed_memory_is_for_one_use_until_free_has_returned, thread_is_missed,
     BREAK_LATER(broken, UFFD_ZAPPER_MISSED));

TEST(what_is_good_for_one_use_is_counted)
{
	struct owner o = {.is_held = true};
	struct mrn_source_stats s, before;

	attach();
	CHECK_ERR(mrn_source_get_stats(NULL, &s, sizeof(s)), -EINVAL);
	CHECK_ERR(mrn_source_get_stats(source, &before, sizeof(before)), 0);
	CHECK_EQ(before.use_once_bytes, 0);
	mrn_check_freed_hook = hold;
	start_owner(&o);
	CHECK(!is_for_one_use(o.page));
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	/* The keeper has read the event, and may not have noted it yet. */
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_bytes, mrn_page_size());
	CHECK_EQ(s.use_once_malloc, mrn_page_size());
	CHECK_EQ(s.use_once_ended, before.use_once_ended);
	test_gate_open(&o.go_on);
	end_owner(&o);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_bytes, 0);
	CHECK_EQ(s.use_once_ended, before.use_once_ended + 1);
	detach();
}

TEST(without_trimming_nothing_goes)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .flags = MRN_SOURCE_NO_TRIM};
	struct mrn_regcache_stats before, after;
	struct mrn_source *again;
	struct owner o = {0};

	attach();
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &again), 0);
	start_owner(&o);
	CHECK(!is_for_one_use(o.page));
	CHECK_ERR(mrn_regcache_get_stats(cache, &before, sizeof(before)), 0);
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	end_owner(&o);
	pin_cache_peek(&dev, cache, o.page);
	CHECK_ERR(mrn_regcache_get_stats(cache, &after, sizeof(after)), 0);
	CHECK_EQ(after.hits, before.hits + 1);
	CHECK_ERR(mrn_source_detach(again), 0);
	detach();
}

/* ------------------------------------------------------------------------ a thread that ends */

/* Frees a small block between large ones and the top only at its end: until then malloc keeps it for the thread. */
struct ending {
	struct test_gate ready, end;
	char *page;
	struct mrn_zappers zappers;
	bool looked;
};

static struct ending *ending;

static void keep_a_small_block(void *arg)
{
	struct ending *e = arg;
	char *block[MANY], *volatile small; /* the compiler would leave it out */

	for (int i = 0; i < MANY; i++) {
		block[i] = malloc(BLOCK);
		memset(block[i], OLD, BLOCK);
	}
	small = malloc(1000);
	e->page = (char *)mrn_page_up((uintptr_t)block[MANY / 2]);
	for (int i = 0; i < MANY; i++)
		free(block[i]);
	free(small);
	test_gate_open(&e->ready);
	test_gate_wait(&e->end);
}

/* The thread sleeps in madvise until the event is read. */
static void look_who_zaps(void)
{
	const struct mrn_zappers trimming = {.anybody = false};
	uintptr_t at = (uintptr_t)ending->page;

	if (ending->looked || !test_gate_is_open(&ending->end))
		return;
	ending->looked = true;
	ending->zappers = mrn_zappers_of(at, at + mrn_page_size(), &trimming);
}

TEST(a_thread_that_ends_is_inside_malloc)
{
	struct ending e = {0};
	struct test_thread thread;

	attach();
	ending = &e;
	test_thread(&thread, keep_a_small_block, &e);
	test_gate_wait(&e.ready);
	CHECK(!is_for_one_use(e.page));
	mrn_check_uffd_event_hook = look_who_zaps;
	test_gate_open(&e.end);
	test_join(&thread);
	mrn_check_uffd_event_hook = NULL;
	CHECK(e.looked);
	CHECK(!e.zappers.anybody);
	CHECK_EQ(e.zappers.n, 1);
	/* The kernel has it for a moment after the join. */
	CHECK(gets_for_one_use(e.page, 100000) < 100000);
	detach();
}
TWIN(a_thread_that_ends_is_inside_malloc, end_is_not_seen, BREAK_LATER(broken, HEAP_ENDS));

/* ------------------------------------------------------------------------------------- malloc_trim */

/* A thread with a block between others, which it frees and malloc_trim gives back. */
static struct trimmer {
	struct test_gate ready, trim_now, trimmed, end;
	char *page; /* in that block */
} * trimmer;

static void trim(void *arg)
{
	struct trimmer *t = arg;
	char *block[MANY];

	for (int i = 0; i < MANY; i++) {
		block[i] = malloc(BLOCK);
		CHECK(block[i]);
		memset(block[i], OLD, BLOCK);
	}
	t->page = (char *)mrn_page_up((uintptr_t)block[MANY / 2]);
	test_gate_open(&t->ready);
	test_gate_wait(&t->trim_now);
	free(block[MANY / 2]);
	block[MANY / 2] = NULL;
	CHECK(malloc_trim(0));
	test_gate_open(&t->trimmed);
	test_gate_wait(&t->end);
	for (int i = 0; i < MANY; i++)
		free(block[i]);
}

static void be_late(void)
{
	if (test_gate_is_open(&trimmer->trim_now))
		test_gate_wait(&trimmer->trimmed);
}

/* The keeper has read the event, and loses its processor until malloc_trim has returned. */
TEST(what_malloc_trim_gives_back_is_cached_again)
{
	struct trimmer t = {.page = NULL};
	struct test_thread thread;

	attach();
	trimmer = &t;
	mrn_check_uffd_hook = be_late;
	test_thread(&thread, trim, &t);
	test_gate_wait(&t.ready);
	CHECK(!is_for_one_use(t.page));
	test_gate_open(&t.trim_now);
	test_gate_wait(&t.trimmed);
	CHECK(!is_for_one_use(t.page));
	CHECK(!is_for_one_use(t.page));
	test_gate_open(&t.end);
	test_join(&thread);
	mrn_check_uffd_hook = NULL;
	detach();
}
TWIN(what_malloc_trim_gives_back_is_cached_again, trim_is_looked_for_late,
     BREAK_LATER(broken, UFFD_TRIM_LATE));

/* --------------------------------------------------------------------- a zap by an unknown thread */

static bool awake;

static void be_awake(void *arg)
{
	while (__atomic_load_n(&awake, __ATOMIC_RELAXED))
		;
}

/* A page that is cached, and that this thread has zapped by a bare call since. */
static char *zapped_page(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, OLD, 4096);
	CHECK(!is_for_one_use(p));
	CHECK_EQ(mrn_sys3(SYS_madvise, (long)p, 4096, MADV_DONTNEED), 0);
	memset(p, NEW, 4096);
	return p;
}

/* Without a device, which has a ring with threads of its own. */
TEST(memory_that_a_thread_has_zapped_is_cached_again_when_all_threads_sleep)
{
	struct mrn_regcache_opts opts = {.size = sizeof(opts),
					 .ops = &no_device_ops,
					 .need = MRN_COVER_PAGES};
	struct test_thread thread;
	char *p;

	attach_source();
	opts.source = source;
	CHECK_ERR(mrn_regcache_create(&opts, &cache), 0);
	break_now(&broken);
	awake = true;
	test_thread(&thread, be_awake, NULL);
	p = zapped_page();
	/* A thread that runs may be the one that zaps. */
	CHECK_EQ(gets_for_one_use(p, 200), 200);
	__atomic_store_n(&awake, false, __ATOMIC_RELAXED);
	test_join(&thread);
	CHECK(gets_for_one_use(p, 100000) < 100000);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(memory_that_a_thread_has_zapped_is_cached_again_when_all_threads_sleep,
     running_thread_is_missed, BREAK_LATER(broken, UFFD_RUNNING_MISSED));

static bool has_rings_thread(void)
{
	struct dirent *d;
	bool found = false;
	DIR *tasks = opendir("/proc/self/task");

	CHECK(tasks);
	while (!found && (d = readdir(tasks))) {
		char path[300], name[16] = "";
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		found = read(fd, name, sizeof(name) - 1) > 0 && !strncmp(name, "iou-wrk", 7);
		close(fd);
	}
	closedir(tasks);
	return found;
}

/* What it does is not told: it may be the one that zaps, asleep or not. */
TEST(memory_that_has_been_zapped_is_for_one_use_beside_a_rings_thread)
{
	char *p;

	attach();
	p = zapped_page();
	pin_cache_peek(&dev, cache, p);
	if (!has_rings_thread())
		SKIP("the device's ring has no thread");
	for (unsigned int i = 0; !i || test_round_is_due(i, 1); i++)
		CHECK_EQ(gets_for_one_use(p, 200), 200);
	detach();
}
TWIN(memory_that_has_been_zapped_is_for_one_use_beside_a_rings_thread, rings_thread_is_missed,
     UNTIL_CAUGHT(BREAK_LATER(broken, UFFD_RING_MISSED)));

/* --------------------------------------------------------- a free between the event and the zap */

/*
 * As the trap in tests/whole/races.c: from the event on, the thread that frees gives way to one that keeps its processor
 * busy until what free zaps has been registered.
 */
#define TRAP_BLOCKS 100

static struct trap {
	struct test_gate event, read;
	cpu_set_t cpu, all;
	char *block[TRAP_BLOCKS];
	char *last;
	pid_t zapper;
	bool hogged, registered, on;
} * trap;

static void run_on(const cpu_set_t *cpu, int policy)
{
	const struct sched_param none = {.sched_priority = 0};

	CHECK_EQ(sched_setaffinity(0, sizeof(*cpu), cpu), 0);
	CHECK_EQ(sched_setscheduler(0, policy, &none), 0);
}

/* Not for ever: the thread that zaps may hold the mmap lock, which the registration wants. Then the round proves nothing. */
static void keep_busy(void *arg)
{
	const struct sched_param none = {.sched_priority = 0};
	uint64_t end;

	run_on(&trap->cpu, SCHED_OTHER);
	test_gate_wait(&trap->event);
	__atomic_store_n(&trap->hogged, true, __ATOMIC_RELEASE);
	end = test_now_ns() + 100 * UINT64_C(1000000);
	while (!__atomic_load_n(&trap->registered, __ATOMIC_ACQUIRE) && test_now_ns() < end)
		;
	/* On a busy machine it would take long to finish. */
	CHECK_EQ(sched_setscheduler(trap->zapper, SCHED_OTHER, &none), 0);
}

static void event_is_there(void)
{
	if (!__atomic_load_n(&trap->on, __ATOMIC_ACQUIRE))
		return;
	test_gate_open(&trap->event);
	while (!__atomic_load_n(&trap->hogged, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void event_was_read(void)
{
	if (__atomic_load_n(&trap->on, __ATOMIC_ACQUIRE))
		test_gate_open(&trap->read);
}

/* What a transfer of the last page finds. */
static char transfer(void)
{
	const struct mrn_regcache_entry *entry;
	char byte;

	CHECK_ERR(mrn_regcache_get(cache, trap->block[0],
				   (size_t)(trap->last + 4096 - trap->block[0]), MRN_ACCESS_READ,
				   &entry),
		  0);
	CHECK_ERR(pin_device_read(&dev, entry, trap->last, &byte, 1), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	return byte;
}

/* All of the range again: the kernel raises a second event for a part that is armed apart. */
static void register_again(void *arg)
{
	test_gate_wait(&trap->read);
	transfer();
	__atomic_store_n(&trap->registered, true, __ATOMIC_RELEASE);
}

static void allocate(char byte)
{
	for (int i = 0; i < TRAP_BLOCKS; i++) {
		trap->block[i] = malloc(BLOCK);
		CHECK(trap->block[i]);
		memset(trap->block[i], byte, BLOCK);
	}
}

static void fall_into_it(void *arg)
{
	struct test_thread getter, hog;
	uint64_t before;

	allocate(OLD);
	trap->last = (char *)mrn_page_down((uintptr_t)trap->block[TRAP_BLOCKS - 1] + BLOCK) - 4096;
	/* Armed, once the thread of the last round is gone. */
	do {
		before = used_once();
		CHECK_EQ(transfer(), OLD);
	} while (used_once() != before);
	for (int i = 0; i < TRAP_BLOCKS - 1; i++)
		free(trap->block[i]);
	trap->zapper = (pid_t)mrn_sys0(SYS_gettid);
	test_thread(&getter, register_again, NULL);
	test_thread(&hog, keep_busy, NULL);
	__atomic_store_n(&trap->on, true, __ATOMIC_RELEASE);
	run_on(&trap->cpu, SCHED_IDLE);
	free(trap->block[TRAP_BLOCKS - 1]);
	run_on(&trap->all, SCHED_OTHER);
	test_join(&getter);
	test_join(&hog);
	__atomic_store_n(&trap->on, false, __ATOMIC_RELEASE);
	allocate(NEW);
}

TEST(a_free_between_the_event_and_the_zap, .timeout_s = 60)
{
	for (unsigned int i = 0; !i || test_round_is_due(i, 10); i++) {
		struct test_thread thread;
		struct trap t = {0};

		/* Anew: the heap may still be good for one use, and then nothing is armed. */
		attach();
		trap = &t;
		CHECK_EQ(sched_getaffinity(0, sizeof(t.all), &t.all), 0);
		CPU_SET(sched_getcpu(), &t.cpu);
		mrn_check_uffd_event_hook = event_is_there;
		mrn_check_uffd_hook = event_was_read;
		test_thread(&thread, fall_into_it, NULL);
		test_join(&thread);
		mrn_check_uffd_event_hook = NULL;
		mrn_check_uffd_hook = NULL;
		CHECK_EQ(transfer(), NEW);
		for (int b = 0; b < TRAP_BLOCKS; b++)
			free(t.block[b]);
		detach();
	}
}
/* Until the thread wakes up, the kernel tells whoever arms that an event is in progress: that would hide it. */
TWIN(a_free_between_the_event_and_the_zap, end_is_believed,
     UNTIL_CAUGHT((BREAK_LATER(broken, UFFD_ZAPS_BELIEVED), BREAK_LATER(broken, ARMED_UNREAD))));

/* ------------------------------------------------------------------- a program that mallocs its buffers */

#define BUFFERS 16
#define USES	4
#define CHANGES 4000

static unsigned int stale;

/* Buffers that come and go; each transfer's last byte is compared with what was written. */
static void transfer_from_malloc(void *arg)
{
	char *buffer[BUFFERS] = {0};
	struct test_rand r;
	unsigned char last;

	test_rand_init(&r, (uintptr_t)arg);
	for (unsigned int i = 0; i < CHANGES; i++) {
		uint64_t k = test_rand_below(&r, BUFFERS);
		size_t size = 4096 * (1 + test_rand_below(&r, 3) * 8);
		char byte = (char)i;

		free(buffer[k]);
		buffer[k] = malloc(size);
		CHECK(buffer[k]);
		memset(buffer[k], byte, size);
		for (int use = 0; use < USES; use++) {
			const struct mrn_regcache_entry *entry;

			CHECK_ERR(mrn_regcache_get(cache, buffer[k], size, MRN_ACCESS_READ, &entry),
				  0);
			CHECK_ERR(pin_device_read(&dev, entry, buffer[k] + size - 1, &last, 1), 0);
			CHECK_ERR(mrn_regcache_put(entry), 0);
			if ((char)last != byte)
				__atomic_fetch_add(&stale, 1, __ATOMIC_RELAXED);
		}
	}
	for (int k = 0; k < BUFFERS; k++)
		free(buffer[k]);
}

static void share_of_hits(unsigned int threads, unsigned int at_least_per_cent)
{
	struct test_thread t[4];
	struct mrn_regcache_stats s;

	attach();
	for (unsigned int i = 0; i < threads; i++)
		test_thread(&t[i], transfer_from_malloc, (void *)(uintptr_t)i);
	for (unsigned int i = 0; i < threads; i++)
		test_join(&t[i]);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	NOTE("hits %llu misses %llu, for one use %llu, stale %u", (unsigned long long)s.hits,
	     (unsigned long long)s.misses, (unsigned long long)s.use_once, stale);
	CHECK_EQ(stale, 0);
	CHECK(s.hits * 100 >= (s.hits + s.misses) * at_least_per_cent);
	detach();
}

TEST(one_thread_hits, .timeout_s = 60)
{
	share_of_hits(1, 97);
}

TEST(four_threads_hit, .timeout_s = 60)
{
	share_of_hits(4, 90);
}
