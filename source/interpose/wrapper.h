/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every interposed call does around the real one: begin, call, end.
 *
 *	struct mrn_bracket b;
 *
 *	mrn_bracket_munmap(&b, addr, length);	or another of source/bracket/calls.h
 *	r = MRN_REAL(munmap)(addr, length);
 *	mrn_bracket_end(&b);
 *
 * Rules for all of source/interpose but real.c: no allocation, no stdio, no lock; errno is the real
 * call's; may run in a signal handler, inside another bracket of this thread, before any
 * constructor, and in a forked child.
 *
 * Out of reach: calls that libc and ld.so make inside themselves (thread stacks, trimming of the heap,
 * dlclose; of free and realloc see heap.c), raw system call instructions, statically linked callers, and everything when the
 * library arrives by dlopen instead of by linking or LD_PRELOAD: then it stands in front of nobody.
 * And what io_uring does.
 */
#ifndef MRN_SOURCE_INTERPOSE_WRAPPER_H
#define MRN_SOURCE_INTERPOSE_WRAPPER_H

/* A function that stands in front of libc's of the same name. */
#define MRN_INTERPOSED __attribute__((visibility("default")))

#endif
