/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls of asynchronous I/O that wait with a mask of signals: it must not block SIGSYS. */
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"

/* linux/io_uring.h; Debian 12's lacks them. */
#define ENTER_EXT_ARG	    (1u << 3)
#define ENTER_EXT_ARG_REG   (1u << 6)
#define REGISTER_MEM_REGION 34
#define REGION_IS_WAIT_ARG  1
#define REGION_IS_USERS	    1

static const uint64_t all_but_usr1 = ~(UINT64_C(1) << (SIGUSR1 - 1));
static volatile sig_atomic_t handled;

static void on_usr1(int sig)
{
	struct watched w;

	(void)sig;
	handled++;
	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
}

static long by_aio(void)
{
	const struct {
		const uint64_t *mask;
		size_t size;
	} mask = {&all_but_usr1, sizeof(all_but_usr1)};
	aio_context_t context = 0;
	struct io_event event;
	long r;

	r = test_raw4(SYS_io_setup, 1, (long)&context, 0, 0);
	if (r == -ENOSYS)
		_exit(77);
	CHECK_EQ(r, 0);
	return syscall(SYS_io_pgetevents, context, 1, 1, &event, NULL, &mask) < 0 ? -errno : 0;
}

static long ring(unsigned int flags)
{
	struct io_uring_params params = {.flags = flags};
	long fd = test_raw4(SYS_io_uring_setup, 1, (long)&params, 0, 0);

	if (fd == -ENOSYS || fd == -EPERM)
		_exit(77);
	CHECK_MSG(fd >= 0, "%ld", fd);
	return fd;
}

static long enter(long fd, unsigned int flags, const void *arg, size_t size)
{
	return syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS | flags, arg, size) < 0
		       ? -errno
		       : 0;
}

static long by_ring(void)
{
	return enter(ring(0), 0, &all_but_usr1, sizeof(all_but_usr1));
}

static long by_rings_structure(void)
{
	const struct {
		uint64_t mask;
		uint32_t size, pad;
		uint64_t ts;
	} arg = {(uintptr_t)&all_but_usr1, sizeof(all_but_usr1), 0, 0};

	return enter(ring(0), ENTER_EXT_ARG, &arg, sizeof(arg));
}

static void wait_with_usr1_pending(long (*wait)(void))
{
	struct sigaction sa = {.sa_handler = on_usr1};
	sigset_t usr1;

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &usr1, NULL), 0);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(wait(), -EINTR);
	CHECK_EQ(handled, 1);
}

static void wait_in_a_child(long (*wait)(void))
{
	struct mrn_source *source = dispatch_or_skip(MRN_SOURCE_FOLLOW_FORK);
	pid_t pid = fork();
	int end;

	if (!pid) {
		wait_with_usr1_pending(wait);
		_exit(0);
	}
	end = end_of(pid);
	if (end == 77)
		SKIP("this kernel has none, or does not permit it");
	CHECK_EQ(end, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(aio_does_not_block_sigsys)
{
	wait_in_a_child(by_aio);
}
TWIN(aio_does_not_block_sigsys, it_does, BREAK(DISPATCH_MASKS));

TEST(a_ring_does_not_block_sigsys)
{
	wait_in_a_child(by_ring);
}
TWIN(a_ring_does_not_block_sigsys, it_does, BREAK(DISPATCH_MASKS));

TEST(a_rings_structure_does_not_block_sigsys)
{
	wait_in_a_child(by_rings_structure);
}
TWIN(a_rings_structure_does_not_block_sigsys, it_does, BREAK(DISPATCH_MASKS));

/* Where the kernel reads masks itself: refused, as by one that does not know of it. */
static long register_region(long fd, uint64_t flags)
{
	static char memory[4096] __attribute__((aligned(4096)));
	const struct {
		uint64_t addr, size;
		uint32_t flags, id;
		uint64_t offset, reserved[4];
	} region = {(uintptr_t)memory, sizeof(memory), REGION_IS_USERS, 0, 0, {0}};
	const struct {
		uint64_t region, flags, reserved[2];
	} arg = {(uintptr_t)&region, flags, {0}};

	return test_raw4(SYS_io_uring_register, fd, REGISTER_MEM_REGION, (long)&arg, 1);
}

TEST(a_region_that_a_ring_waits_by)
{
	struct mrn_source *source;
	struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED};
	long fd = test_raw4(SYS_io_uring_setup, 1, (long)&params, 0, 0), bare, r;

	bare = fd < 0 ? fd : register_region(fd, REGION_IS_WAIT_ARG);
	if (bare)
		SKIP("this kernel has none, or does not permit it");
	r = enter(fd, ENTER_EXT_ARG | ENTER_EXT_ARG_REG, (void *)8192, 64);
	CHECK_NE(r, -EINVAL);
	source = dispatch_or_skip(0);
	CHECK_EQ(enter(fd, ENTER_EXT_ARG | ENTER_EXT_ARG_REG, (void *)8192, 64), -EINVAL);
	fd = test_raw4(SYS_io_uring_setup, 1, (long)&params, 0, 0);
	CHECK(fd >= 0);
	CHECK_EQ(register_region(fd, REGION_IS_WAIT_ARG), -EINVAL);
	CHECK_EQ(register_region(fd, 0), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(a_region_that_a_ring_waits_by, is_permitted, BREAK(DISPATCH_MASKS));
