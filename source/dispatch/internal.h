/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All of source/dispatch runs in the SIGSYS handler, wherever a system call was made, and keeps to the event path's
 * rules.
 */
#ifndef MRN_SOURCE_DISPATCH_INTERNAL_H
#define MRN_SOURCE_DISPATCH_INTERNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "source/bracket/read.h"
#include "source/dispatch/dispatch.h"
#include "source/dispatch/stub.h"

/* The kernel's structure, which is not libc's. */
struct mrn_sigaction {
	void *handler;
	uint64_t flags;
	void *restorer;
	mrn_sigmask mask;
};

#ifdef SA_RESTORER
#define MRN_SA_RESTORER SA_RESTORER
#else
#define MRN_SA_RESTORER 0x04000000
#endif

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2 /* si_code; Debian 12's headers lack it */
#endif

#ifndef IORING_ENTER_EXT_ARG_REG
#define IORING_ENTER_EXT_ARG_REG (1u << 6) /* linux/io_uring.h; Debian 12's lacks it */
#endif

#define MRN_SYSCALL_INSTRUCTION 2 /* bytes, of int $0x80 as well */
#define MRN_SIGSYS_BIT		(UINT64_C(1) << (SIGSYS - 1))

struct mrn_caught {
	greg_t *reg;		 /* as they came: the call is made with these */
	struct mrn_call call;	 /* as the kernel reads it. Not for int $0x80. */
	struct mrn_spare *spare; /* of this thread, if its own stack has gone; or NULL */
	siginfo_t *info;
	ucontext_t *context;
	bool interrupted; /* by a kept SIGSYS, which the call unblocks only while it waits */
};

/* ---- handler.c */

/* Makes the thread go on at a stub; returns the thread's frame, where changed arguments may be added. */
struct mrn_frame *mrn_caught_resume(struct mrn_caught *c, const char *stub);
/* Tells notifiers of a guest that is about to be made, and is counted already. */
void mrn_tell_of_guest(void);
/*
 * True if dispatch is stopping: nobody will be told when the call is over. mrn_dispatch_stop waits for tokens that
 * began before it; end a later one at once. Pairs with the fence there.
 */
bool mrn_caught_is_let_go(void);
/* The call is done, and has returned value. */
void mrn_caught_return(struct mrn_caught *c, long value);
/* Ends the tokens of this thread's calls in progress: it will not be caught when they are over. */
void mrn_caught_end_all(void);
/* From here on this thread is not caught. */
void mrn_caught_lose(void);
/* Read and write the program's memory as the kernel would: 0 or -EFAULT. */
int mrn_program_read(void *into, uint64_t addr, size_t size);
int mrn_program_write(uint64_t addr, const void *from, size_t size);
/* True if a stack has room for this, less than a page. Writes to its first and its last word. */
bool mrn_is_writable(uintptr_t addr, size_t size);
/* Called by mrn_stub_sigsys. */
void mrn_on_sigsys(int sig, siginfo_t *info, void *context);

/* ---- start.c */

extern struct mrn_dispatch_ops mrn_dispatch_tells;
extern bool mrn_dispatch_on, mrn_dispatch_follows_fork;
static inline bool mrn_dispatch_is_on(void)
{
	return __atomic_load_n(&mrn_dispatch_on, __ATOMIC_RELAXED);
}
/*
 * Number of this start; never 0. A thread is armed with its start's byte, see SELECTORS, and the kernel catches its
 * calls while the byte says so. So all threads can be let go at once, wherever they are. Each start has a byte of its
 * own: a thread that was let go may block SIGSYS, so it must not be caught before it has armed itself again.
 */
extern uint32_t mrn_dispatch_era;
extern uint8_t mrn_selector[SELECTORS];
/* Lets all threads go: no further call is caught. On the event path. */
void mrn_dispatch_release(void);

/* ---- clone.c: clone, clone3, fork, vfork */

/* True once a process was made that shares this memory and is caught like a thread of this process. */
extern bool mrn_has_company;

void mrn_caught_fork(struct mrn_caught *c);
void mrn_caught_vfork(struct mrn_caught *c);
void mrn_caught_clone(struct mrn_caught *c);
void mrn_caught_clone3(struct mrn_caught *c);

/* ---- exec.c */

void mrn_caught_exec(struct mrn_caught *c);
/* True if this thread has an exec in progress. */
bool mrn_caught_exec_any(void);
/*
 * told: it has failed, and returned to this frame. end_left: it may have been left, see mrn_held_end_left. end: nobody
 * will tell. forget: it is the parent's.
 */
void mrn_caught_exec_told(uintptr_t frame);
void mrn_caught_exec_end_left(uintptr_t where, uintptr_t alternate, size_t size);
void mrn_caught_exec_end(void);
void mrn_caught_exec_forget(void);

