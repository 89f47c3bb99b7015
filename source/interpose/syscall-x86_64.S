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
	.irp	nr, SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk, SYS_mremap, SYS_madvise, \
		SYS_shmat, SYS_shmdt, SYS_truncate, SYS_ftruncate, SYS_remap_file_pages, \
		SYS_fallocate, SYS_pkey_mprotect, SYS_process_madvise, \
		SYS_open, SYS_openat, SYS_openat2, SYS_creat, SYS_open_by_handle_at, \
		SYS_ioctl, SYS_getsockopt, SYS_prctl, SYS_io_destroy, SYS_execve, SYS_execveat, \
		SYS_seccomp
	cmpl	$\nr, %r11d
	je	mrn_syscall_bracketed
	.endr
	cmpl	$512, %r11d
	jae	mrn_syscall_bracketed
	.irp	nr, SYS_fork, SYS_clone, SYS_clone3
	cmpl	$\nr, %r11d
	je	1f
	.endr
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
