/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappings: unmapped, replaced, moved, shrunk, protected. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/syscall.h"

static int change_munmap(struct cause_place *p)
{
	char *from = cause_from(p);
	const size_t size = cause_size(p);
	int r = (int)CAUSE_CALL(p, SYS_munmap, (long)from, (long)size);

	if (!r)
		cause_gone(p, from, size);
	return r;
}

const struct cause_way cause_munmap = {.prepare = cause_prepare_anonymous, .change = change_munmap};

static int change_mmap_fixed(struct cause_place *p)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	return cause_result(CAUSE_CALL(p, SYS_mmap, (long)cause_from(p), (long)cause_size(p), prot,
				       flags, -1, 0));
}

const struct cause_way cause_mmap_fixed = {.prepare = cause_prepare_anonymous,
					   .change = change_mmap_fixed};

/* Returns the new address, or -errno. */
static long move(struct cause_place *p, char *from, char *to, int more)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED | more;

	return CAUSE_CALL(p, SYS_mremap, (long)from, (long)p->length, (long)p->length, flags,
			  (long)to);
}

/* Some hooks forget the fifth argument. The source is gone all the same. */
static int note_stray(struct cause_place *p, long at, const char *to)
{
	if (mrn_sys_failed(at))
		return (int)at;
	if ((char *)at != to) {
		p->is_stray = true;
		p->stray = (char *)at;
		p->why = "mremap loses its fifth argument: the memory moves elsewhere";
	}
	return 0;
}

static int change_mremap_move(struct cause_place *p)
{
	const int r = note_stray(p, move(p, p->addr, p->spare, 0), p->spare);

	if (!r)
		cause_gone(p, p->addr, p->length);
	return r;
}

const struct cause_way cause_mremap_move = {.prepare = cause_prepare_spare,
					    .change = change_mremap_move};

static int change_mremap_onto(struct cause_place *p)
{
	const int r = note_stray(p, move(p, p->spare, p->addr, 0), p->addr);

	p->spare_gone = !r;
	return p->is_stray ? -EFAULT : r;
}

const struct cause_way cause_mremap_onto = {.prepare = cause_prepare_spare,
					    .change = change_mremap_onto};

static int prepare_shared_spare(struct cause_place *p)
{
	const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
	int r = cause_prepare_anonymous(p);

	if (r)
		return r;
	return cause_result(mrn_sys6(SYS_mmap, (long)p->spare, (long)p->length,
				     PROT_READ | PROT_WRITE, flags, -1, 0));
}

/* An old size that the kernel rounds up to 0. */
static int change_mremap_again(struct cause_place *p)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	long at = CAUSE_CALL(p, SYS_mremap, (long)p->spare, -1, (long)p->length, flags,
			     (long)p->addr);
	int r = note_stray(p, at, p->addr);

	return p->is_stray ? -EFAULT : r;
}

const struct cause_way cause_mremap_again = {.prepare = prepare_shared_spare,
					     .change = change_mremap_again};

static int change_mremap_dontunmap(struct cause_place *p)
{
	const int r = note_stray(p, move(p, p->addr, p->spare, MREMAP_DONTUNMAP), p->spare);

	return r == -EINVAL ? cause_lacks(p, "MREMAP_DONTUNMAP needs Linux 5.7") : r;
}

const struct cause_way cause_mremap_dontunmap = {.prepare = cause_prepare_spare,
						 .change = change_mremap_dontunmap};

static int change_mremap_shrink(struct cause_place *p)
{
	const size_t half = p->length / 2;
	int r = cause_result(CAUSE_CALL(p, SYS_mremap, (long)p->addr, (long)p->length, (long)half));

	if (!r)
		cause_gone(p, p->addr + half, half);
	return r;
}

const struct cause_way cause_mremap_shrink = {.prepare = cause_prepare_anonymous,
					      .change = change_mremap_shrink};

/* Twice as long, so that the place can show the other half. */
static int prepare_two_halves(struct cause_place *p)
{
	int r = cause_prepare_memfd(p);

	return r ? r : (int)mrn_sys2(SYS_ftruncate, p->fd, (long)(2 * p->length));
}

static int change_remap_file_pages(struct cause_place *p)
{
	const size_t to = p->length / (size_t)getpagesize();

	return (int)CAUSE_CALL(p, SYS_remap_file_pages, (long)p->addr, (long)p->length, 0,
			       (long)to);
}

const struct cause_way cause_remap_file_pages = {.prepare = prepare_two_halves,
						 .change = change_remap_file_pages};

static int change_mprotect(struct cause_place *p)
{
	return (int)CAUSE_CALL(p, SYS_mprotect, (long)p->addr, (long)p->length, PROT_READ);
}

static int make_writable(struct cause_place *p)
{
	return (int)mrn_sys4(SYS_pkey_mprotect, (long)p->addr, (long)p->length,
			     PROT_READ | PROT_WRITE, p->pkey < 0 ? -1 : 0);
}

static int refill_mprotect(struct cause_place *p)
{
	return (int)mrn_sys3(SYS_mprotect, (long)p->addr, (long)p->length, PROT_READ | PROT_WRITE);
}

const struct cause_way cause_mprotect = {.prepare = cause_prepare_anonymous,
					 .change = change_mprotect,
					 .refill = refill_mprotect};

/* Without protection keys in the processor, -1 is no key: the same call acts as mprotect. */
static int prepare_pkey(struct cause_place *p)
{
	p->pkey = (int)mrn_sys2(SYS_pkey_alloc, 0, 0);
	return cause_prepare_anonymous(p);
}

static int change_pkey_mprotect(struct cause_place *p)
{
	const int key = p->pkey < 0 ? -1 : p->pkey;

	return (int)CAUSE_CALL(p, SYS_pkey_mprotect, (long)p->addr, (long)p->length, PROT_READ,
			       key);
}

static void drop_pkey(struct cause_place *p)
{
	if (p->pkey < 0)
		return;
	make_writable(p);
	mrn_sys1(SYS_pkey_free, p->pkey);
}

const struct cause_way cause_pkey_mprotect = {.prepare = prepare_pkey,
					      .change = change_pkey_mprotect,
					      .refill = make_writable,
					      .drop = drop_pkey};
