/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/process.h"

#include <errno.h>
#include <stddef.h>

#include "os/pages.h"

struct mrn_source_process *mrn_source_process;

int mrn_source_process_init(void)
{
	struct mrn_source_process *fresh, *none = NULL;

	if (__atomic_load_n(&mrn_source_process, __ATOMIC_ACQUIRE))
		return 0;
	fresh = mrn_pages_alloc_wiped_on_fork(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(&mrn_source_process, &none, fresh, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		mrn_pages_free(fresh, sizeof(*fresh));
	return 0;
}

void mrn_source_process_is(long pid)
{
	if (pid > 0 && !mrn_source_process_init())
		__atomic_store_n(&mrn_source_process->pid, (int32_t)pid, __ATOMIC_RELAXED);
}
