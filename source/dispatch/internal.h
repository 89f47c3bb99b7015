/* SPDX-License-Identifier: BSD-3-Clause */
/* All of source/dispatch runs in the SIGSYS handler, wherever a system call was made, and keeps to the event path's rules. */
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

/* The kernel's, which is not libc's. */
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
	greg_t *reg;		 /* as it came: what the call is made with */
	struct mrn_call call;	 /* as the kernel reads it: what it is. Not of int $0x80. */
	struct mrn_spare *spare; /* of this thread, whose stack has gone; or NULL */
	siginfo_t *info;
	ucontext_t *context;
	bool interrupted; /* by a SIGSYS that is kept: the call lets it pass while it waits, and no longer */
};

/* ---- handler.c */

/* Makes the thread go on at a stub; returns its frame, to which changed arguments may be added. */
struct mrn_frame *mrn_caught_resume(struct mrn_caught *c, const char *stub);
/* There is about to be a guest, and the count says so. */
void mrn_tell_of_guest(void);
struct mrn_file_change;
/* Starts the tokens of a change that is pending, of a call that goes on at f by mrn_stub_tell. */
void mrn_caught_hold(struct mrn_caught *c, struct mrn_frame *f,
		     const struct mrn_file_change *change);
/*
 * Dispatch stops, and nobody will be told when the call is over. mrn_dispatch_stop waits for tokens that have begun before it
 * began: those that begin after that are to be ended at once. Pairs with the fence there.
 */
bool mrn_caught_is_let_go(void);
/* The call is done, and this is what it returned. */
void mrn_caught_return(struct mrn_caught *c, long value);
/* Ends the tokens of calls of this thread's that are under way: it will not be caught when they are over. */
void mrn_caught_end_all(void);
/* This thread is caught no more. */
void mrn_caught_lose(void);
/* Reads what the program has at addr, as the kernel would: 0 or -EFAULT. */
int mrn_program_read(void *into, uint64_t addr, size_t size);
int mrn_program_write(uint64_t addr, const void *from, size_t size);
/* Is there room for something on a stack, less than a page? Writes to its first and its last word. */
bool mrn_is_writable(uintptr_t addr, size_t size);
/* By mrn_stub_sigsys. */
void mrn_on_sigsys(int sig, siginfo_t *info, void *context);

/* ---- start.c */

extern struct mrn_dispatch_ops mrn_dispatch_tells;
extern bool mrn_dispatch_on, mrn_dispatch_follows_fork;
static inline bool mrn_dispatch_is_on(void)
{
	return __atomic_load_n(&mrn_dispatch_on, __ATOMIC_RELAXED);
}
/*
 * Of this start: never 0. A thread is armed with the byte of its start, see SELECTORS, and the kernel catches its calls while
 * that says so: so all are let go at once, wherever they are, and none has to be visited. Each start has a byte of its own:
 * a thread that was let go may block SIGSYS, and is caught again only once it has armed itself anew.
 */
extern uint32_t mrn_dispatch_era;
extern uint8_t mrn_selector[SELECTORS];
/* All threads are let go: no further call is caught. On the event path. */
void mrn_dispatch_release(void);

/* ---- clone.c: clone, clone3, fork, vfork */

/* Set once a process has been made that is caught like a thread of this one, and is none. */
extern bool mrn_has_company;

void mrn_caught_fork(struct mrn_caught *c);
void mrn_caught_vfork(struct mrn_caught *c);
void mrn_caught_clone(struct mrn_caught *c);
void mrn_caught_clone3(struct mrn_caught *c);

/* ---- exec.c */

void mrn_caught_exec(struct mrn_caught *c);
/* Has this thread one under way? */
bool mrn_caught_exec_any(void);
/* It has failed, and come back to this frame; it may have been left, see mrn_held_end_left; nobody will tell; it is the parent's. */
void mrn_caught_exec_told(uintptr_t frame);
void mrn_caught_exec_end_left(uintptr_t where, uintptr_t alternate, size_t size);
void mrn_caught_exec_end(void);
void mrn_caught_exec_forget(void);

/* ---- guests.c */

extern uint32_t mrn_guests;
/*
 * Not 0: who runs with this thread-local storage may not be caught. Of a guest, which shares its parent's: the parent sleeps
 * and has it back as 0. Of a process that runs beside us with our storage and has failed to arm itself: for both, and for good.
 */
extern MRN_TLS uint32_t mrn_is_guest;
/*
 * Handlers of caught calls that run with this storage. Atomic, for another process may have it, too: it must not be 0 where one
 * runs, or the handler's own brackets would be left to somebody else.
 */
