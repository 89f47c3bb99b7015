/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * long syscall(long nr, ...), in front of the next one: a number of calls.def goes to a C function with the same seven
 * arguments; any other jumps to the next one with every register and the stack unchanged, since SYS_vfork returns twice
 * (source/interpose/syscall-x86_64.S).
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
#define CALL(name, whose, sees) cmpl $SYS_##name, %edi; je check_syscall_shown;
#include "check/record/calls.def"
	jmpq	*check_next_syscall(%rip)
	.cfi_endproc
	.size	syscall, .-syscall
	.hidden	check_syscall_shown
	.hidden	check_next_syscall
#endif

	.section .note.GNU-stack, "", %progbits
