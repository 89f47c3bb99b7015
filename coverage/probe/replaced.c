/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a notifier is told of a program's end by execve. The result is left to the next program, in a file that both
 * map.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coverage/probe/probe.h"

struct left {
	bool before; /* told while the pages were unchanged */
	bool over;   /* told that it was over, while they still were */
};

struct listener {
	struct mmu_notifier list; /* first: a callback gets its address */
	const struct cause_place *place;
	struct left *left;
};

static int started(struct mmu_notifier *list, const struct mmu_notifier_range *range)
{
	struct listener *l = (struct listener *)list;

	if (range->start <= (uintptr_t)l->place->addr && range->end > (uintptr_t)l->place->addr)
		l->left->before = *l->place->addr == 'A';
	return 0;
}

static void ended(struct mmu_notifier *list, const struct mmu_notifier_range *range)
{
	struct listener *l = (struct listener *)list;

	if (l->left->before)
		l->left->over = true;
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = started,
	.invalidate_range_end = ended,
};

static struct left *map_left(int fd)
{
	void *p = mmap(NULL, sizeof(struct left), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void probe_replaced(struct probe *p)
{
	char program[] = PROBE_PROGRAM, after[] = PROBE_AFTER, number[16];
	char *const next[] = {program, after, number, NULL};
	struct listener l = {.list.ops = &ops};
	struct cause_place place;
	int fd = memfd_create("mrn-coverage", 0), r = -errno;

	snprintf(number, sizeof(number), "%d", fd);
	if (fd >= 0 && !ftruncate(fd, sizeof(*l.left)))
		l.left = map_left(fd);
	if (l.left) {
		r = cause_prepare(p->cause, &place);
		place.next = next;
		l.place = &place;
		if (!r)
			r = mmu_notifier_register(&l.list, mrn_mm_self());
		if (!r)
			r = cause_change(&place);
	}
	/* The exec has returned: it has failed. */
	probe_conclude(p, VERDICT_UNSUPPORTED, "%s", strerror(-r));
}

void probe_judge_replaced(struct probe *p, const char *number)
{
	const struct left *left = map_left(atoi(number));

	if (!left)
		probe_conclude(p, VERDICT_UNSUPPORTED, "%s", strerror(errno));
	else if (!left->before)
		probe_conclude(p, VERDICT_MISSED, "nothing is told");
	else if (left->over)
		probe_conclude(p, VERDICT_BEFORE_RETURN, "its end is announced before it begins");
	else
		probe_conclude(p, VERDICT_BRACKETED, "%s", "");
}
