/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-fails CASE: calls that would change registered memory, and fail or move nothing; and some that fail when they have
 * changed a part. Then what is registered is used. Every call is one that is announced, and fails for another reason.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/check/programs/ring.h"

#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10 */
#endif

enum { SIZE = 65536, HALF = SIZE / 2, RW = PROT_READ | PROT_WRITE };

/* More addresses than a process has. */
#define TOO_LARGE ((size_t)1 << 50)
#define LARGE	  ((size_t)1 << 46)

static struct ring ring;
static char *buffer; /* with HALF after it, where nothing is mapped */
static int file;

static char *map(void *at, size_t length, int flags)
{
	char *p = mmap(at, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	need(p != MAP_FAILED, "mmap");
	memset(p, 'A', length);
	return p;
}

static void failed(long r, int error, const char *what)
{
	if (r != -1 || errno != error)
		fprintf(stderr, "%ld, %s\n", r, strerror(errno));
	need(r == -1 && errno == error, what);
}

static void register_buffer(void)
{
	const struct iovec iov = {buffer, SIZE};

	ring_open(&ring, false, 0);
	need(!ring_register(&ring, IORING_REGISTER_BUFFERS, &iov, 1), "IORING_REGISTER_BUFFERS");
}

static void use(size_t length)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_rw(IORING_OP_WRITE_FIXED, sqe, file, buffer, (unsigned int)length, 0);
	sqe->buf_index = 0;
	ring_submit(&ring);
	need(ring_reap(&ring) == (int)length, "WRITE_FIXED");
}

static void seal(void)
{
	skip(!syscall(SYS_mseal, buffer, SIZE, 0), "mseal");
}

/* ---- nothing has moved */

static void munmap_einval(void)
{
	failed(munmap(buffer, TOO_LARGE), EINVAL, "munmap");
}

static void munmap_sealed(void)
{
	seal();
	failed(munmap(buffer, SIZE), EPERM, "munmap");
}

static void mmap_ebadf(void)
{
	failed((long)mmap(buffer, SIZE, RW, MAP_SHARED | MAP_FIXED, -1, 0), EBADF, "mmap");
}

static void mmap_eacces(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	need(fd >= 0, "/proc/self/exe");
	failed((long)mmap(buffer, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0), EACCES, "mmap");
}

static void mmap_eexist(void)
{
	failed((long)mmap(buffer, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			  0),
	       EEXIST, "mmap");
}

static void mmap_sealed(void)
{
	seal();
	failed((long)mmap(buffer, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EPERM,
	       "mmap");
}

static void mremap_enomem(void)
{
	failed((long)mremap(buffer, SIZE, LARGE, MREMAP_MAYMOVE), ENOMEM, "mremap");
}

/* There is nothing that could be moved. */
static void mremap_efault(void)
{
	failed((long)mremap(buffer + SIZE, HALF, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, buffer),
	       EFAULT, "mremap");
	failed((long)mremap(buffer, SIZE + HALF, 2 * SIZE, MREMAP_MAYMOVE), EFAULT, "mremap");
}

/* The kernel unmaps what is at the new place before it sees that the old size is none. */
static void mremap_einval(void)
{
	char *p = map(NULL, SIZE, 0);

	failed((long)mremap(p, -(size_t)SIZE, HALF, MREMAP_MAYMOVE | MREMAP_FIXED, buffer), EINVAL,
	       "mremap");
}

static void mremap_grows(void)
{
	need(mremap(buffer, SIZE, SIZE + HALF, 0) == buffer, "mremap");
}

static void mremap_shrinks(void)
{
	need(mremap(buffer, SIZE, HALF, 0) == buffer, "mremap");
}

/* A mapping moves that may have been one of huge pages, but for what is registered behind it. */
static void mremap_beside(void)
{
	const size_t huge = 2 << 20;
	char *p = map(NULL, 2 * huge, 0);

	p = (char *)(((uintptr_t)p + huge - 1) & ~(uintptr_t)(huge - 1));
	buffer = p + SIZE;
	register_buffer();
	need(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) != MAP_FAILED, "mremap");
	need(mremap(p, SIZE, HALF, 0) == p, "mremap");
	use(SIZE);
}

static void madvise_einval(void)
{
	need(!mlock(buffer, SIZE), "mlock");
	failed(madvise(buffer, SIZE, MADV_DONTNEED), EINVAL, "madvise");
}

static void shmat_sealed(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);

	skip(id >= 0, "shmget");
	seal();
	failed((long)shmat(id, buffer, SHM_REMAP), EPERM, "shmat");
	need(!shmctl(id, IPC_RMID, NULL), "shmctl");
}

