/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory regions of the device: each is one pin. */
#include "tests/verbs/device/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "coverage/pin.h"
#include "tests/verbs/device/device.h"

/* verbs.h has macros of these names, which choose between the functions. */
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define REMOTE_ATOMIC_OR_WRITE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define KNOWN                                                                       \
	(IBV_ACCESS_LOCAL_WRITE | REMOTE_ATOMIC_OR_WRITE | IBV_ACCESS_REMOTE_READ | \
	 IBV_ACCESS_OPTIONAL_RANGE)

struct region {
	struct ibv_mr mr;
	struct pin pin;
	unsigned int access;
	uint64_t iova; /* the number of the byte at mr.addr */
};

/* A key is a place in the table, which no other region has, and 8 bits that change each time the place is used. */
static struct {
	pthread_mutex_t lock; /* held during transfers: a region that is in use stays */
	struct region *regions[MEMORY_MAX];
	unsigned char generation[MEMORY_MAX];
	unsigned int live, next;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

unsigned int verbs_device_live(void)
{
	unsigned int live;

	pthread_mutex_lock(&table.lock);
	live = table.live;
	pthread_mutex_unlock(&table.lock);
	return live;
}

/* ---------------------------------------------------------------------------------- registrations */

static int enter(struct region *region)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&table.lock);
	for (unsigned int i = 0; i < MEMORY_MAX && r; i++) {
		unsigned int place = (table.next + i) % MEMORY_MAX;

		if (table.regions[place])
			continue;
		table.regions[place] = region;
		table.next = place + 1;
		table.live++;
		region->mr.lkey = region->mr.rkey = (place + 1) << 8 | ++table.generation[place];
		r = 0;
	}
	pthread_mutex_unlock(&table.lock);
	return r;
}

static void leave(const struct region *region)
{
	pthread_mutex_lock(&table.lock);
	table.regions[(region->mr.lkey >> 8) - 1] = NULL;
	table.live--;
	pthread_mutex_unlock(&table.lock);
}

static void wait_ms(unsigned int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (ms && nanosleep(&left, &left) && errno == EINTR)
		;
}

/* What the kernel refuses whatever the device is. */
static int check(size_t length, unsigned int access)
{
	if (!length || length > MEMORY_MAX_LENGTH || access & ~(unsigned int)KNOWN)
		return -EINVAL;
	return access & REMOTE_ATOMIC_OR_WRITE && !(access & IBV_ACCESS_LOCAL_WRITE) ? -EINVAL : 0;
}

static int shall_fail(void)
{
	if (__atomic_load_n(&verbs_device_opts.fail_nth, __ATOMIC_RELAXED) == 0 ||
	    __atomic_sub_fetch(&verbs_device_opts.fail_nth, 1, __ATOMIC_RELAXED) != 0)
		return 0;
	return verbs_device_opts.fail_errno ? -verbs_device_opts.fail_errno : -ENOMEM;
}

static int open_pins(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool open;
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!open)
		r = pin_open();
	open |= !r;
	pthread_mutex_unlock(&lock);
	return r;
}

static int pin(struct region *region)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), addr = (uintptr_t)region->mr.addr;
	uintptr_t start = addr & ~(page - 1);
	uintptr_t end = (addr + region->mr.length + page - 1) & ~(page - 1);
	int r = open_pins();

	return r ? r : pin_take(&region->pin, (char *)start, end - start);
}

