/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The problem, without mrn: a registered buffer holds the pages that were there when it was registered. Exits 0 if the
 * file gets the old page's bytes.
 */
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

int main(void)
{
	int fd = memfd_create("file", 0);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	char holds;
	int r = io_uring_queue_init(4, &ring, 0);

	if (fd < 0 || r) {
		fprintf(stderr, "stale: skipped: no io_uring here: %s\n", strerror(-r));
		return 77;
	}

	char *p = mmap(NULL, 4096, RW, ANON, -1, 0);
	memset(p, 'A', 4096);
	struct iovec buffer = {p, 4096};
	r = io_uring_register_buffers(&ring, &buffer, 1);
	munmap(p, 4096);
	p = mmap(p, 4096, RW, ANON | MAP_FIXED, -1, 0);
	memset(p, 'B', 4096);
	io_uring_prep_write_fixed(io_uring_get_sqe(&ring), fd, p, 4096, 0, 0);
	io_uring_submit_and_wait(&ring, 1);
	io_uring_wait_cqe(&ring, &cqe);

	if (r || cqe->res != 4096 || pread(fd, &holds, 1, 0) != 1)
		return 1;
	printf("the memory holds: %c\n", *p);
	printf("the write says:   %d bytes, no error\n", cqe->res);
	printf("the file holds:   %c\n", holds);
	return holds != 'A';
}
