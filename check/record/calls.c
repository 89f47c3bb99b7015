/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/calls.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "check/record/uring.h"
#include "os/peek.h"
#include "source/observe.h"

#include "os/event_path.h"

/* Of several for one number, each is shown the call until one makes it. */
static const struct row {
	long nr;
	check_call_fn *sees;
} rows[] = {
	{SYS_io_uring_setup, check_uring_setup},
	{SYS_io_uring_register, check_uring_register},
	{SYS_io_uring_enter, check_uring_enter},
	{SYS_close, check_uring_close},
	{SYS_close_range, check_uring_close_range},
	{SYS_dup, check_uring_dup},
#ifdef SYS_dup2
	{SYS_dup2, check_uring_dup2},
#endif
	{SYS_dup3, check_uring_dup3},
	{SYS_fcntl, check_uring_fcntl},
/* Not by name: os/event_path.h poisons it. */
#ifdef __x86_64__
	{60, check_uring_thread_ends},
#else
	{93, check_uring_thread_ends},
#endif
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

bool check_call_sees(long nr, long a[6], long *result)
{
	for (size_t i = 0; i < NR_ROWS; i++)
		if (rows[i].nr == nr && rows[i].sees(a, result))
			return true;
	return false;
}

void check_calls_start(void)
{
	static struct mrn_observer observer = {.sees = check_call_sees};

	for (size_t i = 0; i < NR_ROWS; i++)
		observer.wanted[rows[i].nr / 64] |= UINT64_C(1) << (rows[i].nr % 64);
	mrn_observe(&observer);
}

long check_call_make(long nr, const long a[6])
{
	return mrn_observed_call(nr, a);
}

/* If the kernel may not be asked, as in some sandboxes, trust the address. */
int check_read(void *into, uintptr_t addr, size_t size)
{
	int r = mrn_peek(into, addr, size);

	if (!r || r == -EFAULT)
		return r;
	memcpy(into, (const void *)addr, size);
	return 0;
}

int check_write(uintptr_t addr, const void *from, size_t size)
{
	int r = mrn_poke(addr, from, size);

	if (!r || r == -EFAULT)
		return r;
	memcpy((void *)addr, from, size);
	return 0;
}