static int make(struct region *region)
{
	int r = check(region->mr.length, region->access);

	if (!r)
		r = shall_fail();
	if (!r)
		r = pin(region);
	if (r)
		return r;
	if (verbs_device_opts.pinned)
		verbs_device_opts.pinned(region->mr.addr, region->mr.length);
	wait_ms(verbs_device_opts.delay_ms);
	r = enter(region);
	if (r)
		pin_release(&region->pin);
	return r;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
				unsigned int access)
{
	struct region *region = calloc(1, sizeof(*region));
	int r = -ENOMEM;

	if (region) {
		region->mr.context = pd->context;
		region->mr.pd = pd;
		region->mr.addr = addr;
		region->mr.length = length;
		region->access = access;
		region->iova = iova;
		r = make(region);
	}
	if (!r)
		return &region->mr;
	free(region);
	errno = -r;
	return NULL;
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova,
			       int access)
{
	return ibv_reg_mr_iova2(pd, addr, length, iova, (unsigned int)access);
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	return ibv_reg_mr_iova2(pd, addr, length, (uintptr_t)addr, (unsigned int)access);
}

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova,
				 int fd, int access)
{
	errno = EOPNOTSUPP;
	return NULL;
}

/* Of its memory alone, and what that is used for. It gets another key. */
static int move(struct region *region, void *addr, size_t length, unsigned int access)
{
	struct region was = *region;

	region->mr.addr = addr;
	region->mr.length = length;
	region->access = access;
	region->iova = (uintptr_t)addr;
	if (make(region)) {
		*region = was;
		return IBV_REREG_MR_ERR_CMD;
	}
	leave(&was);
	pin_release(&was.pin);
	return 0;
}

int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t length,
		 int access)
{
	struct region *region = (struct region *)mr;
	int error = verbs_device_opts.rereg_error, r = 0;

	verbs_device_opts.rereg_error = 0;
	if (error == IBV_REREG_MR_ERR_INPUT || error == IBV_REREG_MR_ERR_DONT_FORK_NEW)
		return error;
	if (flags & IBV_REREG_MR_CHANGE_PD)
		mr->pd = pd;
	if (flags & IBV_REREG_MR_CHANGE_TRANSLATION)
		r = move(region, addr, length,
			 flags & IBV_REREG_MR_CHANGE_ACCESS ? (unsigned int)access
							    : region->access);
	else if (flags & IBV_REREG_MR_CHANGE_ACCESS)
		region->access = (unsigned int)access;
	return r ? r : error;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct region *region = (struct region *)mr;

	if (verbs_device_opts.refuse_dereg) {
		verbs_device_opts.refuse_dereg--;
		return EBUSY;
	}
	leave(region);
	pin_release(&region->pin);
	free(region);
	return 0;
}

/* -------------------------------------------------------------------------------------- transfers */

/* Returns the byte's address in the region's pin, or NULL, with *r. Under the lock. */
static char *find(const struct memory_part *part, struct region **region, int *r)
{
	unsigned int place = (part->key >> 8) - 1;
	uint64_t offset;

	*r = -EINVAL;
	*region = place < MEMORY_MAX ? table.regions[place] : NULL;
	if (!*region || (*region)->mr.lkey != part->key ||
	    (part->pd && (*region)->mr.pd != part->pd))
		return NULL;
	offset = part->addr - (*region)->iova;
	if (offset > (*region)->mr.length || part->length > (*region)->mr.length - offset)
		return NULL;
	*r = -EACCES;
	if (part->access & ~(*region)->access)
		return NULL;
	*r = 0;
	return (char *)(*region)->mr.addr + offset;
}

int memory_read(const struct memory_part *part, void *to)
{
	struct region *region;
	char *at;
	int r;

	pthread_mutex_lock(&table.lock);
	at = find(part, &region, &r);
	if (at)
		r = pin_read(&region->pin, at, part->length, to);
	pthread_mutex_unlock(&table.lock);
	return r;
}

int memory_write(const struct memory_part *part, const void *from)
{
	struct region *region;
	char *at;
	int r;

	pthread_mutex_lock(&table.lock);
	at = find(part, &region, &r);
	if (at)
		r = pin_write(&region->pin, at, part->length, from);
	pthread_mutex_unlock(&table.lock);
	return r;
}

int verbs_device_read(uint32_t key, const void *addr, size_t length, void *to)
{
	struct memory_part part = {.key = key, .addr = (uintptr_t)addr, .length = length};

	return memory_read(&part, to);
}