/* ---- guests.c */

extern uint32_t mrn_guests;
/*
 * Not 0: a thread with this thread-local storage may be uncaught. For a guest, which shares its parent's storage: the
 * parent sleeps, and wakes with 0. For a process beside this one that shares the storage and has failed to arm itself:
 * for both, and for good.
 */
extern MRN_TLS uint32_t mrn_is_guest;
/*
 * Running handlers of caught calls with this storage. Atomic, since another process may share it: it must not be 0
 * while a handler runs, or dispatch would be expected to announce the handler's own brackets.
 */
extern MRN_TLS uint32_t mrn_handlers;
/* Only counts: tell the notifiers next. A stub, or mrn_guest_end, counts down. */
void mrn_guest_begin(void);
void mrn_guest_end(void);
/* In a forked child, whose memory has no guests. */
void mrn_guests_forget(void);

/* ---- mask.c: calls that could block SIGSYS, or take its handler away */

/*
 * Goes on with a copy of the mask that the register points to, without SIGSYS; size is the register with the mask's
 * size.
 */
void mrn_caught_mask(struct mrn_caught *c, int reg, int size);
void mrn_caught_procmask(struct mrn_caught *c);
/* The same for a mask that a structure with its size points to, as for pselect. */
void mrn_caught_mask_and_size(struct mrn_caught *c);
void mrn_caught_uring_register(struct mrn_caught *c);
void mrn_caught_uring_enter(struct mrn_caught *c);
void mrn_caught_sigaction(struct mrn_caught *c);
void mrn_caught_sigreturn(struct mrn_caught *c);
/* Takes SIGSYS out of the mask that a signal's handler returns to. True if it was there. */
bool mrn_let_sigsys_pass(ucontext_t *context);
/* The mask that the program believes it has. */
mrn_sigmask mrn_sigsys_mask(const struct mrn_caught *c);

/* ---- blocked.c: a SIGSYS that the program blocks */

/* The program blocks SIGSYS in this thread, while it is caught. */
extern MRN_TLS uint32_t mrn_sigsys_blocked;
/* True if the interrupted code had SIGSYS blocked. */
bool mrn_sigsys_is_blocked(const ucontext_t *context);
void mrn_sigsys_keep(const siginfo_t *info, ucontext_t *context);
/* For this thread, or for the process. */
bool mrn_sigsys_any_kept(void);
bool mrn_sigsys_take_kept(siginfo_t *info);
/* In a forked child, which starts without one. */
void mrn_sigsys_forget_kept(void);
/* At each caught call: the call in which this thread waited is over. */
void mrn_sigsys_waits_no_more(void);
/*
 * This thread is no longer caught: gives the kernel its real mask (also in context unless NULL), and the kept SIGSYS.
 */
void mrn_sigsys_hand_over(ucontext_t *context);
/* A call that stores the rest of its sleep at the register's address. */
void mrn_caught_sleep(struct mrn_caught *c, int rest);
void mrn_caught_sigpending(struct mrn_caught *c);
void mrn_caught_sigwait(struct mrn_caught *c);

/* ---- sigsys.c */

/* Between these no signal comes, not even SIGSYS: so make no call that could be caught. */
mrn_sigmask mrn_actions_lock(void);
void mrn_actions_unlock(mrn_sigmask mask);

/* The kernel takes these out of every mask. */
#define MRN_SIGNALS_NEVER_BLOCKED (UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1))

long mrn_action_set(int sig, const struct mrn_sigaction *action, struct mrn_sigaction *was);
/*
 * Replaces an action that was read as expected. If another thread has set one since, puts that one back, its mask minus
 * `without`: the last action set stays.
 */
void mrn_action_exchange(int sig, struct mrn_sigaction expected, struct mrn_sigaction put,
			 mrn_sigmask without);

/* As rt_sigaction, for the SIGSYS that the program sees. */
long mrn_sigsys_set(uint64_t act, uint64_t old);
/* True if the kernel sent it for the interrupted call. Any process of the user may send one with the same code. */
bool mrn_sigsys_is_of_a_call(const siginfo_t *info, const greg_t *reg);
/* True if the program ignores it: programs and processes that it makes inherit that. */
bool mrn_sigsys_is_ignored(void);
extern const struct mrn_sigaction mrn_sigsys_ignored;
/* A SIGSYS that dispatch has not caused. */
void mrn_foreign_sigsys(int sig, siginfo_t *info, ucontext_t *context);
/* Delivers the kept ones, and at least one even if they are blocked. */
void mrn_sigsys_give_kept(ucontext_t *context, bool at_least_one);
/* The kernel's action for SIGSYS while dispatch is attached; set again in a child that starts without handlers. */
extern struct mrn_sigaction mrn_sigsys_ours;
/* Installs handler in place of the program's. 0 or -errno. */
int mrn_sigsys_take(const char *handler);
/* Call once no call is caught any more. */
void mrn_sigsys_give_back(void);
/*
 * In a copy of this process that is caught: sets ours. fresh: it starts without handlers, and the program's is the
 * default.
 */
