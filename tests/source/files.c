/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings of files that are in the page cache: a direct write takes the page out from under a pin, by whichever call, and no
 * source need see it. So they are good for one use; memory's own files are not among them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <mrn/mrn.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/loop_device.h"

#define PAGE  4096L
#define RW    (PROT_READ | PROT_WRITE)
#define TMPFS 0x01021994

static struct mrn_source *source;
static unsigned int kind = MRN_SOURCE_UFFD;

static void attach_or_skip(void)
{
	static char why[512];
	const struct mrn_source_opts opts = {.size = sizeof(opts),
					     .why = why,
					     .why_size = sizeof(why)};

	if (TEST_TSAN && kind == MRN_SOURCE_DISPATCH)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	if (mrn_source_attach(mrn_mm_self(), kind, &opts, &source))
		SKIP("%s", why);
}

/* A page on disk, all 'A', and clean. */
static int file_or_skip(char name[64])
{
	char page[PAGE];
	struct statfs fs;
	int fd;

	snprintf(name, 64, "/var/tmp/mrn-files-XXXXXX");
	fd = mkstemp(name);
	CHECK(fd >= 0);
	CHECK_EQ(fstatfs(fd, &fs), 0);
	if (fs.f_type == TMPFS) {
		unlink(name);
		SKIP("no disk behind /var/tmp");
	}
	memset(page, 'A', sizeof(page));
	CHECK_EQ(write(fd, page, PAGE), PAGE);
	CHECK_EQ(fsync(fd), 0);
	return fd;
}

static char *map(int fd, int prot, int flags)
{
	char *p = mmap(NULL, PAGE, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int armed(const char *p)
{
	return mrn_source_arm(source, (uintptr_t)p, PAGE, MRN_COVER_PAGE_CACHE);
}

/* Whatever the source does not bracket, too. */
static int armed_for_uffd(const char *p)
{
	return mrn_source_arm(source, (uintptr_t)p, PAGE, MRN_COVER_UFFD);
}

static void check_each(void)
{
	int disk, memory = memfd_create("files", 0), segment = shmget(IPC_PRIVATE, PAGE, 0600), shm;
	char name[64], shm_name[64], *p;
	struct mrn_coverage cover;

	attach_or_skip();
	mrn_source_coverage(source, &cover);
	CHECK(cover.use_once & MRN_COVER_PAGE_CACHE);
	CHECK(!strcmp(mrn_cover_name(MRN_COVER_PAGE_CACHE), "page_cache"));
	disk = file_or_skip(name);
	unlink(name);
	CHECK_EQ(armed(map(disk, RW, MAP_SHARED)), MRN_USE_ONCE);
	CHECK_EQ(armed_for_uffd(map(disk, RW, MAP_SHARED)), MRN_USE_ONCE);
	CHECK_EQ(armed(map(disk, PROT_READ, MAP_SHARED)), MRN_USE_ONCE);
	CHECK_EQ(armed(map(disk, RW, MAP_PRIVATE)), MRN_USE_ONCE);
	/* Who does not ask for it does without. */
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)map(disk, RW, MAP_SHARED), PAGE, 0), 0);

	CHECK_EQ(ftruncate(memory, PAGE), 0);
	CHECK_EQ(armed(map(memory, RW, MAP_SHARED)), 0);
	CHECK_EQ(armed(map(memory, RW, MAP_PRIVATE)), 0);
	CHECK_EQ(armed(map(-1, RW, MAP_SHARED | MAP_ANONYMOUS)), 0);
	CHECK_EQ(armed(map(-1, RW, MAP_PRIVATE | MAP_ANONYMOUS)), 0);
	p = map(-1, RW, MAP_PRIVATE | MAP_ANONYMOUS);
	*p = 'A';
	CHECK_EQ(armed(p), 0);
	p = shmat(segment, NULL, 0);
	shmctl(segment, IPC_RMID, NULL);
	CHECK(p != (char *)-1);
	CHECK_EQ(armed(p), 0);
	snprintf(shm_name, sizeof(shm_name), "/mrn-files-%d", (int)getpid());
	shm = shm_open(shm_name, O_RDWR | O_CREAT, 0600);
	CHECK(shm >= 0);
	CHECK_EQ(ftruncate(shm, PAGE), 0);
	CHECK_EQ(armed(map(shm, RW, MAP_SHARED)), 0);
	shm_unlink(shm_name);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(which_are_good_for_one_use)
{
	check_each();
}
TWIN(which_are_good_for_one_use, like_any_other, BREAK(SOURCE_FILES));

