/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/process.h"

#include <errno.h>
#include <stddef.h>

#include "os/generation.h"
#include "os/pages.h"

#include "os/event_path.h"

struct mrn_process *mrn_process;

int mrn_process_init(void)
{
	struct mrn_process *fresh, *none = NULL;

	if (__atomic_load_n(&mrn_process, __ATOMIC_ACQUIRE))
		return 0;
	if (mrn_generation_init())
		return -ENOMEM;
	fresh = mrn_pages_alloc_wiped_on_fork(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(&mrn_process, &none, fresh, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		mrn_pages_free(fresh, sizeof(*fresh));
	return 0;
}
