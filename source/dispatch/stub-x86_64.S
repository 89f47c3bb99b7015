/* SPDX-License-Identifier: BSD-3-Clause */
/* See stub.h. */
#ifdef __x86_64__

#include <sys/syscall.h>

#include "source/dispatch/stub.h"

/* linux/prctl.h cannot be included in assembler */
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON	     1
#define SIG_UNBLOCK		     1
#define SIG_SETMASK		     2
#define SIGSYS			     31
#define EFLAGS_AC		     0x40000

	.section .rodata
	.p2align 3
sigsys_alone:
	.quad	1 << (SIGSYS - 1)

	.section mrn_syscalls, "ax", @progbits

	.macro	place name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	.endm

/*
 * For unwinders: the caller's rsp and rip are in the frame, and its rip is exact, as after a signal.
 *	CFA = *(rsp + FRAME_RSP), rip at rsp + FRAME_RIP
 */
	.macro	unwind_by_frame
	.cfi_signal_frame
	.cfi_escape 0x0f, 3, 0x77, FRAME_RSP, 0x06
	.cfi_escape 0x10, 16, 2, 0x77, FRAME_RIP
	.endm

	.macro	restore_arguments from
	movq	FRAME_RDI(\from), %rdi
	movq	FRAME_RSI(\from), %rsi
	movq	FRAME_RDX(\from), %rdx
	movq	FRAME_R10(\from), %r10
	movq	FRAME_R8(\from), %r8
	movq	FRAME_R9(\from), %r9
	.endm

/* Marks the thread-local storage as a guest's, until its parent has it back. Changes rcx and the flags. */
	.macro	set_guest value
	movq	mrn_is_guest@gottpoff(%rip), %rcx
	movl	$\value, %fs:(%rcx)
	.endm

	.macro	guest_has_gone
	set_guest 0
	lock decl mrn_guests(%rip)
	.endm

/* Sets SIGSYS's action to what rsi points to. */
	.macro	set_sigsys
	movl	$SIGSYS, %edi
	xorl	%edx, %edx
	movl	$8, %r10d
	movl	$SYS_rt_sigaction, %eax
	syscall
	.endm

/* Arms this thread, with the start whose number is in r9d; eax: 0 or -errno. */
	.macro	arm
	movl	$PR_SET_SYSCALL_USER_DISPATCH, %edi
	movl	$PR_SYS_DISPATCH_ON, %esi
	leaq	__start_mrn_syscalls(%rip), %rdx
	leaq	__stop_mrn_syscalls(%rip), %r10
	subq	%rdx, %r10
	movl	%r9d, %eax
	andl	$(SELECTORS - 1), %eax
	leaq	mrn_selector(%rip), %r8
	addq	%rax, %r8
	movl	$SYS_prctl, %eax
	syscall
	.endm

/* As the kernel leaves it: rcx is the return address, r11 the flags, all else is unchanged. */
	place	mrn_stub_resume
	.cfi_startproc
	unwind_by_frame
	syscall
go_on:
	restore_arguments %rsp
	movq	FRAME_RIP(%rsp), %rcx
	movq	FRAME_RSP(%rsp), %rsp
	jmpq	*%rcx
	.cfi_endproc

	place	mrn_stub_again
	.cfi_startproc
	unwind_by_frame
	syscall
	movq	FRAME_NUMBER(%rsp), %rax
	jmp	go_on
	.cfi_endproc

/* The way back is caught once more, at an instruction that is not ours, so that the handler is told. */
	place	mrn_stub_tell
	.cfi_startproc
	unwind_by_frame
	syscall
	movq	%rax, FRAME_MORE(%rsp)
tell:
	/*
	 * Not if the thread has left meanwhile: the call would reach the kernel, and a sandbox may punish it. Changes
	 * no flags.
	 */
	movq	mrn_armed_in@gottpoff(%rip), %rcx
	movl	%fs:(%rcx), %ecx
	jrcxz	go_on
	movl	$SYS_getpid, %eax
	jmp	tell_handler
	.cfi_endproc

	.text
	.cfi_startproc
	unwind_by_frame
