/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/process.h"

#include "os/pages.h"

struct mrn_source_process *mrn_source_process;

int mrn_source_process_init(void)
{
	return MRN_PAGES_ONCE(mrn_source_process);
}

void mrn_source_process_is(long pid)
{
	if (pid > 0 && !mrn_source_process_init())
		__atomic_store_n(&mrn_source_process->pid, (int32_t)pid, __ATOMIC_RELAXED);
}