extern MRN_TLS uint32_t mrn_handlers;
/* The count alone: whoever is to be told is told next. A stub, or mrn_guest_end, makes it one less. */
void mrn_guest_begin(void);
void mrn_guest_end(void);
/* In a forked child, whose memory has none. */
void mrn_guests_forget(void);

/* ---- mask.c: calls that could block SIGSYS, or take its handler away */

/* Goes on with a copy of the mask at one register's address, as long as another one says, without SIGSYS. */
void mrn_caught_mask(struct mrn_caught *c, int reg, int size);
void mrn_caught_procmask(struct mrn_caught *c);
/* The same, of one that a structure with its size points to, as for pselect. */
void mrn_caught_mask_and_size(struct mrn_caught *c);
void mrn_caught_uring_register(struct mrn_caught *c);
void mrn_caught_uring_enter(struct mrn_caught *c);
void mrn_caught_sigaction(struct mrn_caught *c);
void mrn_caught_sigreturn(struct mrn_caught *c);
/* Takes SIGSYS out of the mask that a signal's handler returns to: was it there? */
bool mrn_let_sigsys_pass(ucontext_t *context);
/* What the program has as its mask. */
mrn_sigmask mrn_sigsys_mask(const struct mrn_caught *c);

/* ---- blocked.c: SIGSYS that the program blocks */

/* By this thread, while it is caught. */
extern MRN_TLS uint32_t mrn_sigsys_blocked;
/* By what has been interrupted? */
bool mrn_sigsys_is_blocked(const ucontext_t *context);
void mrn_sigsys_keep(const siginfo_t *info, ucontext_t *context);
/* For this thread, or the process. */
bool mrn_sigsys_any_kept(void);
bool mrn_sigsys_take_kept(siginfo_t *info);
/* In a forked child, which starts with none. */
void mrn_sigsys_forget_kept(void);
/* At each caught call: one that this thread waited in is over. */
void mrn_sigsys_waits_no_more(void);
/* This thread is not caught: the kernel has its mask, context's as well unless that is NULL, and what is kept. */
void mrn_sigsys_hand_over(ucontext_t *context);
/* A call that puts into the register's address what is left to sleep. */
void mrn_caught_sleep(struct mrn_caught *c, int rest);
void mrn_caught_sigpending(struct mrn_caught *c);
void mrn_caught_sigwait(struct mrn_caught *c);

/* ---- sigsys.c */

/* Between these no signal comes, not even SIGSYS: so nothing is called that could be caught. */
mrn_sigmask mrn_actions_lock(void);
void mrn_actions_unlock(mrn_sigmask mask);

/* What the kernel takes out of every mask that is set. */
#define MRN_SIGNALS_NEVER_BLOCKED (UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1))

long mrn_action_set(int sig, const struct mrn_sigaction *action, struct mrn_sigaction *was);
/*
 * Puts an action in the place of one that has been read. Another thread may have set one since, which then comes back, and is
 * put there, its mask without these signals: the last one stays.
 */
void mrn_action_exchange(int sig, struct mrn_sigaction expected, struct mrn_sigaction put,
			 mrn_sigmask without);

/* As rt_sigaction, for what the program takes to be its SIGSYS. */
long mrn_sigsys_set(uint64_t act, uint64_t old);
/* Has the kernel sent it for the call that was interrupted? Anybody here can send one with the same code. */
bool mrn_sigsys_is_of_a_call(const siginfo_t *info, const greg_t *reg);
/* Does the program ignore it? Who makes a program or a process of this one is to hand that on. */
bool mrn_sigsys_is_ignored(void);
extern const struct mrn_sigaction mrn_sigsys_ignored;
/* A SIGSYS that is not from here. */
void mrn_foreign_sigsys(int sig, siginfo_t *info, ucontext_t *context);
/* Gives those that are kept, and whether or not they are blocked at least one. */
void mrn_sigsys_give_kept(ucontext_t *context, bool at_least_one);
/* What the kernel has for SIGSYS while this is attached; to be set anew where a child starts without handlers. */
extern struct mrn_sigaction mrn_sigsys_ours;
/* Puts handler in the place of the program's. 0 or -errno. */
int mrn_sigsys_take(const char *handler);
/* Once no call is caught any more. */
void mrn_sigsys_give_back(void);
/* In a copy of this process, which is caught: sets ours. fresh: it starts without handlers, and the program's is the default. */
int mrn_sigsys_take_again(bool fresh);
/* In one that is not caught; fresh: it starts without handlers. */
void mrn_sigsys_leave_to_child(bool fresh);
/* Once this thread is armed. */
void mrn_sigsys_unblock(void);

