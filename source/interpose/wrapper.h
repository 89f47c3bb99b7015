/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every interposed call does around the real one: begin, call, end.
 *
 *	struct mrn_bracket b;
 *
 *	mrn_bracket_munmap(&b, addr, length);	or another of source/bracket/calls.h
 *	r = MRN_REAL(munmap)(addr, length);
 *	mrn_bracket_end(&b, r < 0);
 *
 * Rules for all of source/interpose but real.c and stream.c: no allocation, no stdio, no lock; errno is the real
 * call's; may run in a signal handler, inside another bracket of this thread, before any constructor, and in a forked
 * child.
 *
 * Out of reach: calls that libc and ld.so make inside themselves (thread stacks, trimming of the heap, dlclose; for
 * free and realloc see heap.c), raw system call instructions, statically linked callers, and io_uring's own operations.
 * If the library arrives by dlopen instead of by linking or LD_PRELOAD, it interposes nothing.
 */
#ifndef MRN_SOURCE_INTERPOSE_WRAPPER_H
#define MRN_SOURCE_INTERPOSE_WRAPPER_H

/* A function that takes the place of libc's function of the same name. */
#define MRN_INTERPOSED __attribute__((visibility("default")))

#endif
