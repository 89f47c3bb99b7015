/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the catalog share. */
#ifndef COVERAGE_CAUSE_WAY_H
#define COVERAGE_CAUSE_WAY_H

#include "coverage/cause/cause.h"

/* A way to do it. The bytes are written, the hole is refilled and the room is unmapped in place.c. */
struct cause_way {
	int (*prepare)(struct cause_place *p);
	int (*change)(struct cause_place *p);
	int (*refill)(struct cause_place *p); /* NULL: nothing more */
	void (*drop)(struct cause_place *p);  /* NULL: nothing more */
};

extern const struct cause_way cause_munmap, cause_mmap_fixed, cause_mremap_move,
	cause_mremap_shrink, cause_mremap_onto, cause_mremap_dontunmap, cause_remap_file_pages,
	cause_mremap_again, cause_mprotect, cause_pkey_mprotect, cause_uffd_move;
extern const struct cause_way cause_advise, cause_advise_locked, cause_advise_file, cause_collapse,
	cause_guard, cause_process_madvise;
extern const struct cause_way cause_punch_hole, cause_punch_hole_ioctl, cause_fallocate,
	cause_ftruncate, cause_truncate, cause_open, cause_open_handle, cause_creat, cause_fopen;
extern const struct cause_way cause_shmdt, cause_shmat_remap;
extern const struct cause_way cause_brk, cause_sbrk, cause_free, cause_realloc, cause_malloc_trim;
extern const struct cause_way cause_thread_stack, cause_dlclose, cause_fork_write, cause_exec;
extern const struct cause_way cause_uring_madvise, cause_uring_fallocate, cause_uring_ftruncate;

/* libc's errno convention into ours. */
int cause_result(long r);
/* A raw call's value into ours: an address is no error. */
int cause_raw_result(long r);
/* Says why and returns -EOPNOTSUPP. */
int cause_lacks(struct cause_place *p, const char *why);

/* What a change is of: the whole place, or its middle. */
char *cause_from(const struct cause_place *p);
size_t cause_size(const struct cause_place *p);

/* Is something mapped at this page? */
bool cause_is_mapped(const char *addr);
/* The change has unmapped this. */
void cause_gone(struct cause_place *p, char *addr, size_t length);

/* Reserves addresses for a place, and for a spare; nothing is accessible there yet. */
int cause_reserve(struct cause_place *p, size_t alignment);
/* Maps what p->addr or p->spare reserves: anonymous memory with fd -1, a shared file's otherwise. */
int cause_map(char *addr, size_t length, int fd);
/* For ways that need no more: an anonymous place; one with a spare; one of a memfd. */
int cause_prepare_anonymous(struct cause_place *p);
int cause_prepare_spare(struct cause_place *p);
int cause_prepare_memfd(struct cause_place *p);
/* After a truncation: the memfd is as long as the place again. */
int cause_refill_length(struct cause_place *p);

#endif
