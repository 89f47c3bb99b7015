/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/regcache/stub_device.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/pages.h"
#include "os/syscall.h"
#include "tests/harness/test.h"

/* So many registrations are not used again, so that one that is undone late is still known as old. */
#define QUARANTINE 256

void stub_init(struct stub_device *dev)
{
	*dev = (struct stub_device){0};
	pthread_mutex_init(&dev->lock, NULL);
	dev->old_end = &dev->old;
}

void stub_exit(struct stub_device *dev)
{
	struct stub_reg *r, *next;

	CHECK_EQ(dev->live, 0);
	CHECK_EQ(dev->bytes, 0);
	CHECK_EQ(dev->registered, dev->deregistered);
	CHECK(!dev->regs);
	for (r = dev->old; r; r = next) {
		next = r->next;
		free(r);
	}
	pthread_mutex_destroy(&dev->lock);
}

/* A copy: once entered is open, the test may set up the next stop. */
static void stop(struct stub_device *dev, struct stub_stop at,
		 const struct mrn_regcache_entry *entry)
{
	if (at.fn)
		at.fn(dev, entry);
	if (at.entered)
		test_gate_open(at.entered);
	if (at.leave)
		test_gate_wait(at.leave);
}

/* Not by a load: the page may be gone, and then this says so. */
static int read_real(uintptr_t page, uint64_t *value)
{
	struct iovec to = {.iov_base = value, .iov_len = sizeof(*value)};
	struct iovec from = {.iov_base = (void *)page, .iov_len = sizeof(*value)};
	long r = mrn_sys6(SYS_process_vm_readv, getpid(), (long)&to, 1, (long)&from, 1, 0);

	return r == sizeof(*value) ? 0 : -EFAULT;
}

static int read_page(struct stub_device *dev, uintptr_t page, uint64_t *value)
{
	switch (dev->memory) {
	case STUB_NO_MEMORY:
		*value = 0;
		return 0;
	case STUB_REAL:
		return read_real(page, value);
	case STUB_ORACLE:
		*value = __atomic_load_n(&dev->oracle[(page - dev->oracle_base) / mrn_page_size()],
					 __ATOMIC_ACQUIRE);
		return 0;
	}
	return -EINVAL;
}

static int read_pages(struct stub_device *dev, struct stub_reg *r)
{
	size_t pages = r->entry.length / mrn_page_size();

	for (size_t i = 0; i < pages && i < STUB_PAGES; i++) {
		int error = read_page(dev, r->entry.addr + i * mrn_page_size(), &r->generation[i]);

		if (error)
			return error;
		if (dev->dawdle && i == pages / 2)
			sched_yield();
	}
	return 0;
}

static struct stub_reg *new_reg(struct stub_device *dev)
{
	struct stub_reg *r = NULL;

	if (dev->nr_old > QUARANTINE) {
		r = dev->old;
		dev->old = r->next;
		dev->nr_old--;
	}
	if (!r)
		r = malloc(sizeof(*r));
	CHECK(r);
	*r = (struct stub_reg){0};
	return r;
}

/* Under the lock. */
static void forget(struct stub_device *dev, struct stub_reg *r)
{
	r->live = false;
	r->next = NULL;
	*dev->old_end = r;
	dev->old_end = &r->next;
	dev->nr_old++;
}

static int refusal(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	if (dev->fail_times) {
		if (dev->fail_times != UINT32_MAX)
			dev->fail_times--;
		return dev->fail;
	}
	if (dev->fail_above && entry->length > dev->fail_above)
		return -EINVAL;
	if (dev->slots && dev->live >= dev->slots)
		return -ENOSPC;
	return 0;
}

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct stub_device *dev = ctx;
	struct stub_reg *r;
	int error;

	CHECK_EQ(entry->addr % mrn_page_size(), 0);
	CHECK_EQ(entry->length % mrn_page_size(), 0);
	CHECK(entry->length && entry->access);

	pthread_mutex_lock(&dev->lock);
	dev->calls++;
	r = new_reg(dev);
	r->entry = *entry;
	pthread_mutex_unlock(&dev->lock);

	/* What a pin would hold is what is there now; what comes later is the test's affair. */
	error = read_pages(dev, r);
	stop(dev, dev->on_register, entry);

	pthread_mutex_lock(&dev->lock);
	if (!error)
		error = refusal(dev, entry);
	if (error) {
		dev->refused++;
		forget(dev, r);
		pthread_mutex_unlock(&dev->lock);
		return error;
	}
	entry->handle.ptr = r;
	r->entry = *entry;
	r->serial = ++dev->registered;
	r->live = true;
	r->next = dev->regs;
	if (dev->regs)
		dev->regs->prev = r;
	dev->regs = r;
	dev->bytes += entry->length;
	if (++dev->live > dev->most_live)
		dev->most_live = dev->live;
	if (dev->bytes > dev->most_bytes)
		dev->most_bytes = dev->bytes;
	pthread_mutex_unlock(&dev->lock);
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	struct stub_device *dev = ctx;
	struct stub_reg *r = entry->handle.ptr;

	stop(dev, dev->on_deregister, entry);
	pthread_mutex_lock(&dev->lock);
	CHECK_MSG(r->live, "registration %llu undone twice", (unsigned long long)r->serial);
	CHECK_MSG(!r->users, "registration %llu undone in use", (unsigned long long)r->serial);
	CHECK_EQ(r->entry.addr, entry->addr);
	CHECK_EQ(r->entry.length, entry->length);
	CHECK_EQ(r->entry.access, entry->access);
	dev->deregistered++;
	dev->live--;
	dev->bytes -= entry->length;
	if (r->next)
		r->next->prev = r->prev;
	*(r->prev ? &r->prev->next : &dev->regs) = r->next;
	forget(dev, r);
	pthread_mutex_unlock(&dev->lock);
}

const struct mrn_regcache_ops stub_ops = {
	.register_range = register_range,
	.deregister_range = deregister_range,
};

struct stub_reg *stub_reg(const struct mrn_regcache_entry *entry)
{
	return entry->handle.ptr;
}

struct stub_reg *stub_use(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	struct stub_reg *r = stub_reg(entry);

	pthread_mutex_lock(&dev->lock);
	CHECK_MSG(r->live, "entry of registration %llu, which is undone",
		  (unsigned long long)r->serial);
	CHECK(r->entry.addr == entry->addr && r->entry.length == entry->length);
	r->users++;
	pthread_mutex_unlock(&dev->lock);
	return r;
}

void stub_unuse(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	struct stub_reg *r = stub_reg(entry);

	pthread_mutex_lock(&dev->lock);
	CHECK(r->live && r->users);
	r->users--;
	pthread_mutex_unlock(&dev->lock);
}

bool stub_has(struct stub_device *dev, uintptr_t addr, size_t length)
{
	struct stub_reg *r;

	pthread_mutex_lock(&dev->lock);
	for (r = dev->regs; r; r = r->next)
		if (r->entry.addr <= addr && addr + length <= r->entry.addr + r->entry.length)
			break;
	pthread_mutex_unlock(&dev->lock);
	return r;
}

uint64_t stub_generation(const struct stub_reg *reg, uintptr_t addr)
{
	size_t page = (addr - reg->entry.addr) / mrn_page_size();

	CHECK(page < STUB_PAGES);
	return reg->generation[page];
}
