/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/stack.h"

#include <pthread.h>

#include "watch/shared/check.h"
#include "os/pages.h"
#include "os/peek.h"
#include "source/confined.h"

#include "os/event_path.h"

/* The kernel leaves more than this free below the main thread's stack, for it to grow. */
#define MAIN_MAX ((uintptr_t)64 << 20)

static pthread_t main_thread;
static uintptr_t main_end; /* 0: not known */

#ifdef __GLIBC__
extern void *__libc_stack_end;
#endif

void watch_stack_start(void)
{
	main_thread = pthread_self();
#ifdef __GLIBC__
	main_end = (uintptr_t)__libc_stack_end;
#endif
}

void watch_stack_enter(struct watch_stack *stack, uintptr_t sp)
{
	stack->low = sp;
	stack->high = mrn_page_up(sp);
	if (main_end - sp < MAIN_MAX && pthread_equal(pthread_self(), main_thread))
		stack->high = main_end;
}

bool watch_stack_read(struct watch_stack *stack, uintptr_t addr, uintptr_t *value)
{
	if (addr % sizeof(*value))
		return false;
	/* Aligned, so it is in one page. */
	if (addr - stack->low < stack->high - stack->low || MRN_BROKEN(WATCH_STACK)) {
		*value = *(const uintptr_t *)addr;
		return true;
	}
	if (mrn_is_confined() || mrn_peek(value, addr, sizeof(*value)))
		return false;
	stack->low = addr;
	stack->high = mrn_page_down(addr) + mrn_page_size();
	return true;
}