int mrn_sigsys_take_again(bool fresh);
/* In a copy that is not caught; fresh: it starts without handlers. */
void mrn_sigsys_leave_to_child(bool fresh);
/* Call once this thread is armed. */
void mrn_sigsys_unblock(void);

/* ---- masking.c: handlers whose masks have SIGSYS */

/* As rt_sigaction, for any signal but SIGSYS. */
long mrn_handler_set(long sig, uint64_t act, uint64_t old, long size);
void mrn_handlers_take(void);
/* Call once no call is caught any more. */
void mrn_handlers_give_back(void);
/* In a process that starts without handlers. */
void mrn_handlers_forget(void);

/* ---- settle.c */

/* Waits until no other thread that was let go can still come to the handler; false if this cannot be known. */
bool mrn_threads_settle(void);

/* ---- altstack.c: the handler runs on the program's alternate stack, if there is one */

/* True if only the handler runs on the alternate stack. */
bool mrn_handler_is_aside(const struct mrn_caught *c);
/*
 * True if the call would change the stack that the handler runs on: the call is made again, and caught on another
 * stack.
 */
bool mrn_caught_on_changing_stack(struct mrn_caught *c);
/* The same, with a stack that takes its place. */
void mrn_caught_put_aside(struct mrn_caught *c, const stack_t *instead);
/* True if the call may change what is there. A call that does not name its range counts as one. */
bool mrn_call_may_change(const struct mrn_call *call, const stack_t *stack);
bool mrn_stack_is_there(const stack_t *stack);
/* After such a call: gives the stack back if its memory is there. */
void mrn_caught_stack_changed(struct mrn_caught *c, long result);
void mrn_caught_sigaltstack(struct mrn_caught *c);
/* The call that goes on may set it. */
void mrn_altstack_next(struct mrn_caught *c, const stack_t *next);
/* What a signal and our handler take of a stack; here: what a signal has interrupted in this thread, or NULL. */
size_t mrn_stack_needed(const ucontext_t *here);
/* True if an alternate stack is too small for them. */
bool mrn_stack_is_too_small(const stack_t *stack, const ucontext_t *here);

/* ---- spare.c: stacks of ours, for threads that take away their own */

/*
 * At each caught call, before anything else. Running on another stack than the one that has gone ends the use of ours.
 */
void mrn_spare_look(struct mrn_caught *c);
/* True if the call would take the stack: it is made again, and caught on another stack, or not any more. */
bool mrn_caught_takes_own_stack(struct mrn_caught *c, const struct mrn_call *call);
/* For a call that goes on and empties the stack: puts its frame on ours. */
void mrn_caught_empties_own_stack(struct mrn_caught *c);
/* After a call that was made in the handler: looks whether the stack is still there. */
void mrn_caught_own_stack_taken(struct mrn_caught *c, const struct mrn_call *call, long result);
/* The frame's place if the stack is gone; NULL if it is there. */
struct mrn_frame *mrn_spare_frame(const struct mrn_caught *c);
/* True if ours is the alternate stack. */
bool mrn_stack_is_a_spare(const struct mrn_caught *c);
/* For a thread that is to have no alternate stack. */
stack_t mrn_spare_or_none(const struct mrn_caught *c);
/* The program sees no stack of ours when it asks, and ours stays when it sets none. False without a stack of ours. */
bool mrn_caught_sigaltstack_on_spare(struct mrn_caught *c);
/* Hides ours in a signal's frame, which says what was the alternate stack when the signal came. */
void mrn_spare_in_frame(const struct mrn_caught *c, stack_t *stack);
void mrn_caught_exit(struct mrn_caught *c);
/* This thread is not caught any more. */
void mrn_spare_leave(struct mrn_caught *c);
/* Call when mrn_storage_is_shared has changed. */
void mrn_spare_own(struct mrn_caught *c);
/* In a forked child, whose memory has other threads' stacks. */
void mrn_spares_forget(struct mrn_caught *c);

/* ---- int80.c: calls by int $0x80, which have numbers and arguments of their own */

void mrn_caught_int80(struct mrn_caught *c);

/* ---- others.c: alternate stacks that other threads may take away */

