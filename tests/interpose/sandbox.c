/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interposer in a program that nobody listens to makes no call but the program's: one in a sandbox that forbids all others
 * goes on. And where somebody listens, what cannot be asked any more is taken to change.
 */
#undef _FILE_OFFSET_BITS

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <mrn/mrn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/test.h"
#include "tests/source/sandbox_fixture.h"
#include "source/bracket/other.h"

#define SIZE 65536L

/* What the brackets ask, and none of the calls below makes itself. */
static const int asked[] = {
	SYS_fstat,  SYS_fstatfs,     SYS_newfstatat,	   SYS_statfs, SYS_openat,
	SYS_read,   SYS_close,	     SYS_process_vm_readv, SYS_getpid, SYS_gettid,
	SYS_shmctl, SYS_sigaltstack, SYS_rt_sigprocmask,
};

/* By an instruction, or so that the interposer sees it. */
static bool forbid_asking(unsigned int action, bool seen)
{
	struct sock_filter code[2 * sizeof(asked) / sizeof(asked[0]) + 2];
	unsigned int n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (unsigned int)asked[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return seen ? sandbox_enter_seen(code, n) : sandbox_enter(code, n, 0);
}

/* ------------------------------------------------------------------------------------- what is called */

static char *memory, *file;
static int fd, segment, self;
static char name[64];

static void prepare(void)
{
	fd = memfd_create("mrn-test", 0);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, SIZE), 0);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	CHECK(memory != MAP_FAILED && file != MAP_FAILED);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	/* What libc asks once. */
	CHECK(sbrk(4096) != (void *)-1);
}

static void change_everything(void)
{
	struct iovec range = {memory, 4096};
	struct uffdio_range registered = {(uintptr_t)memory, 4096};
	uint64_t receive[8] = {(uintptr_t)memory, 4096};
	socklen_t length = sizeof(receive);

	madvise(memory, 4096, MADV_DONTNEED);
	madvise(file, 4096, MADV_REMOVE);
	process_madvise(self, &range, 1, MADV_PAGEOUT, 0);
	mprotect(memory, 4096, PROT_READ);
	remap_file_pages(file, 4096, 0, 1, 0);
	(void)!mremap(memory + 4096, 8192, 4096, 0);
	(void)!mmap(memory, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	shmat(segment, memory, SHM_REMAP);
	shmdt(memory);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	(void)!ftruncate(fd, 8192);
	(void)!truncate(name, 4096);
	ioctl(-1, UFFDIO_UNREGISTER, &registered);
	ioctl(-1, MRN_FS_ZERO_RANGE, receive);
	getsockopt(-1, IPPROTO_TCP, MRN_TCP_ZEROCOPY_RECEIVE, receive, &length);
	syscall(SYS_io_destroy, memory);
	(void)!sbrk(-4096);
	munmap(file, SIZE);
	free(realloc(malloc(SIZE * 16), SIZE * 32));
}

TEST(nobody_is_asked)
{
	pid_t pid;
	int how;

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	prepare();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (!forbid_asking(SECCOMP_RET_KILL_PROCESS, false))
			_exit(77);
		change_everything();
		_exit(0);
	}
	how = end_of(pid);
	shmctl(segment, IPC_RMID, NULL);
	if (how == 77)
		SKIP("no seccomp filters here");
	CHECK_EQ(how, 0);
}
TWIN(nobody_is_asked, looks, BREAK(BRACKET_LOOKS));

/* ------------------------------------------------------------------------------- where somebody listens */

static volatile unsigned int starts; /* libc promises that its functions call nobody */

static int start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn, (void)range;
	starts++;
	return 0;
}

static const struct mmu_notifier_ops ops = {.invalidate_range_start = start};
static struct mmu_notifier listener = {.ops = &ops};

#define TOLD(call)                             \
	do {                                   \
		starts = 0;                    \
		(void)!(call);                 \
		if (!starts)                   \
			_exit(__LINE__ - 100); \
	} while (0)

static void change_files(void)
{
	TOLD(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	TOLD(ftruncate(fd, 8192));
	TOLD(truncate(name, 4096));
	TOLD(madvise(file, 4096, MADV_REMOVE));
}

static void check_told(unsigned int action, bool seen)
{
	pid_t pid;
	int how;

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	prepare();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (mmu_notifier_register(&listener, mrn_mm_self()))
			_exit(78);
		if (!forbid_asking(action, seen))
			_exit(77);
		change_files();
		_exit(0);
	}
	how = end_of(pid);
	shmctl(segment, IPC_RMID, NULL);
	if (how == 77)
		SKIP("no seccomp filters here");
	CHECK_EQ(how, 0);
}

/* A file's change is announced, whichever way one is kept from looking at the file. */
TEST(what_may_not_be_asked_is_told)
{
	check_told(SECCOMP_RET_ERRNO | EPERM, false);
}

TEST(nor_what_there_is_not)
{
	check_told(SECCOMP_RET_ERRNO | ENOSYS, false);
}

TEST(what_would_kill_is_told)
{
	check_told(SECCOMP_RET_KILL_PROCESS, true);
}
TWIN(what_would_kill_is_told, nobody_looks, BREAK(CONFINED_FILTER));

/* It says that it has worked, and has not. */
TEST(what_lies_is_told)
{
	check_told(SECCOMP_RET_ERRNO | 0, true);
}
