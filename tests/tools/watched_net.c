/* SPDX-License-Identifier: BSD-3-Clause */
/* A library with a name like ours that keeps no frame pointers, but something else in their register. */
#include <stdint.h>
#include <sys/mman.h>

void net_change(void *p, uintptr_t instead_of_frame);
#ifdef __x86_64__
__asm__(".globl net_change\n"
	".type net_change, @function\n"
	"net_change:\n"
	".cfi_startproc\n"
	"	push %rbp\n"
	"	mov %rsi, %rbp\n"
	"	mov $4096, %esi\n"
	"	mov $4, %edx\n"
	"	call madvise@PLT\n"
	"	pop %rbp\n"
	"	ret\n"
	".cfi_endproc\n"
	".size net_change, . - net_change\n");
#else
void net_change(void *p, uintptr_t instead_of_frame)
{
	madvise(p, 4096, MADV_DONTNEED);
	__asm__ volatile("" : : "r"(instead_of_frame) : "memory");
}
#endif
