/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the catalog. */
#ifndef COVERAGE_CAUSE_WAY_H
#define COVERAGE_CAUSE_WAY_H

#include "coverage/cause/cause.h"

/* A way to make a cause happen. place.c writes the bytes, refills the hole and unmaps the room. */
struct cause_way {
	int (*prepare)(struct cause_place *p);
	int (*change)(struct cause_place *p);
	int (*refill)(struct cause_place *p); /* NULL: nothing more */
	void (*drop)(struct cause_place *p);  /* NULL: nothing more */
};

/* The way of each row of the catalog; the file of its subject defines it. */
#define BOTH(NAME, ABOUT, WAY, ...) extern const struct cause_way cause_##WAY;
#define ONE(NAME, ABOUT, WAY, ...)  BOTH(NAME, ABOUT, WAY)
#include "coverage/cause/catalog.def"

/* The call that is the change: by libc's function or, for a raw cause, past it. The kernel's own value. */
long cause_call(const struct cause_place *p, long nr, const long a[6]);
#define CAUSE_CALL(p, nr, ...) cause_call(p, nr, (const long[6]){__VA_ARGS__})
/* 0 or -errno for the kernel's own value: an address is no error. */
int cause_result(long r);
/* Says why and returns -EOPNOTSUPP. */
int cause_lacks(struct cause_place *p, const char *why);

/* What a change affects: the whole place, or its middle. */
char *cause_from(const struct cause_place *p);
size_t cause_size(const struct cause_place *p);

/* True if something is mapped at this page. */
bool cause_is_mapped(const char *addr);
/* Notes that the change has unmapped this. */
void cause_gone(struct cause_place *p, char *addr, size_t length);

/* Reserves addresses, inaccessible, for a place and a spare. */
int cause_reserve(struct cause_place *p, size_t alignment);
/* Maps what p->addr or p->spare reserves: anonymous memory if fd is -1, else a shared file's. */
int cause_map(char *addr, size_t length, int fd);
/* Complete prepare functions: an anonymous place; one with a spare; one of a memfd. */
int cause_prepare_anonymous(struct cause_place *p);
int cause_prepare_spare(struct cause_place *p);
int cause_prepare_memfd(struct cause_place *p);
/* After a truncation: makes the memfd as long as the place again. */
int cause_refill_length(struct cause_place *p);

#endif
