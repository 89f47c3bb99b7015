/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * long syscall(long nr, ...). Jumps with every register and the stack unchanged: for a bracketed number, or one that
 * may begin a sandbox, to a C function with the same seven arguments; for any other to the real syscall. No frame of
 * ours is left below. The kernel reads 32 bits of the number; x32's calls have the same numbers with bit 30 set, or
 * numbers from 512 on. r11 is free to use here. See syscall.c.
 */
#ifdef __x86_64__

#include <sys/syscall.h>

#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

	.text
	.globl	syscall
	.type	syscall, @function
	.p2align 4
syscall:
	.cfi_startproc
	_CET_ENDBR
	movl	%edi, %r11d
	andl	$~0x40000000, %r11d
#define BRACKETED(name, i386, narrow) cmpl $SYS_##name, %r11d; je mrn_syscall_bracketed;
#define CONFINES(name, i386, narrow) BRACKETED(name, i386, narrow)
#include "source/bracket/calls.def"
	cmpl	$512, %r11d
	jae	mrn_syscall_bracketed
#define COPIES(name, i386, narrow, caught) cmpl $SYS_##name, %r11d; je 1f;
#include "source/bracket/calls.def"
	jmpq	*mrn_real_syscall(%rip)
1:
	.irp	argument, rdi, rsi, rdx, rcx, r8, r9
	pushq	%\argument
	.cfi_adjust_cfa_offset 8
	.endr
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	mrn_call_copies
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	.irp	argument, r9, r8, rcx, rdx, rsi, rdi
	popq	%\argument
	.cfi_adjust_cfa_offset -8
	.endr
	testb	%al, %al
	jnz	mrn_syscall_bracketed
	jmpq	*mrn_real_syscall(%rip)
	.cfi_endproc
	.size	syscall, .-syscall
	.hidden	mrn_call_copies
	.hidden	mrn_syscall_bracketed
	.hidden	mrn_real_syscall
#endif

	.section .note.GNU-stack, "", %progbits
