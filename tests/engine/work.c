/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/engine/work.h"

#include <stdlib.h>

unsigned int work_below(struct worker *w, unsigned int limit)
{
	return (unsigned int)test_rand_below(&w->rand, limit);
}

struct mix {
	unsigned int of_thousand;
	void (*step)(struct worker *w);
};

static void step(struct worker *w, const struct mix *mix)
{
	unsigned int n = work_below(w, 1000);

	for (; n >= mix->of_thousand; mix++)
		n -= mix->of_thousand;
	mix->step(w);
}

void work_usual(struct worker *w)
{
	static const struct mix usual[] = {{400, work_use_pages},  {250, work_serve_get},
					   {250, work_serve_put},  {30, work_compact},
					   {50, work_grow_record}, {15, work_hand_over},
					   {5, work_shrink}};

	step(w, usual);
}

void work_short_lived(struct worker *w)
{
	static const struct mix short_lived[] = {{450, work_serve_get},
						 {450, work_serve_put},
						 {30, work_compact},
						 {50, work_grow_record},
						 {20, work_hand_over}};

	step(w, short_lived);
}

void work_open(struct worker *w, unsigned int number)
{
	test_rand_init(&w->rand, number);
	pthread_mutex_init(&w->box.lock, NULL);
	pages_open(w, 2 * number);
	log_open(w, 2 * number + 1);
}

void work_close(struct worker *w)
{
	for (int i = 0; i < FRAMES; i++)
		free(w->frame[i].memory);
	for (int i = 0; i < REQUESTS; i++)
		free(w->request[i]);
	free(w->record);
	for (unsigned int i = 0; i < w->box.n; i++)
		free(w->box.letter[i].buffer);
	store_close(&w->pages);
	store_close(&w->log);
}
