/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4096

static struct {
	struct io_uring ring;
	bool has_ring;
	int target; /* a file: the device's end of each transfer */
	pthread_mutex_t lock;
	bool used[SLOTS];
	int next; /* where to look first */
} device = {.target = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

int pin_open(void)
{
	int r = io_uring_queue_init(8, &device.ring, 0);

	if (r)
		return r;
	device.has_ring = true;
	r = io_uring_register_buffers_sparse(&device.ring, SLOTS);
	if (r)
		return r;
	device.target = memfd_create("pin", MFD_CLOEXEC);
	return device.target < 0 ? -errno : 0;
}

void pin_close(void)
{
	if (device.has_ring)
		io_uring_queue_exit(&device.ring);
	device.has_ring = false;
	if (device.target >= 0)
		close(device.target);
	device.target = -1;
}

static int set_slot(int slot, char *addr, size_t length)
{
	struct iovec iov = {.iov_base = addr, .iov_len = length};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(&device.ring, (unsigned int)slot, &iov, &tag,
						     1);

	return r < 0 ? r : 0;
}

static int free_slot(void)
{
	int slot = -1;

	pthread_mutex_lock(&device.lock);
	for (int i = 0; i < SLOTS && slot < 0; i++)
		if (!device.used[(device.next + i) % SLOTS])
			slot = (device.next + i) % SLOTS;
	if (slot >= 0) {
		device.used[slot] = true;
		device.next = slot + 1;
	}
	pthread_mutex_unlock(&device.lock);
	return slot;
}

static void give_slot(int slot)
{
	pthread_mutex_lock(&device.lock);
	device.used[slot] = false;
	pthread_mutex_unlock(&device.lock);
}

static int take_slot(struct pin *pin)
{
	int r;

	pin->slot = free_slot();
	if (pin->slot < 0)
		return -ENOSPC;
	r = set_slot(pin->slot, pin->addr, pin->length);
	if (r) {
		give_slot(pin->slot);
		pin->slot = -1;
	}
	return r;
}

static int open_pipe(int fds[2], size_t length)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		fds[0] = fds[1] = -1;
		return -errno;
	}
	return fcntl(fds[1], F_SETPIPE_SZ, (int)length) < 0 ? -errno : 0;
}

static void close_pipe(int fds[2])
{
	for (int i = 0; i < 2; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static int take_pipe(struct pin *pin)
{
	struct iovec iov = {.iov_base = pin->addr, .iov_len = pin->length};
	int r = open_pipe(pin->pipe, pin->length);

	if (!r && vmsplice(pin->pipe[1], &iov, 1, 0) != (ssize_t)pin->length)
		r = -EFAULT;
	if (r)
		close_pipe(pin->pipe);
	return r;
}

int pin_take(struct pin *pin, char *addr, size_t length)
{
	int r;

	*pin = (struct pin){.addr = addr, .length = length, .slot = -1, .pipe = {-1, -1}};
	r = take_slot(pin);
	return r == -EFAULT || r == -EOPNOTSUPP ? take_pipe(pin) : r;
}

void pin_release(struct pin *pin)
{
	close_pipe(pin->pipe);
	if (pin->slot < 0)
		return;
	set_slot(pin->slot, NULL, 0);
	give_slot(pin->slot);
	pin->slot = -1;
}

/* Between the pinned bytes and the start of the device's file. Under the lock. */
static int transfer(const struct pin *pin, const char *addr, size_t length, bool to_memory)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&device.ring);
	struct io_uring_cqe *cqe;
	int r;

	if (to_memory)
		io_uring_prep_read_fixed(sqe, device.target, (char *)(uintptr_t)addr,
					 (unsigned int)length, 0, pin->slot);
	else
		io_uring_prep_write_fixed(sqe, device.target, addr, (unsigned int)length, 0,
					  pin->slot);
	r = io_uring_submit_and_wait(&device.ring, 1);
	if (r >= 0)
		r = io_uring_wait_cqe(&device.ring, &cqe);
	if (r < 0)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(&device.ring, cqe);
	if (r >= 0 && (size_t)r != length)
		return -EIO;
	return r < 0 ? r : 0;
}

static int read_slot(const struct pin *pin, const char *addr, size_t length, char *to)
{
	int r;

	pthread_mutex_lock(&device.lock);
	r = transfer(pin, addr, length, false);
	if (!r && pread(device.target, to, length, 0) != (ssize_t)length)
		r = -EIO;
	pthread_mutex_unlock(&device.lock);
	return r;
}

/* Duplicates the pipe's contents by tee, so that they stay, and reads the copy from its start. */
static int read_pipe(const struct pin *pin, const char *addr, size_t length, char *to)
{
	size_t skip = (size_t)(addr - pin->addr), at = 0;
	char skipped[4096];
	ssize_t got = 1;
	int fds[2], r = open_pipe(fds, pin->length);

	if (!r && tee(pin->pipe[0], fds[1], pin->length, 0) != (ssize_t)pin->length)
		r = -EIO;
	for (; !r && at < skip + length; at += (size_t)got) {
		size_t left = at < skip ? skip - at : skip + length - at;

		if (at < skip)
			got = read(fds[0], skipped,
				   left < sizeof(skipped) ? left : sizeof(skipped));
		else
			got = read(fds[0], to + (at - skip), left);
		if (got <= 0)
			r = -EIO;
	}
	close_pipe(fds);
	return r;
}

int pin_read(const struct pin *pin, const char *addr, size_t length, char *to)
{
	return pin->slot < 0 ? read_pipe(pin, addr, length, to) : read_slot(pin, addr, length, to);
}

int pin_write(const struct pin *pin, const char *addr, size_t length, const char *from)
{
	int r = 0;

	if (pin->slot < 0)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&device.lock);
	if (pwrite(device.target, from, length, 0) != (ssize_t)length)
		r = -EIO;
	if (!r)
		r = transfer(pin, addr, length, true);
	pthread_mutex_unlock(&device.lock);
	return r;
}

long pin_count(const struct pin *pin, const char *addr, size_t length, char byte)
{
	char chunk[4096];
	size_t here;
	long n = 0;
	int r;

	for (size_t at = 0; at < length; at += here) {
		here = length - at < sizeof(chunk) ? length - at : sizeof(chunk);
		r = pin_read(pin, addr + at, here, chunk);
		if (r)
			return r;
		for (size_t i = 0; i < here; i++)
			n += chunk[i] == byte;
	}
	return n;
}
