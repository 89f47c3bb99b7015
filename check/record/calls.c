/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/calls.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "check/record/uring.h"
#include "check/record/vfio.h"
#include "os/peek.h"
#include "source/observe.h"

/* Before the next, which poisons one of the names. */
static const struct row {
	long nr;
	check_call_fn *sees;
} rows[] = {
#define CALL(name, sees) {SYS_##name, sees},
#include "check/record/calls.def"
};

#include "os/event_path.h"

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