tell_handler:
	syscall
	.globl	mrn_stub_told
	.hidden	mrn_stub_told
mrn_stub_told:
	movq	FRAME_MORE(%rsp), %rax
	jmp	go_on
	.cfi_endproc
	.section mrn_syscalls, "ax", @progbits

/*
 * If arming failed, the token would stay. But this thread was armed before, and a filter that would refuse it is seen
 * first.
 */
	place	mrn_stub_exec
	.cfi_startproc
	unwind_by_frame
	syscall
	movq	%rax, FRAME_MORE(%rsp)
	leaq	mrn_sigsys_ours(%rip), %rsi
	set_sigsys
	movl	$SYS_rt_sigprocmask, %eax
	movl	$SIG_UNBLOCK, %edi
	leaq	sigsys_alone(%rip), %rsi
	xorl	%edx, %edx
	movl	$8, %r10d
	syscall
	movq	mrn_armed_in@gottpoff(%rip), %rcx
	movl	%fs:(%rcx), %r9d
	arm
	jmp	tell
	.cfi_endproc

	place	mrn_stub_clone
	.cfi_startproc
	unwind_by_frame
	syscall
	testq	%rax, %rax
	jnz	4f
	cmpq	$CHILD_ARMS_ITSELF, FRAME_ARM(%rsp)
	jb	3f
	je	5f
	leaq	mrn_sigsys_ours(%rip), %rsi
	set_sigsys
5:
	movl	mrn_dispatch_era(%rip), %r9d
	/* Stored before: a handler that comes in between may be caught already. */
	movq	mrn_armed_in@gottpoff(%rip), %rcx
	movl	%fs:(%rcx), %eax
	movl	%eax, FRAME_MORE(%rsp)
	movl	%r9d, %fs:(%rcx)
	movl	FRAME_OF_CHILD(%rsp), %eax
	movq	mrn_sigsys_blocked@gottpoff(%rip), %rcx
	movl	%eax, %fs:(%rcx)
	arm
	testl	%eax, %eax
	jnz	2f
	/* Another start may have armed this thread meanwhile, and does not ask it again. */
	cmpl	mrn_dispatch_era(%rip), %r9d
	jne	5b
	jmp	1f
/* Ends the coverage before the child's first instruction. */
2:
	movq	mrn_armed_in@gottpoff(%rip), %rcx
	movl	FRAME_MORE(%rsp), %eax
	movl	%eax, %fs:(%rcx)
	set_guest 1
	call	mrn_thread_is_not_armed
	xorl	%eax, %eax
	jmp	1f
3:
	set_guest 1
	movq	FRAME_ACTION(%rsp), %rsi
	testq	%rsi, %rsi
	jz	1f
	set_sigsys
	xorl	%eax, %eax
	jmp	1f
4:
	cmpq	$PARENT_OF_GUEST, FRAME_ARM(%rsp)
	jne	1f
	guest_has_gone
1:
	pushq	FRAME_FLAGS(%rsp)
	popfq
	movq	FRAME_FLAGS(%rsp), %r11
	jmp	go_on
	.cfi_endproc

/* Parent and child both run this, the child first, and read the same frame. Too short to need unwinding. */
	place	mrn_stub_vfork
	syscall
	testq	%rax, %rax
	jnz	1f
	set_guest 1
	movl	$FRAME_OF_CHILD, %r8d
	movq	mrn_vfork_frame@gottpoff(%rip), %rcx
	movq	%fs:FRAME_ACTION(%rcx), %rsi
	testq	%rsi, %rsi
	jz	2f
	set_sigsys
	xorl	%eax, %eax
	jmp	2f
1:
	movl	$FRAME_MORE, %r8d
	movq	mrn_vfork_frame@gottpoff(%rip), %rcx
	cmpq	$PARENT_OF_GUEST, %fs:FRAME_ARM(%rcx)
	jne	2f
	guest_has_gone