TEST(which_are_without_procmap_query)
{
	BREAK(PROCMAP_QUERY);
	check_each();
}

TEST(which_are_under_dispatch)
{
	kind = MRN_SOURCE_DISPATCH;
	check_each();
}
TWIN(which_are_under_dispatch, like_any_other, BREAK(SOURCE_FILES));

/* Pages of a private mapping that have been written to are no file's any more: a program's variables are such. */
TEST(a_private_page_of_ones_own)
{
	char name[64], *p;
	int fd;

	attach_or_skip();
	fd = file_or_skip(name);
	unlink(name);
	p = map(fd, RW, MAP_PRIVATE);
	CHECK_EQ(armed_for_uffd(p), MRN_USE_ONCE);
	*p = 'B';
	if (armed_for_uffd(p))
		SKIP("Linux 6.7 can look at pages");
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* What is mounted there is so for this process alone, and goes with it. */
static const char folder[] = "/var/tmp";

static void mounts_or_skip(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("no mounts of one's own here");
}

/* What a block device shows is in its page cache, wherever its node is. */
TEST(a_block_device_on_a_tmpfs)
{
	int backing = memfd_create("disk", 0), device, fd;
	char path[64], name[80];

	attach_or_skip();
	CHECK_EQ(ftruncate(backing, 1 << 20), 0);
	device = loop_device(backing, path);
	if (device < 0)
		SKIP("no loop device may be made here");
	mounts_or_skip();
	for (size_t i = 0; i < 2; i++) {
		CHECK_EQ(mount("mrn", folder, "tmpfs", 0, NULL), 0);
		snprintf(name, sizeof(name), "%s/node", folder);
		CHECK_EQ(loop_node(device, name), 0);
		fd = open(name, O_RDWR);
		CHECK(fd >= 0);
		/* Without its name, the second time. */
		if (i)
			unlink(name);
		CHECK_EQ(armed(map(fd, RW, MAP_SHARED)), MRN_USE_ONCE);
		CHECK_EQ(armed(map(device, RW, MAP_SHARED)), MRN_USE_ONCE);
		/* And a file beside it. */
		snprintf(name, sizeof(name), "%s/file", folder);
		fd = open(name, O_RDWR | O_CREAT, 0600);
		CHECK_EQ(ftruncate(fd, PAGE), 0);
		CHECK_EQ(armed(map(fd, RW, MAP_SHARED)), 0);
		/* Which may be reached without devices, too. */
		CHECK_EQ(mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL), 0);
		CHECK_EQ(armed(map(fd, RW, MAP_SHARED)), 0);
		umount2(folder, MNT_DETACH);
	}
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_block_device_on_a_tmpfs, like_any_other, BREAK(SOURCE_FILES));

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

