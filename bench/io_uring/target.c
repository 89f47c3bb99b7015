/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/io_uring/transfer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------- files */

/* As large as all buffers together, so that each transfer has a place of its own. */
static int fill(int fd, size_t size)
{
	char *block = aligned_alloc(4096, size);
	int err = block ? 0 : -ENOMEM;

	if (block)
		memset(block, 'x', size);
	for (size_t i = 0; !err && i < TRANSFER_BUFFERS; i++)
		if (pwrite(fd, block, size, (off_t)(i * size)) != (ssize_t)size)
			err = errno ? -errno : -EIO;
	free(block);
	return err;
}

static int open_filled(struct target *t, int fd, size_t size)
{
	int err = fd < 0 ? -errno : fill(fd, size);

	*t = (struct target){.fd = fd, .other_end = -1};
	if (err && fd >= 0)
		close(fd);
	return err;
}

/* On a disk if one can be guessed: /tmp may be in memory. Without the page cache if that is possible. */
int target_open_file(struct target *t, size_t size)
{
	const char *folder = getenv("TMPDIR");
	char name[4096];
	int fd, err;

	snprintf(name, sizeof(name), "%s/mrn-bench-XXXXXX", folder ? folder : "/var/tmp");
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	err = open_filled(t, fd, size);
	if (err)
		return err;
	fdatasync(fd);
	fcntl(fd, F_SETFL, O_DIRECT);
	return 0;
}

int target_open_tmpfs(struct target *t, size_t size)
{
	return open_filled(t, memfd_create("mrn-bench", MFD_CLOEXEC), size);
}

/* ------------------------------------------------------------------------------------------ the socket */

static void *drain(void *arg)
{
	struct target *t = arg;

	/* With MSG_TRUNC, TCP discards instead of copying. */
	while (recv(t->other_end, NULL, 1 << 20, MSG_TRUNC) > 0)
		;
	return NULL;
}

static int connect_both(struct target *t, int listener)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(addr);
	int one = 1;

	if (bind(listener, (struct sockaddr *)&addr, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&addr, &length) ||
	    connect(t->fd, (struct sockaddr *)&addr, length))
		return -errno;
	t->other_end = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (t->other_end < 0 || setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return -errno;
	return 0;
}

int target_open_socket(struct target *t, size_t size)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	*t = (struct target){.is_socket = true, .other_end = -1};
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = listener < 0 || t->fd < 0 ? -errno : connect_both(t, listener);
	if (!err)
		err = -pthread_create(&t->drain, NULL, drain, t);
	if (listener >= 0)
		close(listener);
	if (err) {
		if (t->other_end >= 0)
			close(t->other_end);
		if (t->fd >= 0)
			close(t->fd);
	}
	return err;
}

void target_close(struct target *t)
{
	if (t->is_socket) {
		shutdown(t->fd, SHUT_RDWR);
		pthread_join(t->drain, NULL);
		close(t->other_end);
	}
	close(t->fd);
}