/* It changes no page, though nobody but the one who has the number may then watch them. */
static void uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.range = {(uintptr_t)buffer, SIZE},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	skip(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "userfaultfd");
	need(!ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
	need(!ioctl(fd, UFFDIO_UNREGISTER, &reg.range), "UFFDIO_UNREGISTER");
}

/* ---- a part has, or all */

/* A socket refuses when what was there is gone. */
static void mmap_enodev(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(fd >= 0, "socket");
	failed((long)mmap(buffer, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0), ENODEV, "mmap");
}

/* The first half is discarded before the second refuses. */
static void madvise_half(void)
{
	need(!mlock(buffer + HALF, HALF), "mlock");
	failed(madvise(buffer, SIZE, MADV_DONTNEED), EINVAL, "madvise");
}

/* All that is there is discarded. */
static void madvise_enomem(void)
{
	failed(madvise(buffer, SIZE + HALF, MADV_DONTNEED), ENOMEM, "madvise");
}

/* Makes two mappings of it, of which the second cannot be moved. */
static void cut(char *from)
{
	char *second = from + HALF;

	need(mmap(second, HALF, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		     second,
	     "mmap");
	skip(!syscall(SYS_mseal, second, HALF, 0), "mseal");
}

/* Before Linux 6.17 it moves no more than one. */
static void move_half(char *from, char *to, int flags)
{
	need(mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == MAP_FAILED,
	     "mremap");
	skip(errno == EPERM, "mremap of several mappings");
}

/* What is registered is where the first goes. */
static void mremap_half(void)
{
	char *from = map(NULL, SIZE, 0);

	cut(from);
	move_half(from, buffer, 0);
}

/* What is registered is the first, which stays mapped. */
static void move_half_away(void)
{
	move_half(buffer, map(NULL, SIZE, 0), MREMAP_DONTUNMAP);
	memset(buffer, 'B', HALF);
}

static void mremap_half_away(void)
{
	cut(buffer);
	move_half_away();
}

/* ---- ranges of one call, around what is registered */

static long advise(const struct iovec *ranges, size_t n)
{
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	long r;

	need(self >= 0, "pidfd_open");
	r = syscall(SYS_process_madvise, self, ranges, n, MADV_DONTNEED, 0);
	skip(r >= 0, "process_madvise");
	close(self);
	return r;
}

static void advise_around(void)
{
	char *all = map(NULL, 3 * SIZE, 0);
	const struct iovec ranges[] = {{all, SIZE}, {all + 2 * SIZE, SIZE}};

	buffer = all + SIZE;
	register_buffer();
	need(advise(ranges, 2) == 2 * SIZE, "process_madvise");
	use(SIZE);
}

/* The second refuses, so the third is left. */
static void advise_short(void)
{
	char *other = map(NULL, 2 * SIZE, 0);
	const struct iovec ranges[] = {{other, SIZE}, {other + SIZE, SIZE}, {buffer, SIZE}};

	need(!mlock(other + SIZE, SIZE), "mlock");
	need(advise(ranges, 3) == SIZE, "process_madvise");
}

static void advise_half(void)
{
	char *other = map(NULL, SIZE, 0);
	const struct iovec ranges[] = {{other, SIZE}, {buffer + HALF, HALF}};

	need(advise(ranges, 2) == SIZE + HALF, "process_madvise");
}

/* ---- otherwise registered, or not at all */

static char *huge_block;

static void open_block(void)
{
	/* Its own mapping, which begins before it. */
	huge_block = malloc(1 << 20);
	need(huge_block, "malloc");
	memset(huge_block, 'A', 1 << 20);
	buffer = (char *)(((uintptr_t)huge_block + 4095) & ~(uintptr_t)4095);
}

static void realloc_enomem(void)
{
	open_block();
	register_buffer();
	need(!realloc(huge_block, LARGE), "realloc");
	use(SIZE);
}

static void realloc_shrinks(void)
{
	open_block();
	register_buffer();
	need(realloc(huge_block, 1 << 19) == huge_block, "realloc");
	use(SIZE);
}

/* What is registered is what is cut off. */
static void realloc_cuts_off(void)
{
	open_block();
	buffer += 1 << 19;
	register_buffer();
	need(realloc(huge_block, 1 << 18) == huge_block, "realloc");
	use(SIZE);
}

static void ftruncate_sealed(void)
{
	int fd = memfd_create("check", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	need(fd >= 0 && !ftruncate(fd, SIZE) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), "memfd");
	need(mmap(buffer, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == buffer, "mmap");
	register_buffer();
	failed(ftruncate(fd, 0), EPERM, "ftruncate");
	use(SIZE);
}

static void open_group(void)
{
	struct io_uring_buf_reg group = {.ring_addr = (uintptr_t)buffer, .ring_entries = 256};

	ring_open(&ring, false, 0);
	need(!ring_register(&ring, IORING_REGISTER_PBUF_RING, &group, 1),
	     "IORING_REGISTER_PBUF_RING");
}

static void unseen(void)
{
	open_group();
	munmap_einval();
}

static void unseen_then_changed(void)
{
	open_group();
	munmap_einval();
	need(!munmap(buffer, SIZE), "munmap");
}

static void read_pipe(void (*meanwhile)(void))
{
	struct io_uring_sqe *sqe;
	int fds[2];

	ring_open(&ring, false, 0);
	need(!pipe(fds), "pipe");
	sqe = ring_sqe(&ring);
	io_uring_prep_rw(IORING_OP_READ, sqe, fds[0], buffer, SIZE, 0);
	ring_submit(&ring);
	meanwhile();
	need(write(fds[1], "x", 1) == 1, "write");
	ring_reap(&ring);
}

static void flight(void)
{
	read_pipe(munmap_einval);
}

static void munmap_twice(void)
{
	munmap_einval();
	need(!munmap(buffer, SIZE), "munmap");
}

static void flight_then_changed(void)
{
	read_pipe(munmap_twice);
}

static void flight_discarded(void)
{
	read_pipe(madvise_half);
}

static void flight_half(void)
{
	read_pipe(mremap_half);
}

static void flight_half_away(void)
{
	cut(buffer);
	read_pipe(move_half_away);
}

static void flight_locked(void)
{
	read_pipe(madvise_einval);
}

/* ---- */

struct row {
	const char *name;
	void (*call)(void);
	size_t uses; /* bytes; 0: call does all */
};
static const struct row rows[] = {
	{"munmap-einval", munmap_einval, SIZE},
	{"munmap-sealed", munmap_sealed, SIZE},
	{"mmap-ebadf", mmap_ebadf, SIZE},
	{"mmap-eacces", mmap_eacces, SIZE},
	{"mmap-eexist", mmap_eexist, SIZE},
	{"mmap-sealed", mmap_sealed, SIZE},
	{"mmap-enodev", mmap_enodev, SIZE},
	{"mremap-enomem", mremap_enomem, SIZE},
	{"mremap-efault", mremap_efault, SIZE},
	{"mremap-einval", mremap_einval, SIZE},
	{"mremap-grows", mremap_grows, SIZE},
	{"mremap-shrinks", mremap_shrinks, HALF},
	{"mremap-cuts-off", mremap_shrinks, SIZE},
	{"mremap-beside", mremap_beside, 0},
	{"mremap-half", mremap_half, HALF},
	{"mremap-half-away", mremap_half_away, HALF},
	{"madvise-einval", madvise_einval, SIZE},
	{"madvise-half", madvise_half, SIZE},
	{"madvise-enomem", madvise_enomem, SIZE},
	{"shmat-sealed", shmat_sealed, SIZE},
	{"advise-around", advise_around, 0},
	{"advise-short", advise_short, SIZE},
	{"advise-half", advise_half, SIZE},
	{"advise-other-half", advise_half, HALF},
	{"uffd", uffd, SIZE},
	{"realloc-enomem", realloc_enomem, 0},
	{"realloc-shrinks", realloc_shrinks, 0},
	{"realloc-cuts-off", realloc_cuts_off, 0},
	{"ftruncate-sealed", ftruncate_sealed, 0},
	{"unseen", unseen, 0},
	{"unseen-then-changed", unseen_then_changed, 0},
	{"flight", flight, 0},
	{"flight-then-changed", flight_then_changed, 0},
	{"flight-discarded", flight_discarded, 0},
	{"flight-half", flight_half, 0},
	{"flight-half-away", flight_half_away, 0},
	{"flight-locked", flight_locked, 0},
};

int main(int argc, char **argv)
{
	file = open("/dev/null", O_WRONLY | O_CLOEXEC);
	need(file >= 0, "/dev/null");
	buffer = map(NULL, SIZE + HALF, 0);
	need(!munmap(buffer + SIZE, HALF), "munmap");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (argc != 2 || strcmp(argv[1], rows[i].name))
			continue;
		if (rows[i].uses)
			register_buffer();
		rows[i].call();
		if (rows[i].uses)
			use(rows[i].uses);
		return 0;
	}
	return 2;
}
