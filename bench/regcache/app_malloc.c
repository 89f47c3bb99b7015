/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The least that an application does: a thread has a few blocks of some pages, replaces one of them at a time by another
 * of a new size, and transfers it four times. Its frees trim the thread's heap, inside libc.
 */
#include <stdlib.h>

#include "bench/regcache/app.h"
#include "os/random.h"

#define BLOCKS	  16
#define TRANSFERS 4
#define LEAST	  (4 << 10)
#define MOST	  (104 << 10)

void app_malloc(struct app *me)
{
	char *block[BLOCKS] = {NULL};

	for (uint64_t i = 0; i < me->steps && !me->failed; i++) {
		size_t k = mrn_random_below(&me->seed, BLOCKS);
		size_t length = LEAST + mrn_random_below(&me->seed, MOST - LEAST);

		free(block[k]);
		block[k] = app_alloc(me, length);
		for (int j = 0; j < TRANSFERS && block[k]; j++)
			app_send(me, block[k], length);
	}
	for (size_t k = 0; k < BLOCKS; k++)
		free(block[k]);
}
