/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/pin_device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness/test.h"

static int update(struct pin_device *dev, unsigned int slot, void *base, size_t length)
{
	struct iovec iov = {.iov_base = base, .iov_len = length};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(&dev->ring, slot, &iov, &tag, 1);

	return r < 0 ? r : 0;
}

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct pin_device *dev = ctx;
	unsigned int slot;
	int r;

	pthread_mutex_lock(&dev->lock);
	CHECK(dev->n_free);
	slot = dev->free_slots[--dev->n_free];
	pthread_mutex_unlock(&dev->lock);
	r = update(dev, slot, (void *)entry->addr, entry->length);
	if (r) {
		pthread_mutex_lock(&dev->lock);
		dev->free_slots[dev->n_free++] = slot;
		pthread_mutex_unlock(&dev->lock);
		return r;
	}
	entry->handle.u64 = slot;
	if (dev->pinned)
		dev->pinned(dev->arg, entry);
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct pin_device *dev = ctx;

	CHECK_ERR(update(dev, (unsigned int)entry->handle.u64, NULL, 0), 0);
	pthread_mutex_lock(&dev->lock);
	dev->free_slots[dev->n_free++] = (unsigned int)entry->handle.u64;
	pthread_mutex_unlock(&dev->lock);
}

const struct mrn_regcache_ops pin_device_ops = {.register_range = register_range,
						.deregister_range = deregister_range};

void pin_device_open(struct pin_device *dev)
{
	int r;

	memset(dev, 0, sizeof(*dev));
	pthread_mutex_init(&dev->lock, NULL);
	r = io_uring_queue_init(8, &dev->ring, 0);
	if (r)
		SKIP("no io_uring here (%s)", strerror(-r));
	r = io_uring_register_buffers_sparse(&dev->ring, PIN_DEVICE_SLOTS);
	if (r)
		SKIP("io_uring here has no sparse buffer tables (%s)", strerror(-r));
	for (unsigned int i = 0; i < PIN_DEVICE_SLOTS; i++)
		dev->free_slots[dev->n_free++] = i;
	dev->file = memfd_create("pin-device", MFD_CLOEXEC);
	CHECK(dev->file >= 0);
}

void pin_device_close(struct pin_device *dev)
{
	CHECK_EQ(dev->n_free, PIN_DEVICE_SLOTS);
	io_uring_queue_exit(&dev->ring);
	close(dev->file);
}

int pin_device_read(struct pin_device *dev, const struct mrn_regcache_entry *entry,
		    const void *addr, void *to, size_t length)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int r;

	pthread_mutex_lock(&dev->lock);
	sqe = io_uring_get_sqe(&dev->ring);
	CHECK(sqe);
	io_uring_prep_write_fixed(sqe, dev->file, addr, (unsigned int)length, 0,
				  (int)entry->handle.u64);
	CHECK_EQ(io_uring_submit_and_wait(&dev->ring, 1), 1);
	CHECK_ERR(io_uring_wait_cqe(&dev->ring, &cqe), 0);
	r = cqe->res;
	io_uring_cqe_seen(&dev->ring, cqe);
	if (r >= 0) {
		CHECK_EQ(r, length);
		CHECK_EQ(pread(dev->file, to, length, 0), length);
	}
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? r : 0;
}

struct mrn_source *attach_or_skip(unsigned int kinds)
{
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *source;
	int r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &source);

	if (r)
		SKIP("%s(%s)", why, strerror(-r));
	return source;
}

struct mrn_regcache *pin_cache(struct pin_device *dev, struct mrn_source *source, uint64_t need,
			       unsigned int flags)
{
	char why[256] = "";
	struct mrn_regcache_opts config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.source = source,
		.need = need,
		.ops = &pin_device_ops,
		.ctx = dev,
		.max_entries = PIN_CACHE_ENTRIES,
		.flags = flags,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_regcache *cache;
	int r = mrn_regcache_create(&config, &cache);

	CHECK_MSG(r == 0, "%d: %s", r, why);
	return cache;
}

int pin_cache_peek(struct pin_device *dev, struct mrn_regcache *cache, const void *addr)
{
	const struct mrn_regcache_entry *entry;
	unsigned char byte;

	CHECK_ERR(mrn_regcache_get(cache, addr, 1, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(pin_device_read(dev, entry, addr, &byte, 1), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	return byte;
}

bool mapping_has_flag(const void *addr, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, has = false;
	unsigned long start, end;
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)addr && (unsigned long)addr < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	fclose(f);
	return has;
}
