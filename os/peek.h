/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading and writing a program's memory at an address that may be wrong: by the kernel, which returns -EFAULT where a
 * direct access would crash. 0, or -errno; -EPERM or -ENOSYS if a sandbox forbids it.
 */
#ifndef MRN_OS_PEEK_H
#define MRN_OS_PEEK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Tells where this process's pid is stored: 0 while it is unknown, and in a forked child. Then each call asks the
 * kernel.
 */
void mrn_peek_know(const int32_t *pid);
/* From here on each call asks the kernel: another process, which may live longer, shares this memory. */
void mrn_peek_ask(void);

int mrn_peek(void *into, uintptr_t addr, size_t size);
int mrn_poke(uintptr_t addr, const void *from, size_t size);

#endif
