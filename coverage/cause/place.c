/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/cause/way.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "os/libc_call.h"
#include "os/syscall.h"

#define PAGES 16

/*
 * The address to reserve. The kernel gives out the highest gap that is large enough, so nobody gets a hole down here; a
 * hole among the other mappings could be taken before it is refilled. Each place has other addresses, so that a look-up
 * never finds remains of another place.
 */
#define FAR_BELOW  (128UL << 30)
#define FAR_APART  (64UL << 20)
#define FAR_PLACES 4096

static unsigned long far_below(void)
{
	static unsigned int n;

	return FAR_BELOW + __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED) % FAR_PLACES * FAR_APART;
}

long cause_call(const struct cause_place *p, long nr, const long a[6])
{
	return p->cause->raw ? mrn_own6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
			     : mrn_libc_call(nr, a);
}

int cause_result(long r)
{
	return mrn_sys_failed(r) ? (int)r : 0;
}

int cause_lacks(struct cause_place *p, const char *why)
{
	p->why = why;
	return -EOPNOTSUPP;
}

char *cause_from(const struct cause_place *p)
{
	return p->cause->part ? p->addr + p->length / 4 : p->addr;
}

size_t cause_size(const struct cause_place *p)
{
	return p->cause->part ? p->length / 2 : p->length;
}

bool cause_is_mapped(const char *addr)
{
	unsigned char in_core;

	return mrn_sys3(SYS_mincore, (long)addr, getpagesize(), (long)&in_core) == 0;
}

void cause_gone(struct cause_place *p, char *addr, size_t length)
{
	p->hole = addr;
	p->hole_length = length;
}

int cause_reserve(struct cause_place *p, size_t alignment)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	const size_t size = 5 * p->length + alignment;
	const long room =
		mrn_sys6(SYS_mmap, (long)far_below(), (long)size, PROT_NONE, flags, -1, 0);

	if (mrn_sys_failed(room))
		return (int)room;
	p->room = (char *)room;
	p->room_length = size;
	p->addr = p->room + p->length;
	p->addr += -(uintptr_t)p->addr & (alignment - 1);
	/* Not side by side: the two would become one mapping. */
	p->spare = p->addr + 2 * p->length;
	return 0;
}

int cause_map(char *addr, size_t length, int fd)
{
	const int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	return cause_result(
		mrn_sys6(SYS_mmap, (long)addr, (long)length, PROT_READ | PROT_WRITE, flags, fd, 0));
}

int cause_prepare_anonymous(struct cause_place *p)
{
	int r = cause_reserve(p, (size_t)getpagesize());

	return r ? r : cause_map(p->addr, p->length, -1);
}

int cause_prepare_spare(struct cause_place *p)
{
	int r = cause_prepare_anonymous(p);

	if (!r)
		r = cause_map(p->spare, p->length, -1);
	/* Gives the spare pages that can be moved. */
	if (!r)
		memset(p->spare, 'S', p->length);
	return r;
}

int cause_refill_length(struct cause_place *p)
{
	return (int)mrn_sys2(SYS_ftruncate, p->fd, (long)p->length);
}

int cause_prepare_memfd(struct cause_place *p)
{
	int r = cause_reserve(p, (size_t)getpagesize());

	if (r)
		return r;
	p->fd = (int)mrn_sys2(SYS_memfd_create, (long)"mrn-cause", MFD_CLOEXEC);
	if (p->fd < 0)
		return p->fd;
	r = cause_refill_length(p);
	return r ? r : cause_map(p->addr, p->length, p->fd);
}

const struct cause *cause_find(const char *name)
{
	for (size_t i = 0; i < cause_count; i++)
		if (strcmp(cause_table[i].name, name) == 0)
			return &cause_table[i];
	return NULL;
}

int cause_prepare(const struct cause *cause, struct cause_place *p)
{
	int r;

	*p = (struct cause_place){
		.length = PAGES * (size_t)getpagesize(),
		.why = "",
		.cause = cause,
		.fd = -1,
		.shm = -1,
		.pkey = -1,
	};
	r = cause->way->prepare(p);
	if (!r)
		memset(p->addr, 'A', p->length);
	return r;
}

int cause_change(struct cause_place *p)
{
	int r = p->cause->way->change(p);

	if ((r == -ENOSYS || r == -EOPNOTSUPP) && !*p->why)
		return cause_lacks(p, "this kernel does not have it");
	return r;
}

static int fill_hole(struct cause_place *p)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	long at = mrn_sys6(SYS_mmap, (long)p->hole, (long)p->hole_length, PROT_READ | PROT_WRITE,
			   flags, -1, 0);

	if (mrn_sys_failed(at))
		return at == -EEXIST ? -EAGAIN : (int)at;
	/* Before Linux 4.17 the address is only a hint. */
	if ((char *)at != p->hole) {
		mrn_sys2(SYS_munmap, at, (long)p->hole_length);
		return -EAGAIN;
	}
	p->filled = true;
	return 0;
}

int cause_refill(struct cause_place *p)
{
	int r = p->hole_length ? fill_hole(p) : 0;

	if (!r && p->cause->way->refill)
		r = p->cause->way->refill(p);
	if (!r)
		memset(p->addr, 'B', p->length);
	return r;
}

static void unmap(const char *from, const char *to)
{
	if (from < to)
		mrn_sys2(SYS_munmap, (long)from, to - from);
}

/* Spares the hole: its addresses may have been given to another mapping. */
static void unmap_room(struct cause_place *p)
{
	const char *from = p->room;

	if (p->hole_length && !p->filled) {
		unmap(from, p->hole);
		from = p->hole + p->hole_length;
	}
	if (p->spare_gone) {
		unmap(from, p->spare);
		from = p->spare + p->length;
	}
	unmap(from, p->room + p->room_length);
}

void cause_drop(struct cause_place *p)
{
	if (p->cause->way->drop)
		p->cause->way->drop(p);
	if (p->room)
		unmap_room(p);
	else if (p->filled)
		unmap(p->hole, p->hole + p->hole_length);
	if (p->is_stray)
		unmap(p->stray, p->stray + p->length);
	if (p->fd >= 0)
		mrn_sys1(SYS_close, p->fd);
	if (p->shm >= 0)
		shmctl(p->shm, IPC_RMID, NULL);
	*p = (struct cause_place){.why = ""};
}