2:
	movq	%rax, %r9
	movl	$SYS_rt_sigprocmask, %eax
	movl	$SIG_SETMASK, %edi
	movq	%fs:0, %rsi
	addq	mrn_vfork_frame@gottpoff(%rip), %rsi
	addq	%r8, %rsi
	xorl	%edx, %edx
	movl	$8, %r10d
	syscall
	movq	%r9, %rax
	movq	%fs:0, %rcx
	addq	mrn_vfork_frame@gottpoff(%rip), %rcx
	restore_arguments %rcx
	/* Below the red zone, where the caller has nothing. */
	leaq	-128(%rsp), %rsp
	pushq	FRAME_FLAGS(%rcx)
	popfq
	leaq	128(%rsp), %rsp
	movq	FRAME_FLAGS(%rcx), %r11
	movq	FRAME_RIP(%rcx), %rcx
	jmpq	*%rcx

/* int $0x80 changes no register but rax; so the way back is one instruction that takes all it needs from the frame. */
	place	mrn_stub_int80
	.cfi_startproc
	unwind_by_frame
	int	$0x80
	leaq	FRAME_MORE(%rsp), %rsp
	iretq
	.cfi_endproc

/* long mrn_int80(const uint64_t argument[7]): the number, then ebx to ebp */
	place	mrn_int80
	.cfi_startproc
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	movq	(%rdi), %rax
	movq	8(%rdi), %rbx
	movq	16(%rdi), %rcx
	movq	24(%rdi), %rdx
	movq	32(%rdi), %rsi
	movq	48(%rdi), %rbp
	movq	40(%rdi), %rdi
	int	$0x80
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_endproc

/* long mrn_clone_and_call(unsigned long flags, void *stack, void (*fn)(void)) */
	place	mrn_clone_and_call
	.cfi_startproc
	movq	%rdx, %r9
	xorl	%edx, %edx
	xorl	%r10d, %r10d
	xorl	%r8d, %r8d
	movl	$SYS_clone, %eax
	syscall
	testq	%rax, %rax
	jz	1f
	ret
1:
	.cfi_undefined %rip
	xorl	%ebp, %ebp
	call	*%r9
	hlt
	.cfi_endproc

	place	mrn_stub_exit
	.cfi_startproc
	.cfi_undefined %rip
	movl	$0, (%r8)
	movl	$0, (%r9)
	syscall
	hlt
	.cfi_endproc

	.macro	enter name handler
	place	\name
	.cfi_startproc
	pushfq
	.cfi_adjust_cfa_offset 8
	andq	$~EFLAGS_AC, (%rsp)
	popfq
	.cfi_adjust_cfa_offset -8
	jmp	\handler
	.cfi_endproc
	.endm

/* A signal handler: edi is the signal, rdx the context. It may change all that a callee may. */
	place	mrn_stub_masking
	.cfi_startproc
	movq	mrn_armed_in@gottpoff(%rip), %rcx
	cmpl	$0, %fs:(%rcx)
	je	1f
	movq	mrn_is_guest@gottpoff(%rip), %rcx
	cmpl	$0, %fs:(%rcx)
	jne	1f
	movq	mrn_sigsys_blocked@gottpoff(%rip), %rcx
	xorl	%eax, %eax
	cmpl	$0, %fs:(%rcx)
	setne	%al
	shlq	$(SIGSYS - 1), %rax
	orq	%rax, CONTEXT_MASK(%rdx)
	btsq	$CONTEXT_SAYS_BIT, (%rdx)
	movl	$1, %fs:(%rcx)
1:
	leaq	mrn_masking_handlers(%rip), %r11
	movslq	%edi, %rax
	movq	-8(%r11, %rax, 8), %r11
	xorl	%eax, %eax
	jmpq	*%r11
	.cfi_endproc

	enter	mrn_stub_sigsys mrn_on_sigsys
	enter	mrn_stub_asked mrn_on_asked

/* Unwinders and debuggers recognise a signal's frame by these very bytes. */
	place	mrn_stub_sigreturn
	movq	$SYS_rt_sigreturn, %rax
	syscall

/* The kernel checks the address after the call, which must still be inside. */
	nop
#endif

	.section .note.GNU-stack, "", %progbits
