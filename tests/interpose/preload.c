/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmrn-interpose as it is used: the shared library in LD_PRELOAD, before a program that was built
 * without it. The programs here are this one, run by a test with the library before it; where the
 * library is, the build says in MRN_INTERPOSE_LIBRARY.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mrn/mmu_notifier.h>

#include "tests/harness/test.h"

#define PAGE 4096

/* What the preloaded libraries offer, found by name: this program is linked with neither. */
struct preloaded {
	struct mrn_mm *(*self)(void);
	__typeof__(mmu_range_notifier_insert) *insert;
	__typeof__(mmu_range_notifier_remove) *remove;
};

static struct preloaded find_preloaded(void)
{
	struct preloaded p = {
		(struct mrn_mm * (*)(void)) dlsym(RTLD_DEFAULT, "mrn_mm_self"),
		(__typeof__(p.insert))dlsym(RTLD_DEFAULT, "mmu_range_notifier_insert"),
		(__typeof__(p.remove))dlsym(RTLD_DEFAULT, "mmu_range_notifier_remove"),
	};

	if (!p.self)
		SKIP("not run with libmrn-interpose in LD_PRELOAD");
	CHECK(p.insert && p.remove);
	return p;
}

static unsigned int calls;

static bool count(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		  uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = count};

TEST(preloaded_calls_are_seen)
{
	struct mmu_range_notifier mrn = {.ops = &ops};
	struct preloaded p = find_preloaded();
	char *m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(m != MAP_FAILED);
	CHECK_EQ(p.insert(&mrn, (uintptr_t)m, 4 * PAGE, p.self()), 0);
	CHECK_EQ(madvise(m, PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(calls, 1);
	CHECK_EQ(syscall(SYS_munmap, m, PAGE), 0);
	CHECK_EQ(calls, 2);
	CHECK_EQ(munmap(m, 4 * PAGE), 0);
	CHECK_EQ(calls, 3);
	CHECK_EQ(p.remove(&mrn), 0);
}

static int stop;

static void *map_and_unmap(void *arg)
{
	unsigned long *rounds = arg;

	for (; !__atomic_load_n(&stop, __ATOMIC_RELAXED); (*rounds)++) {
		char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		CHECK(m != MAP_FAILED);
		m[0] = 1;
		CHECK_EQ(madvise(m, PAGE, MADV_DONTNEED), 0);
		CHECK_EQ(m[0], 0);
		CHECK_EQ(munmap(m, 2 * PAGE), 0);
	}
	return NULL;
}

/*
 * The loader maps under its own lock, and runs constructors that map; a hook that asked it would
 * hang.
 */
static void *load_and_unload(void *arg)
{
	static const char *const names[] = {"libm.so.6", "libresolv.so.2", "libthread_db.so.1",
					    "libanl.so.1"};
	unsigned long *rounds = arg;

	for (; !__atomic_load_n(&stop, __ATOMIC_RELAXED); (*rounds)++) {
		void *lib = dlopen(names[*rounds % 4], RTLD_NOW | RTLD_LOCAL);

		if (lib)
			CHECK_EQ(dlclose(lib), 0);
	}
	return NULL;
}

TEST(loading_while_mapping)
{
	unsigned long rounds[6] = {0};
	pthread_t t[6];

	find_preloaded();
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, i % 2 ? load_and_unload : map_and_unmap,
					&rounds[i]),
			 0);
	usleep(500000);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(pthread_join(t[i], NULL), 0);
		CHECK_NE(rounds[i], 0);
	}
}

/* Loaded late, it stands in front of nobody; that must do no harm to threads that are mapping. */
TEST(loaded_while_mapping)
{
	const char *path = getenv("MRN_INTERPOSE_LIBRARY");
	unsigned long rounds[4] = {0};
	pthread_t t[4];

	if (!path)
		SKIP("MRN_INTERPOSE_LIBRARY does not say where the library is");
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, map_and_unmap, &rounds[i]), 0);
	for (int i = 0; i < 50; i++) {
		void *lib = dlopen(path, RTLD_NOW | RTLD_GLOBAL);

		CHECK_MSG(lib, "%s", dlerror());
		CHECK_EQ(dlclose(lib), 0);
		usleep(2000);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
}

/* What is written to stderr while act runs. */
static void listen(void (*act)(void), char *buf, size_t size)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	act();
	CHECK_EQ(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	close(saved);
	close(fds[1]);
	n = read(fds[0], buf, size - 1);
	CHECK(n >= 0);
	buf[n] = '\0';
	close(fds[0]);
}

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static void *volatile blocks[4];

static void free_unlocked(void)
{
	free(blocks[0]);
	pthread_mutex_lock(&driver_lock);
	pthread_mutex_unlock(&driver_lock);
	free(blocks[1]);
}

static void free_locked(void)
{
	pthread_mutex_lock(&driver_lock);
	free(blocks[2]);
	free(blocks[3]);
	pthread_mutex_unlock(&driver_lock);
}

/* A release build reports a lock once, and goes on. */
TEST(order_of_locks)
{
	struct mmu_range_notifier mrn = {.ops = &ops, .driver_lock = &driver_lock};
	static const char says[] = "mrn: free was called with a driver lock held";
	struct preloaded p = find_preloaded();
	char heard[16384], *first;

	CHECK(getenv("MRN_LOCK_ORDER"));
	for (int i = 0; i < 4; i++)
		blocks[i] = malloc(100);
	CHECK_EQ(p.insert(&mrn, (uintptr_t)&stop, sizeof(stop), p.self()), 0);
	listen(free_unlocked, heard, sizeof(heard));
	CHECK_MSG(!*heard, "%s", heard);
	listen(free_locked, heard, sizeof(heard));
	first = strstr(heard, says);
	CHECK_MSG(first == heard, "%s", heard);
	CHECK(!strstr(first + 1, says));
	CHECK(strstr(heard, "test-interpose_preload(+0x"));
	CHECK_EQ(p.remove(&mrn), 0);
}
