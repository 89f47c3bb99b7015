/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading and writing what a program has at an address that may be wrong: by the kernel, which answers
 * -EFAULT where touching it would be a crash. 0, or -errno; -EPERM or -ENOSYS where a sandbox forbids it.
 */
#ifndef MRN_OS_PEEK_H
#define MRN_OS_PEEK_H

#include <stddef.h>
#include <stdint.h>

/* Where this process's number is: 0 while it is not known, and in a forked child. Then it is asked for each time. */
void mrn_peek_know(const int32_t *pid);
/* And it is from here on: a process with another number, which may stay longer, has this memory, too. */
void mrn_peek_ask(void);

int mrn_peek(void *into, uintptr_t addr, size_t size);
int mrn_poke(uintptr_t addr, const void *from, size_t size);

#endif
