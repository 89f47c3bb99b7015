/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/crash.h"

#include <string.h>
#include <unistd.h>

#include "lab/world.h"

static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
static const char *const names[] = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE"};
#define NR_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct lab *watched;
static struct sigaction old[NR_SIGNALS];

/* ------------------------------------------------------------------------------------- in the handler */

static size_t index_of(int sig)
{
	size_t i = 0;

	while (i + 1 < NR_SIGNALS && signals[i] != sig)
		i++;
	return i;
}

static void print(struct mrn_text *text)
{
	size_t done = 0;
	ssize_t n;

	mrn_text_add(text, "\n");
	while (done < text->used &&
	       (n = write(STDERR_FILENO, text->to + done, text->used - done)) > 0)
		done += (size_t)n;
	text->used = 0;
}

static void print_heading(const struct lab *lab, int sig, const void *addr, struct mrn_text *text)
{
	mrn_text_add(text, "\nmrn lab: ");
	mrn_text_add(text, names[index_of(sig)]);
	if (sig != SIGABRT) {
		mrn_text_add(text, " at address 0x");
		mrn_text_add_number(text, (uintptr_t)addr, 16);
	}
	mrn_text_add(text, " in ");
	lab_tell_thread(text, lab_self(lab));
	mrn_text_add(text, ", driver ");
	mrn_text_add(text, lab->driver->name);
	if (lab->config->broken >= 0) {
		mrn_text_add(text, " without ");
		mrn_text_add(text, lab->driver->steps[lab->config->broken].name);
	}
	mrn_text_add(text, ", seed ");
	mrn_text_add_number(text, lab->config->seed, 10);
	mrn_text_add(text, "; the last events:");
	print(text);
}

static void print_thread(const struct lab_thread *t, struct mrn_text *text)
{
	const char *access = __atomic_load_n(&t->access, __ATOMIC_RELAXED);

	mrn_text_add(text, "  ");
	lab_tell_thread(text, t);
	if (access) {
		mrn_text_add(text, ", whose last access ");
		mrn_text_add(text, access);
		mrn_text_add(text, " page ");
		mrn_text_add_number(text, __atomic_load_n(&t->page, __ATOMIC_RELAXED), 10);
	}
	lab_tell_events_of(&t->ring, text);
	print(text);
}

static void print_run(const struct lab *lab, int sig, const void *addr)
{
	char buffer[4096];
	struct mrn_text text = MRN_TEXT(buffer, sizeof(buffer));

	print_heading(lab, sig, addr, &text);
	for (const struct lab_thread *t = __atomic_load_n(&lab->threads, __ATOMIC_ACQUIRE); t;
	     t = t->next)
		print_thread(t, &text);
	mrn_text_add(&text, "  threads of the library");
	lab_tell_events_of(&lab->others, &text);
	print(&text);
}

/* Calls nothing that is not safe in a handler. Another thread that crashes meanwhile waits for the end. */
static void on_crash(int sig, siginfo_t *info, void *context)
{
	struct lab *lab = __atomic_exchange_n(&watched, NULL, __ATOMIC_ACQ_REL);

	(void)context;
	if (!lab)
		for (;;)
			pause();
	print_run(lab, sig, info->si_addr);
	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	/* The faulting instruction runs again; a signal that was sent has to be sent again. */
	if (info->si_code <= 0)
		raise(sig);
}

/* ------------------------------------------------------------------------------------- before and after */

void lab_crash_set_stack(char *stack, stack_t *old_stack)
{
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = LAB_SIGNAL_STACK}, old_stack);
}

static void unblock(void)
{
	static __thread bool done;
	sigset_t set;

	if (done)
		return;
	done = true;
	sigemptyset(&set);
	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaddset(&set, signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static bool before_the_drivers(struct mmu_range_notifier *mrn,
			       const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	(void)range;
	unblock();
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

int lab_crash_watch(struct lab *lab)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = before_the_drivers};
	struct sigaction sa = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int err;

	/* Notifiers are called by their start, then by their age: this one is first in both. */
	lab->crash.first.ops = &ops;
	err = mmu_range_notifier_insert(&lab->crash.first, lab->base, lab_bytes(LAB_PAGES),
					lab_mm(lab));
	if (err)
		return err;
	sigfillset(&sa.sa_mask);
	lab_crash_set_stack(lab->crash.stack, &lab->crash.old_stack);
	__atomic_store_n(&watched, lab, __ATOMIC_RELEASE);
	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaction(signals[i], &sa, &old[i]);
	return 0;
}

void lab_crash_unwatch(struct lab *lab)
{
	mmu_range_notifier_remove(&lab->crash.first);
	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	__atomic_store_n(&watched, NULL, __ATOMIC_RELEASE);
	sigaltstack(&lab->crash.old_stack, NULL);
}