/* note: at each caught call, the alternate stack that it finds. note_next: the one that the next call may find. */
void mrn_altstack_note(const struct mrn_caught *c);
void mrn_altstack_note_next(const stack_t *stack);
/* A word to set to 0 when the thread has no stack any more; NULL if it never had one. */
uint32_t *mrn_altstack_noted(void);
/* In a forked child. */
void mrn_altstacks_forget(void);
/* If the call may take another thread's stack, all threads leave before it. */
void mrn_caught_takes_anothers_stack(const struct mrn_call *call);

/* ---- leave.c: filters that would stop dispatch, and a dispatch of the program's own */

/* Before a call that may forbid other calls. */
void mrn_caught_confine(const struct mrn_call *call);
/*
 * Announces that no thread is caught any more, and lets all go. False: a thread that did not answer may still come to
 * our handler.
 */
bool mrn_all_leave(void);
/* Before a prctl that sets up a dispatch. */
void mrn_caught_own_dispatch(const struct mrn_call *call);

/* Before a prctl that says who may trace this process: a tracer would see each SIGSYS. */
void mrn_caught_names_tracer(const struct mrn_call *call);
/* Before modify_ldt. */
void mrn_caught_writes_ldt(const struct mrn_call *call);

/* ---- rings.c */

void mrn_caught_uring_setup(struct mrn_caught *c);
/* Before the call: by the time that there is a ring, all know of it. */
void mrn_ring_is_made(void);
/* Looks for existing rings, when all threads have been armed. ring is called before the first new one is made. */
void mrn_rings_look(void (*ring)(void));

/* ---- trial.c */

/* Call before starting anything: 0; or -errno, as mrn_dispatch_start. */
int mrn_dispatch_try(char *why, size_t why_size);
/* 0; or -EBUSY for a thread that is traced or has a sandbox of its own; why says which. */
int mrn_thread_may_be_armed(long name, char *why, size_t why_size);

/* ---- ask.c */

/* What a thread is asked to do; and the functions that do it, where context is what the thread goes on with. */
enum mrn_ask { MRN_ASK_TO_ARM, MRN_ASK_TO_LEAVE, MRN_ASKS };
void mrn_asked_to_arm(ucontext_t *context);   /* thread.c */
void mrn_asked_to_leave(ucontext_t *context); /* leave.c */
/* Called by mrn_stub_asked. */
void mrn_on_asked(int sig, siginfo_t *info, void *context);
/* Call begin before asking, and end after. Several threads may ask at a time. 0 or -errno. */
int mrn_ask_begin(void);
void mrn_ask_end(void);
/*
 * Asks a thread, which may take its time. 0 or -errno: -EBUSY while it waits for the signal itself, -EAGAIN if none can
 * be queued.
 */
long mrn_ask(long name, long number, enum mrn_ask what);
/* Waits for its answer. Another thread's answer may overwrite it: then ask again. */
bool mrn_answers_within(long number, enum mrn_ask what, unsigned int ms);
/* True while it blocks the signal, or waits for it, which may last. */
bool mrn_cannot_be_asked(long name);

/* ---- thread.c */

/* The start in which this thread was armed, or 0. */
extern MRN_TLS uint32_t mrn_armed_in;
/* True if this thread is armed in this start: its calls are caught while the start lasts. */
static inline bool mrn_thread_is_armed(void)
{
	return mrn_armed_in && mrn_armed_in == __atomic_load_n(&mrn_dispatch_era, __ATOMIC_RELAXED);
}
/* Arms the calling thread. 0 or -errno. */
int mrn_thread_arm(void);
void mrn_thread_disarm(void);
/* Ends the coverage: this thread should be caught, and cannot be. mrn_stub_clone calls it, too. */
void mrn_thread_is_not_armed(void);
/* Another thread, or a process that runs at the same time, shares this storage: its words may be wrong for either. */
extern MRN_TLS bool mrn_storage_is_shared;
/* lose: this thread gives its dispatch up. has_lost: true if it did; threads that share the storage are told apart. */
void mrn_thread_lose(void);
bool mrn_thread_has_lost(void);
/* Sets the calling thread's dispatch; NULL: none. 0 or -errno. */
long mrn_dispatch_set(const uint8_t *selector);
/*
 * True for a thread that will make no calls: one of the kernel's own, for io_uring; or one that has ended, as a main
 * thread may long before the others. Event path.
 */
bool mrn_thread_makes_no_calls(long name);
/* Whether the calling thread's alternate stack is large enough: 0 or -EBUSY, which why explains. */
int mrn_thread_has_room(char *why, size_t why_size);
/* Arms all others; why names the thread that could not be armed. */
int mrn_threads_arm(char *why, size_t why_size);
/* The name of the next thread of this process after this one, or 0 at the end. tasks: /proc/self/task, or NULL. */
long mrn_next_thread(void *tasks, long name);
/* The number of the thread with this name, for gettid and signals. */
long mrn_number_of_thread(long name);

#endif