/* ---- masking.c: handlers whose masks have SIGSYS */

/* As rt_sigaction, for another signal than SIGSYS. */
long mrn_handler_set(long sig, uint64_t act, uint64_t old, long size);
void mrn_handlers_take(void);
/* Once no call is caught any more. */
void mrn_handlers_give_back(void);
/* In a process that starts without handlers. */
void mrn_handlers_forget(void);

/* ---- settle.c */

/* Waits until no other thread that has been let go can still come to the handler: false where one cannot be known not to. */
bool mrn_threads_settle(void);

/* ---- altstack.c: the handler runs on the program's alternate stack, where there is one */

/* It does, and what it has interrupted does not. */
bool mrn_handler_is_aside(const struct mrn_caught *c);
/* The call would change the stack that the handler runs on: true when it is to be made again, and is caught elsewhere. */
bool mrn_caught_on_changing_stack(struct mrn_caught *c);
/* The same, for a stack that stands in for it. */
void mrn_caught_put_aside(struct mrn_caught *c, const stack_t *instead);
/* May the call change what is there? Those that do not say of how much they do are taken to. */
bool mrn_call_may_change(const struct mrn_call *call, const stack_t *stack);
bool mrn_stack_is_there(const stack_t *stack);
/* After such a call: gives the stack back if it is there. */
void mrn_caught_stack_changed(struct mrn_caught *c, long result);
void mrn_caught_sigaltstack(struct mrn_caught *c);
/* The call that goes on may set it. */
void mrn_altstack_next(struct mrn_caught *c, const stack_t *next);
/* What a signal and our handler take of a stack; here: what a signal in the same thread has interrupted, or NULL. */
size_t mrn_stack_needed(const ucontext_t *here);
/* An alternate one is too small for them; here: what a signal in the same thread has interrupted, or NULL. */
bool mrn_stack_is_too_small(const stack_t *stack, const ucontext_t *here);

/* ---- spare.c: stacks of ours, for threads that take away the one that they are on */

/* At each caught call, before anything else. Another stack than the one that has gone ends it. */
void mrn_spare_look(struct mrn_caught *c);
/* The call would take it: true when it is to be made again, and is caught elsewhere, or not any more. */
bool mrn_caught_takes_own_stack(struct mrn_caught *c, const struct mrn_call *call);
/* Of one that goes on, and empties it: its frame is on ours. */
void mrn_caught_empties_own_stack(struct mrn_caught *c);
/* After a call that was made in the handler: is the stack there? */
void mrn_caught_own_stack_taken(struct mrn_caught *c, const struct mrn_call *call, long result);
/* Where a frame goes when there is no stack; NULL where there is. */
struct mrn_frame *mrn_spare_frame(const struct mrn_caught *c);
/* Is ours the alternate stack? */
bool mrn_stack_is_a_spare(const struct mrn_caught *c);
/* For a thread that is to have no alternate stack. */
stack_t mrn_spare_or_none(const struct mrn_caught *c);
/* A program that asks and sets finds no stack of ours; and where it sets none, ours stays. False where there is none. */
bool mrn_caught_sigaltstack_on_spare(struct mrn_caught *c);
/* A signal's frame says what was the alternate stack when it came. */
void mrn_spare_in_frame(const struct mrn_caught *c, stack_t *stack);
void mrn_caught_exit(struct mrn_caught *c);
/* It is caught no more. */
void mrn_spare_leave(struct mrn_caught *c);
/* When mrn_storage_is_shared has changed. */
void mrn_spare_own(struct mrn_caught *c);
/* In a forked child, whose memory has those of other threads. */
void mrn_spares_forget(struct mrn_caught *c);

/* ---- int80.c: calls by int $0x80, which have numbers and arguments of their own */

void mrn_caught_int80(struct mrn_caught *c);

/* ---- others.c: alternate stacks, which other threads may take away */

/* At each caught call: what the alternate stack is; and what it may be by the next one. */
void mrn_altstack_note(const struct mrn_caught *c);
void mrn_altstack_note_next(const stack_t *stack);
/* Becomes 0 when the thread has no stack any more; NULL for one that has had none. */
uint32_t *mrn_altstack_noted(void);
/* In a forked child. */
void mrn_altstacks_forget(void);
/* The call may take another thread's: then all leave before it. */
void mrn_caught_takes_anothers_stack(const struct mrn_call *call);

/* ---- leave.c: filters, after which we could not go on, and a dispatch of the program's own */

