/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-sandbox CASE: a process that has forbidden itself process_vm_readv and process_vm_writev, by which the kernel is
 * asked about addresses. setup, register, ioctl: it passes pointers that are wrong, and each call fails; written: only the
 * second is forbidden, and it makes a ring; stale: it uses memory that has changed.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/check/programs/ring.h"

enum { LENGTH = 8192 };

static struct ring ring;

static void forbid(bool reading_too)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 reading_too ? SYS_process_vm_readv : SYS_process_vm_writev, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	need(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	skip(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "filters");
}

/* With a bad address; a kernel without io_uring says so. */
static void fails(long r)
{
	skip(r >= 0 || errno != ENOSYS, "such calls");
	need(r < 0 && errno == EFAULT, "EFAULT");
}

static char *page(int rights)
{
	char *p = mmap(NULL, LENGTH, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	return p;
}

static void setup(void)
{
	char *p = page(PROT_READ), *q = page(PROT_READ | PROT_WRITE);

	need(!munmap(q + LENGTH / 2, LENGTH / 2), "munmap");
	forbid(true);
	fails(syscall(SYS_io_uring_setup, 8, NULL));
	fails(syscall(SYS_io_uring_setup, 8, p));
	fails(syscall(SYS_io_uring_setup, 8, q + LENGTH / 2 - 16));
}

static void registers(void)
{
	const char *p = page(PROT_NONE);

	ring_open(&ring, false, 0);
	forbid(true);
	fails(ring_register(&ring, IORING_REGISTER_BUFFERS, NULL, 1));
	fails(ring_register(&ring, IORING_REGISTER_BUFFERS, p, 1));
	ring_close(&ring);
}

static void controls(void)
{
	int fd = (int)syscall(SYS_memfd_create, "file", 0);

	forbid(true);
	/* Numbers of iommufd's and VFIO's, which this file does not know. */
	need(ioctl(fd, _IO(';', 0x85), (void *)1) < 0, "IOMMU_IOAS_MAP");
	need(ioctl(fd, _IO(';', 113), (void *)7) < 0, "VFIO_IOMMU_MAP_DMA");
}

static void written(void)
{
	forbid(false);
	ring_open(&ring, false, 0);
	ring_close(&ring);
}

static void stale(void)
{
	struct iovec iov = {page(PROT_READ | PROT_WRITE), LENGTH};
	int file = (int)syscall(SYS_memfd_create, "file", 0);

	memset(iov.iov_base, 'A', LENGTH);
	forbid(true);
	ring_open(&ring, false, 0);
	need(!ring_register(&ring, IORING_REGISTER_BUFFERS, &iov, 1), "IORING_REGISTER_BUFFERS");
	need(!madvise(iov.iov_base, LENGTH, MADV_DONTNEED), "madvise");
	memset(iov.iov_base, 'B', LENGTH);
	io_uring_prep_write_fixed(ring_sqe(&ring), file, iov.iov_base, LENGTH, 0, 0);
	ring_submit(&ring);
	need(ring_reap(&ring) == LENGTH, "WRITE_FIXED");
	ring_close(&ring);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"setup", setup},     {"register", registers}, {"ioctl", controls},
		{"written", written}, {"stale", stale},
	};

	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(cases[i].name, argv[1])) {
			cases[i].run();
			return 0;
		}
	need(false, "check-sandbox CASE");
	return 1;
}
