/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own view of a ring's memory: a mapping of the ring's descriptor, so that it does not matter where the program maps
 * it. No child inherits it, where it would keep the ring alive. If the ring is in the program's memory (NO_MMAP), that is
 * read through the kernel, since the program may take it away.
 */
#include <string.h>
#include <sys/mman.h>

#include "check/record/uring_internal.h"
#include "os/syscall.h"

#include "os/event_path.h"

void *uring_map(size_t size, int fd, uint64_t offset)
{
	long r = mrn_own6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, fd, (long)offset);

	if (mrn_sys_failed(r))
		return NULL;
	mrn_sys3(SYS_madvise, r, (long)size, MADV_DONTFORK);
	return (void *)r;
}

void uring_unmap(void *view, size_t size)
{
	if (view)
		mrn_sys2(SYS_munmap, (long)view, (long)size);
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

void uring_view_open(struct uring_ring *r, int fd, const struct io_uring_params *p,
		     const uint64_t memory[2])
{
	struct uring_view *v = &r->view;
	const bool has_array = !(p->flags & URING_SETUP_NO_SQARRAY);

	v->sqe_shift = p->flags & IORING_SETUP_SQE128 ? 7 : 6;
	v->cqe_shift = p->flags & IORING_SETUP_CQE32 ? 5 : 4;
	v->sq_entries = p->sq_entries;
	v->cq_entries = p->cq_entries;
	v->sqes_size = (size_t)p->sq_entries << v->sqe_shift;
	v->rings_size = p->cq_off.cqes + ((size_t)p->cq_entries << v->cqe_shift);
	if (has_array)
		v->rings_size = larger(v->rings_size, p->sq_off.array + (size_t)p->sq_entries * 4);
	v->is_programs = p->flags & URING_SETUP_NO_MMAP;
	if (p->flags & ~URING_SETUP_KNOWN || !(p->features & IORING_FEAT_SINGLE_MMAP))
		return;
	if (v->is_programs) {
		v->rings = (char *)(uintptr_t)memory[0];
		v->sqes = (char *)(uintptr_t)memory[1];
	} else {
		v->rings = uring_map(v->rings_size, fd, IORING_OFF_SQ_RING);
		v->sqes = uring_map(v->sqes_size, fd, IORING_OFF_SQES);
	}
	if (!v->rings || !v->sqes) {
		uring_view_close(r);
		return;
	}
	v->sq_flags = (uint32_t *)(void *)(v->rings + p->sq_off.flags);
	v->sq_head = (const uint32_t *)(void *)(v->rings + p->sq_off.head);
	v->sq_tail = (const uint32_t *)(void *)(v->rings + p->sq_off.tail);
	v->sq_array = has_array ? (const uint32_t *)(void *)(v->rings + p->sq_off.array) : NULL;
	v->cq_head = (const uint32_t *)(void *)(v->rings + p->cq_off.head);
	v->cq_tail = (const uint32_t *)(void *)(v->rings + p->cq_off.tail);
	v->cqes = v->rings + p->cq_off.cqes;
	r->is_seen = true;
}

void uring_view_close(struct uring_ring *r)
{
	struct uring_view *v = &r->view;

	r->is_seen = false;
	if (!v->is_programs) {
		uring_unmap(v->rings, v->rings_size);
		uring_unmap(v->sqes, v->sqes_size);
	}
	*v = (struct uring_view){0};
}

bool uring_view_read(const struct uring_view *v, void *into, const void *from, size_t size)
{
	if (v->is_programs)
		return !check_read(into, (uintptr_t)from, size);
	memcpy(into, from, size);
	return true;
}

bool uring_view_word(const struct uring_view *v, const uint32_t *word, uint32_t *value)
{
	if (v->is_programs)
		return !check_read(value, (uintptr_t)word, sizeof(*value));
	*value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	return true;
}
