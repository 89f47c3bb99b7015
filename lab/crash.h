/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of a run when a signal is about to end the process. */
#ifndef LAB_CRASH_H
#define LAB_CRASH_H

#include <mrn/mmu_notifier.h>
#include <signal.h>

struct lab;

/* Room for a handler, whatever the state of the thread's own stack. */
#define LAB_SIGNAL_STACK 32768

struct lab_crash {
	/* Called before the driver's: the library's threads block all signals, and a callback may crash in them. */
	struct mmu_range_notifier first;
	char stack[LAB_SIGNAL_STACK];
	stack_t old_stack; /* of lab_run's thread */
};

/*
 * From watch to unwatch, SIGSEGV, SIGBUS, SIGABRT and SIGFPE print the driver, the seed, and the last events of each
 * thread, and then take their course. Before the driver is opened, and after it is closed. 0 or -errno.
 */
int lab_crash_watch(struct lab *lab);
void lab_crash_unwatch(struct lab *lab);
/* Gives the calling thread an alternate stack. Give *old back to sigaltstack: a sanitizer frees what it finds there. */
void lab_crash_set_stack(char *stack, stack_t *old);

#endif
