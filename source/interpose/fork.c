/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork, by the handlers that libc runs around it. Not by a wrapper: other handlers take their owners' locks in fork, and who
 * waits for a token may hold one. Of all, those that are installed first run closest to the call.
 */
#include <pthread.h>

#include "os/thread.h"
#include "source/bracket/held.h"

#include "os/event_path.h"

static MRN_TLS struct mrn_bracket forking;

static void before(void)
{
	mrn_bracket_fork(&forking);
}

static void in_parent(void)
{
	mrn_bracket_end(&forking);
}

static void in_child(void)
{
	mrn_bracket_none(&forking);
	mrn_held_forget();
}

__attribute__((constructor(101))) static void install(void)
{
	pthread_atfork(before, in_parent, in_child);
}
