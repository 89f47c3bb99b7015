/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/stack.h"

#include <pthread.h>
#include <stddef.h>

#include "watch/shared/check.h"
#include "os/pages.h"
#include "os/peek.h"
#include "source/confined.h"
#include "watch/record/slots.h"

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

static bool is_on_main(uintptr_t sp)
{
	return main_end - sp < MAIN_MAX && pthread_equal(pthread_self(), main_thread);
}

void watch_stack_enter(struct watch_stack *stack, uintptr_t sp)
{
	stack->slots = NULL;
	stack->low = sp;
	stack->high = is_on_main(sp) ? main_end : mrn_page_up(sp);
}

void watch_stack_suppose(struct watch_stack *stack, uintptr_t sp)
{
	const uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	stack->low = stack->high = sp;
	if (MRN_BROKEN(WATCH_SUPPOSED))
		watch_stack_enter(stack, sp);
	/* What is above this very frame is there. */
	else if (is_on_main(here) && sp - here < main_end - here)
		stack->high = main_end;
}

/* Wherever a damaged stack leads to: a sanitizer would take that for an error of ours. */
__attribute__((no_sanitize("address", "thread"))) static bool read_word(struct watch_stack *stack,
									uintptr_t addr,
									uintptr_t *value)
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
	stack->high = is_on_main(addr) ? main_end : mrn_page_down(addr) + mrn_page_size();
	return true;
}

bool watch_stack_read(struct watch_stack *stack, uintptr_t addr, uintptr_t *value)
{
	bool readable = read_word(stack, addr, value);

	if (stack->slots)
		watch_slots_note(stack->slots, readable, addr, readable ? *value : 0);
	return readable;
}
