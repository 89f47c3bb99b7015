/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The steps of a program that registers memory and uses it, which knows nothing of mrn: steps.c has main, and what may
 * happen in between; a program has these, for its interface. Functions that fail end the program by fail().
 *
 *	PROGRAM [WAY-]CASE
 *
 * CASE: none (the registration is used), stale (its memory has changed before), bare (by bare instructions), part (another
 * part of it has), again (it has, and is registered again), mprotect (its rights have), changed (it changes, and is not
 * used).
 */
#ifndef TESTS_CHECK_PROGRAMS_STEPS_H
#define TESTS_CHECK_PROGRAMS_STEPS_H

#include <stddef.h>

#define STEPS_LENGTH 65536

/* way: "" or what stands before the case. */
void steps_open(const char *way);
void steps_register(char *p, size_t length);
/* A device reads or writes these bytes of what is registered, and has done so when it returns. */
void steps_use(char *p, size_t length);
void steps_unregister(void);

/* Ends the program: with 77 if what it needs is not here, else with 2. */
_Noreturn void steps_fail(const char *what, int error);
_Noreturn void steps_skip(const char *what, int error);

#endif