/* Looks at a call that may forbid others, before it is made. */
void mrn_caught_confine(const struct mrn_call *call);
/*
 * It is told that no thread is caught any more, and that is so when this returns. False: one that did not answer may still
 * come to our handler.
 */
bool mrn_all_leave(void);
/* A call of prctl for a dispatch, before it is made. */
void mrn_caught_own_dispatch(const struct mrn_call *call);

/* A call of prctl that says who may trace this process, whose tracer would see each SIGSYS. */
void mrn_caught_names_tracer(const struct mrn_call *call);
/* A call of modify_ldt. */
void mrn_caught_writes_ldt(const struct mrn_call *call);

/* ---- rings.c */

void mrn_caught_uring_setup(struct mrn_caught *c);
/* Before the call: by the time that there is a ring, all know of it. */
void mrn_ring_is_made(void);
/* For rings that are there already, when all threads have been armed. ring is called at the first new one, before it is made. */
void mrn_rings_look(void (*ring)(void));

/* ---- trial.c */

/* Before anything is begun: 0; or -errno, as mrn_dispatch_start. */
int mrn_dispatch_try(char *why, size_t why_size);
/* 0; or -EBUSY for one that is traced or has a sandbox of its own, which why says. */
int mrn_thread_may_be_armed(long name, char *why, size_t why_size);

/* ---- ask.c */

/* What a thread is asked for; and what it does then, context being what it goes on with. */
enum mrn_ask { MRN_ASK_TO_ARM, MRN_ASK_TO_LEAVE, MRN_ASKS };
void mrn_asked_to_arm(ucontext_t *context);   /* thread.c */
void mrn_asked_to_leave(ucontext_t *context); /* leave.c */
/* By mrn_stub_asked. */
void mrn_on_asked(int sig, siginfo_t *info, void *context);
/* Whoever asks begins before, and ends. Several may at a time. 0 or -errno. */
int mrn_ask_begin(void);
void mrn_ask_end(void);
/* Asks a thread, which may take its time. 0 or -errno: -EBUSY while it waits for the signal itself, -EAGAIN where none can be queued. */
long mrn_ask(long name, long number, enum mrn_ask what);
/* Waits for its answer, which may be lost to that of another one: then ask again. */
bool mrn_answers_within(long number, enum mrn_ask what, unsigned int ms);
/* As long as it likes: it blocks the signal, or waits for it. */
bool mrn_cannot_be_asked(long name);

/* ---- thread.c */

/* The start in which this thread was armed, or 0. */
extern MRN_TLS uint32_t mrn_armed_in;
/* With the byte of this start: are its calls caught, while there is one? */
static inline bool mrn_thread_is_armed(void)
{
	return mrn_armed_in && mrn_armed_in == __atomic_load_n(&mrn_dispatch_era, __ATOMIC_RELAXED);
}
/* Arms the calling thread. 0 or -errno. */
int mrn_thread_arm(void);
void mrn_thread_disarm(void);
/* Coverage ends: this thread is to be caught, and cannot be. mrn_stub_clone calls it, too. */
void mrn_thread_is_not_armed(void);
/* Another thread, or a process that runs at the same time, has this storage, too; what is said here of one is true of neither for certain. */
extern MRN_TLS bool mrn_storage_is_shared;
/* This thread, or another with its storage, has given its dispatch away: which of them? */
void mrn_thread_lose(void);
bool mrn_thread_has_lost(void);
/* The call that does it, for the calling thread: NULL for none. 0 or -errno. */
long mrn_dispatch_set(const uint8_t *selector);
/*
 * What the kernel says of a thread of ours in a file of its folder in /proc, and in its status; 0 or -errno. Named as /proc has it, which is
 * not its number where that is of another namespace of processes; 0: the calling thread. Event path.
 */
int mrn_thread_about(long name, const char *file, char *into, size_t size);
struct mrn_status;
int mrn_thread_status(long name, struct mrn_status *status);
/* Nor will it: the kernel's own, for io_uring; and one that has ended, as a main thread may long before the others. Event path. */
bool mrn_thread_makes_no_calls(long name);
/* Whether the calling thread's alternate stack is large enough: 0 or -EBUSY, which why says. */
int mrn_thread_has_room(char *why, size_t why_size);
/* Arms all others; why names the one that it fails for. */
int mrn_threads_arm(char *why, size_t why_size);
/* The name of the next thread after this one of this process, each once, or 0 at the end. tasks: /proc/self/task, or NULL. */
long mrn_next_thread(void *tasks, long name);
/* The number of a thread with this name, for gettid and signals. */
long mrn_number_of_thread(long name);

#endif
