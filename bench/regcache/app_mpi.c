/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rank of an MPI application: a box of cells of a three-dimensional grid. In each step it exchanges the faces of its
 * box with six neighbours, in buffers that it keeps, and with some of them particles that have left the box, in buffers
 * that it allocates for the purpose. Now and then the load is balanced: the box changes, and all buffers with it.
 */
#include <stdlib.h>

#include "bench/regcache/app.h"
#include "os/random.h"

#define NEIGHBOURS 6
#define CELL	   (4 * sizeof(double))

/* Cells along an edge of the box. */
#define LEAST_EDGE 32
#define MOST_EDGE  96

/* To a neighbour, in a step: of a thousand. An eager message, which needs no registration, would be shorter. */
#define PARTICLES	    250
#define LEAST_PARTICLES	    ((size_t)8 << 10)
#define PARTICLES_DOUBLINGS 7 /* to 1 MiB */

#define STEPS_OF_A_BOX 16

struct box {
	size_t face[NEIGHBOURS]; /* bytes */
	char *send[NEIGHBOURS], *receive[NEIGHBOURS];
};

static size_t draw_edge(struct app *me)
{
	return LEAST_EDGE + mrn_random_below(&me->seed, MOST_EDGE - LEAST_EDGE + 1);
}

static void leave_box(struct box *b)
{
	for (int i = 0; i < NEIGHBOURS; i++) {
		free(b->send[i]);
		free(b->receive[i]);
	}
}

/* Opposite faces are equal. */
static void enter_box(struct app *me, struct box *b)
{
	size_t x = draw_edge(me), y = draw_edge(me), z = draw_edge(me);
	const size_t area[] = {y * z, x * z, x * y};

	for (int i = 0; i < NEIGHBOURS; i++) {
		b->face[i] = area[i / 2] * CELL;
		b->send[i] = app_alloc(me, b->face[i]);
		b->receive[i] = app_alloc(me, b->face[i]);
	}
}

static void exchange_particles(struct app *me)
{
	size_t length = app_draw_size(me, LEAST_PARTICLES, PARTICLES_DOUBLINGS);
	char *send = app_alloc(me, length), *receive = app_alloc(me, length);

	if (!me->failed) {
		app_send(me, send, length);
		app_receive(me, receive, length);
	}
	free(send);
	free(receive);
}

static void step(struct app *me, const struct box *b)
{
	for (int i = 0; i < NEIGHBOURS; i++) {
		app_send(me, b->send[i], b->face[i]);
		app_receive(me, b->receive[i], b->face[i]);
		if (app_draw(me, PARTICLES))
			exchange_particles(me);
	}
}

void app_mpi(struct app *me)
{
	struct box b = {{0}};

	for (uint64_t i = 0; i < me->steps && !me->failed; i++) {
		if (i % STEPS_OF_A_BOX == 0) {
			leave_box(&b);
			enter_box(me, &b);
		}
		if (!me->failed)
			step(me, &b);
	}
	leave_box(&b);
}
