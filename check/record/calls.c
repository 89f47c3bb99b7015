/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/calls.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "check/record/descriptors.h"
#include "check/record/limits.h"
#include "check/record/mark.h"
#include "check/record/uring.h"
#include "check/record/vfio.h"
#include "os/generation.h"
#include "os/pages.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/observe.h"
#include "watch/record/recorder.h"

/* Before the next, which poisons one of the names. */
static const struct row {
	long nr;
	enum { OWN, SHARED } whose;
	check_call_fn *sees;
} rows[] = {
#define CALL(name, whose, sees) {SYS_##name, whose, sees},
#include "check/record/calls.def"
};

#include "os/event_path.h"

#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

static uint32_t followed; /* generation */

static bool has_followed_memory(void)
{
	return followed && mrn_generation() == followed;
}

/* The child of a vfork has its parent's generation. In a sandbox that refuses to say whose this is, it is the parent's. */
static bool is_own(void)
{
	const long pid = mrn_sys0(SYS_getpid);

	return pid < 0 || watch_recorder_is(pid);
}

bool check_call_is_followed(void)
{
	return has_followed_memory() && is_own();
}

bool check_is_in_a_copy(void)
{
	return followed && !has_followed_memory();
}

bool check_is_in_a_child(void)
{
	return followed && !check_call_is_followed();
}

/*
 * A transfer is asked for by each call that submits, so the question whose it is would cost it a system call. It is not
 * asked: what a vfork's child submits to a ring of its parent's, of the same number there, is done to the same memory.
 */
bool check_call_sees(long nr, long a[6], long *result)
{
	bool asked = false;

	if (!has_followed_memory())
		return false;
	for (size_t i = 0; i < NR_ROWS; i++) {
		if (rows[i].nr != nr)
			continue;
		if (rows[i].whose == OWN && !asked) {
			if (!is_own())
				return false;
			asked = true;
		}
		if (rows[i].sees(a, result))
			return true;
	}
	return false;
}

int check_calls_start(void)
{
	static struct mrn_observer observer = {.sees = check_call_sees,
					       .doubts = check_marks_doubt};

	int r = mrn_generation_init();

	if (r)
		return r;
	followed = mrn_generation();
	for (size_t i = 0; i < NR_ROWS; i++)
		observer.wanted[rows[i].nr / 64] |= UINT64_C(1) << (rows[i].nr % 64);
	mrn_observe(&observer);
	return 0;
}

long check_call_make(long nr, const long a[6])
{
	return mrn_observed_call(nr, a);
}

/*
 * In a sandbox that refuses process_vm_readv, the kernel still says of an address whether it is memory: for this call it
 * reads or writes 8 bytes there, and changes no mask. Dispatch is not there without it.
 */
#define PROBED 8

static bool is_read(uintptr_t addr)
{
	/* An unknown operation, which is looked at after the bytes. */
	return mrn_sys4(SYS_rt_sigprocmask, -1, (long)addr, 0, PROBED) == -EINVAL;
}

static bool is_written(uintptr_t addr)
{
	return mrn_sys4(SYS_rt_sigprocmask, 0, 0, (long)addr, PROBED) == 0;
}

int check_read(void *into, uintptr_t addr, size_t size)
{
	const uintptr_t last = addr + size - 1;
	int r = mrn_peek(into, addr, size);

	if (!r || r == -EFAULT || !size || last < addr)
		return r ? -EFAULT : 0;
	/* Eight bytes that are aligned are in one page. */
	for (uintptr_t at = addr & -(uintptr_t)PROBED; at <= last;
	     at = (at & -mrn_page_size()) + mrn_page_size())
		if (!is_read(at))
			return -EFAULT;
	memcpy(into, (const void *)addr, size);
	return 0;
}

/* At least 8 bytes, in at most two pages: what the question overwrites is written after it. */
int check_write(uintptr_t addr, const void *from, size_t size)
{
	int r = mrn_poke(addr, from, size);

	if (!r || r == -EFAULT || size < PROBED)
		return r ? -EFAULT : 0;
	if (!is_written(addr))
		return -EFAULT;
	r = is_written(addr + size - PROBED) ? 0 : -EFAULT;
	memcpy((void *)addr, from, r ? PROBED : size);
	return r;
}
