/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to a registration cache, ours or a rival's: the same buffers, in the same order, by the same loops, each
 * side in a process of its own that does one round and ends.
 */
#ifndef BENCH_REGCACHE_WORK_H
#define BENCH_REGCACHE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#define WORK_MAX_THREADS 16

enum work_kind {
	WORK_HIT,  /* get and put of buffers that are cached */
	WORK_MISS, /* of twice as many as the cache may hold, each time the least recently used */
	WORK_MISS_FRESH, /* of buffers that have been mapped since; the cache has room */
	WORK_INVALIDATE, /* munmap of buffers that are cached */
	WORK_DONTNEED,	 /* MADV_DONTNEED of them */
	WORK_MALLOC,	 /* threads that malloc, use and free: app_malloc.c */
	WORK_MPI,	 /* app_mpi.c */
	WORK_STORAGE,	 /* app_storage.c */
};

/* The contenders of mrn-bench-plain. Other programs have one, number 0. */
enum work_plain { WORK_LOOK_UP, WORK_PLAIN, WORK_EACH, WORK_ONCE, WORK_ARMING, WORK_NR_PLAIN };

/*
 * MRN_COVER_PAGES; what the interposer covers alone; and that without the page cache of files on disk, of which memory
 * from mmap and malloc has nothing.
 */
enum work_need { WORK_PAGES, WORK_INTERPOSE, WORK_INTERPOSE_ANON };

/* A request to one of the programs mrn-bench-cache, mrn-bench-plain and mrn-bench-ucx. */
struct work {
	uint32_t kind;
	uint32_t contender; /* of the program */
	uint32_t buffers;   /* of each cache; of applications: its limit */
	uint32_t threads;
	uint32_t caches;    /* 1, or one for each thread */
	uint32_t arena;	    /* all buffers are in one mapping; otherwise each has its own */
	uint32_t need;	    /* enum work_need: what ours asks for */
	uint32_t later;	    /* the process has hit, missed and invalidated in other caches before */
	uint32_t pins;	    /* a registration pins the pages; otherwise it does nothing */
	uint64_t length;    /* of a buffer: a power of two */
	uint64_t max_bytes; /* limit of each cache; 0: none */
	uint64_t ops;	    /* of each thread, in a round; of applications, their steps */
};

/* It allocates its own memory: app.h. Otherwise its buffers are in a place. */
static inline bool work_is_application(const struct work *w)
{
	return w->kind >= WORK_MALLOC;
}

/* The limits are to be met. In other works nothing is evicted. */
static inline bool work_evicts(const struct work *w)
{
	return w->kind == WORK_MISS || work_is_application(w);
}

#endif
