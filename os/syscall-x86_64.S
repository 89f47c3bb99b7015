/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * long mrn_sys6(long nr, long a, long b, long c, long d, long e, long f)
 *
 * Out of line, and in a section of its own: source/dispatch makes the kernel redirect all system calls except those
 * made there.
 */
#ifdef __x86_64__

#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

	.section mrn_syscalls, "ax", @progbits
	.globl	mrn_sys6
	.hidden	mrn_sys6
	.type	mrn_sys6, @function
	.p2align 4
mrn_sys6:
	.cfi_startproc
	_CET_ENDBR
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	syscall
	ret
	.cfi_endproc
	.size	mrn_sys6, .-mrn_sys6
#endif

	.section .note.GNU-stack, "", %progbits