/* A range counts for all that is in it. */
TEST(a_file_in_the_middle)
{
	const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct mmu_range_notifier mrn = {.ops = &ops};
	char name[64], *p;
	int fd, r;

	attach_or_skip();
	fd = file_or_skip(name);
	unlink(name);
	p = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	memset(p, 'A', 3 * PAGE);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, 3 * PAGE, mrn_mm_self()), 0);
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, 3 * PAGE, MRN_COVER_UFFD), 0);
	CHECK(mmap(p + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == p + PAGE);
	CHECK(*(volatile char *)(p + PAGE) == 'A');
	/* The news that a mapping has gone may still be under way. */
	do {
		mmu_range_read_begin(&mrn);
		r = mrn_source_arm(source, (uintptr_t)p, 3 * PAGE, MRN_COVER_UFFD);
	} while (r == -EAGAIN);
	CHECK_EQ(r, MRN_USE_ONCE);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* --------------------------------------------------------------------------------------- for real */

/* The device is a pipe, which holds the page. */
static int hold(void *ctx, struct mrn_regcache_entry *e)
{
	struct iovec page = {(void *)e->addr, (size_t)PAGE};
	int *fds = malloc(2 * sizeof(*fds));

	(void)ctx;
	CHECK(fds && !pipe(fds));
	e->handle.ptr = fds;
	return vmsplice(fds[1], &page, 1, 0) == PAGE ? 0 : -errno;
}

static void release(void *ctx, struct mrn_regcache_entry *e)
{
	int *fds = e->handle.ptr;

	(void)ctx;
	close(fds[0]);
	close(fds[1]);
	free(fds);
}

static const struct mrn_regcache_ops pipe_ops = {hold, release};

static char seen_through(struct mrn_regcache *cache, const char *p)
{
	const struct mrn_regcache_entry *e;
	char c;

	CHECK_ERR(mrn_regcache_get(cache, (void *)(uintptr_t)p, (size_t)PAGE, MRN_ACCESS_READ, &e),
		  0);
	CHECK_EQ(read(((const int *)e->handle.ptr)[0], &c, 1), 1);
	mrn_regcache_put(e);
	return c;
}

TEST(a_direct_write)
{
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .need = MRN_COVER_UFFD,
					   .ops = &pipe_ops};
	struct mrn_regcache *cache;
	char name[64], *p, *block;
	int fd, direct;

	attach_or_skip();
	fd = file_or_skip(name);
	direct = open(name, O_RDWR | O_DIRECT);
	unlink(name);
	block = map(-1, RW, MAP_PRIVATE | MAP_ANONYMOUS);
	memset(block, 'B', (size_t)PAGE);
	if (direct < 0)
		SKIP("this file system has no direct writes");
	config.source = source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
	p = map(fd, RW, MAP_SHARED);
	CHECK_EQ(seen_through(cache, p), 'A');
	CHECK_EQ(pwrite(direct, block, (size_t)PAGE, 0), PAGE);
	CHECK_EQ(*(volatile char *)p, 'B');
	CHECK_EQ(seen_through(cache, p), 'B');
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_direct_write, like_any_other, BREAK(SOURCE_FILES));

static int filled(const char *name, char with)
{
	static char block[16 * PAGE];
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	memset(block, with, sizeof(block));
	CHECK_EQ(write(fd, block, sizeof(block)), (long)sizeof(block));
	CHECK_EQ(fsync(fd), 0);
	return fd;
}

/* A file system whose files can share blocks. */
static void xfs_or_skip(void)
{
	int disk = memfd_create("disk", 0), device;
	char path[64], command[128];

	CHECK_EQ(ftruncate(disk, 320 << 20), 0);
	device = loop_device(disk, path);
	if (device < 0)
		SKIP("no loop device may be made here");
	snprintf(command, sizeof(command), "mkfs.xfs -q -m reflink=1 %s >/dev/null 2>&1", path);
	if (system(command))
		SKIP("no mkfs.xfs (xfsprogs)");
	mounts_or_skip();
	if (mount(path, folder, "xfs", 0, NULL))
		SKIP("no XFS here");
}

/* By blocks that are shared from then on; the pages that showed the old ones are thrown out. */
TEST(a_copy_that_shares_blocks)
{
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .need = MRN_COVER_UFFD,
					   .ops = &pipe_ops};
	struct mrn_regcache *cache;
	off64_t from = 0, to = 0;
	int a, b;
	char *p;

	attach_or_skip();
	xfs_or_skip();
	a = filled("a", 'A');
	b = filled("b", 'B');
	config.source = source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
	p = map(a, RW, MAP_SHARED);
	CHECK_EQ(seen_through(cache, p), 'A');
	CHECK_EQ(copy_file_range(b, &from, a, &to, 16 * PAGE, 0), 16 * PAGE);
	CHECK_EQ(*(volatile char *)p, 'B');
	CHECK_EQ(seen_through(cache, p), 'B');
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_copy_that_shares_blocks, like_any_other, BREAK(SOURCE_FILES));
