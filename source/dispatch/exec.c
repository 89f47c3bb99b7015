/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exec. It goes on like any other call, since a new program inherits the signal mask. So a handler may come between its
 * announcement and the call itself: the token ends when mrn_stub_tell says that there is no new program, or when the
 * thread is caught at a place that shows that the call was left.
 *
 * A new program also inherits that a signal is ignored; but with SIGSYS ignored no call can be caught. So if the
 * program ignores it, and no other process shares this one's actions, the thread is not caught from here until the call
 * has failed: its token covers everything meanwhile. If another process does, the new program gets the default.
 */
#include <errno.h>
#include <sched.h>

#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"
#include "source/exec.h"

#include "os/event_path.h"

static MRN_TLS struct mrn_bracket executing;
static MRN_TLS uintptr_t at; /* its frame; 0: none in progress */
static MRN_TLS bool asked;   /* the exec hook was called */

static bool goes_with_it_ignored(void)
{
	if (!mrn_sigsys_is_ignored() || mrn_is_confined() || !mrn_dispatch_is_on())
		return false;
	/* Fails if another process shares the actions; otherwise does nothing. */
	if (mrn_sys1(SYS_unshare, CLONE_SIGHAND) ||
	    mrn_action_set(SIGSYS, &mrn_sigsys_ignored, NULL))
		return false;
	if (!mrn_dispatch_set(NULL))
		return true;
	mrn_action_set(SIGSYS, &mrn_sigsys_ours, NULL);
	return false;
}

/*
 * A new program inherits the mask, too; and with SIGSYS blocked a caught call is the last one, as in a handler that
 * comes before exec. So this thread is not caught, either.
 */
static bool goes_with_it_blocked(struct mrn_caught *c)
{
	if (!mrn_sigsys_blocked || mrn_is_confined() || !mrn_dispatch_is_on())
		return false;
	if (mrn_dispatch_set(NULL))
		return false;
	mrn_sigsys_hand_over(c->context);
	return true;
}

static void announce(uintptr_t frame)
{
	at = frame;
	/* An exec by a process that only shares this memory does not change it. */
	if (__atomic_load_n(&mrn_has_company, __ATOMIC_RELAXED))
		mrn_bracket_exec_by_name(&executing);
	else
		mrn_bracket_exec(&executing);
	if (mrn_caught_is_let_go())
		mrn_bracket_end(&executing, true);
}

void mrn_caught_exec(struct mrn_caught *c)
{
	const bool blocked = goes_with_it_blocked(c), ignored = goes_with_it_ignored();
	const char *stub = blocked || ignored ? mrn_stub_exec : mrn_stub_tell;
	long a[6] = {c->reg[REG_RDI], c->reg[REG_RSI], c->reg[REG_RDX], c->reg[REG_R10],
		     c->reg[REG_R8]};
	int saved = errno;
	uintptr_t frame;

	/* x32 has pointers of its own. */
	if (!c->call.compat) {
		mrn_exec_before(c->call.nr, a);
		asked = true;
	}
	frame = (uintptr_t)mrn_caught_resume(c, stub);
	/* If it interrupts another exec, in a handler, everything is announced already. */
	if (!at)
		announce(frame);
	errno = saved;
	/* execve's and execveat's environment, for this call only. */
	c->reg[REG_RDX] = a[2];
	c->reg[REG_R10] = a[3];
}

bool mrn_caught_exec_any(void)
{
	return at;
}

void mrn_caught_exec_end(void)
{
	mrn_bracket_end(&executing, true);
	at = 0;
	if (asked)
		mrn_exec_failed();
	asked = false;
}

void mrn_caught_exec_told(uintptr_t frame)
{
	if (frame == at)
		mrn_caught_exec_end();
}

void mrn_caught_exec_end_left(uintptr_t where, uintptr_t alternate, size_t size)
{
	if (at && mrn_held_is_left(at, where, alternate, size))
		mrn_caught_exec_end();
}

void mrn_caught_exec_forget(void)
{
	mrn_bracket_none(&executing);
	at = 0;
	asked = false;
}
