/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/room.h"

#include <fcntl.h>

#include "source/uffd/check.h"
#include "core/mm.h"
#include "os/maps.h"
#include "os/syscall.h"
#include "source/confined.h"

/* The kernel's default, for use without /proc/sys. */
#define DEFAULT_MAX 65530

static uint64_t read_max(void)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/sys/vm/max_map_count",
			   O_RDONLY | O_CLOEXEC, 0);
	uint64_t max = 0;
	char text[24];
	long n;

	if (fd < 0)
		return DEFAULT_MAX;
	n = mrn_sys3(SYS_read, fd, (long)text, sizeof(text));
	mrn_sys1(SYS_close, fd);
	for (long i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		max = max * 10 + (uint64_t)(text[i] - '0');
	return max ? max : DEFAULT_MAX;
}

/* So few are not worth another count. */
static uint64_t few(const struct mrn_room *room)
{
	return room->limit / 64 + 1;
}

void mrn_room_init(struct mrn_room *room, const struct mrn_mm *mm)
{
	uint64_t max = read_max();

#ifdef MRN_CHECK
	if (mrn_check_max_mappings)
		max = mrn_check_max_mappings;
#endif
	*room = (struct mrn_room){.mm = mm, .limit = max / 2};
	room->meanwhile = few(room);
}

static bool count_one(const struct mrn_mapping *m, void *n)
{
	(void)m;
	++*(uint64_t *)n;
	return true;
}

/* How many more ranges may be armed; each adds two mappings at most. */
static uint64_t arms_left(const struct mrn_room *room, unsigned int lasting)
{
	uint64_t n = 0;

	/* A sandbox may forbid reading the mappings. */
	if (mrn_is_confined() || mrn_maps_visit(count_one, &n) < 0)
		n = 2 *
		    (__atomic_load_n(&room->mm->index.filter.entries, __ATOMIC_RELAXED) + lasting);
	return n < room->limit ? (room->limit - n) / 2 : 0;
}

/* The first caller counts. */
static bool count(struct mrn_room *room, unsigned int lasting)
{
	uint64_t arms, least = few(room), most = room->limit / 8 + 1;

	if (__atomic_exchange_n(&room->counting, 1, __ATOMIC_ACQUIRE))
		return false;
	arms = arms_left(room, lasting);
	__atomic_store_n(&room->reuses, most, __ATOMIC_RELAXED);
	/* Once: a count that finds no room leaves none for the next. */
	__atomic_store_n(&room->meanwhile, arms < least ? 0 : least, __ATOMIC_RELAXED);
	if (arms < least) {
		/* If little is left, do not count again for each arm. */
		arms = 0;
		__atomic_store_n(&room->chances, room->limit / 4, __ATOMIC_RELAXED);
	} else {
		/* Meanwhile the application maps more, too. */
		arms = arms < most ? arms : most;
		__atomic_store_n(&room->arms, arms - 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&room->counting, 0, __ATOMIC_RELEASE);
	return arms != 0;
}

/* Takes one of *left; false if none is left. */
static bool take_one(uint64_t *left)
{
	uint64_t n = __atomic_load_n(left, __ATOMIC_RELAXED);

	while (n)
		if (__atomic_compare_exchange_n(left, &n, n - 1, true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

bool mrn_room_take(struct mrn_room *room, unsigned int lasting)
{
	if (take_one(&room->arms))
		return true;
	if (take_one(&room->chances))
		return false;
	/* Or another thread counts, or has just counted. */
	return count(room, lasting) || take_one(&room->meanwhile) || take_one(&room->arms);
}

void mrn_room_give_back(struct mrn_room *room)
{
	__atomic_fetch_add(&room->arms, 1, __ATOMIC_RELAXED);
}

void mrn_room_may_have_grown(struct mrn_room *room)
{
	take_one(&room->chances);
}

void mrn_room_has_grown(struct mrn_room *room)
{
	__atomic_store_n(&room->chances, 0, __ATOMIC_RELAXED);
}

void mrn_room_reuse(struct mrn_room *room)
{
	/* Perhaps it had been split by two ranges, and only half of it has been joined again. */
	if (take_one(&room->reuses))
		__atomic_fetch_add(&room->arms, 1, __ATOMIC_RELAXED);
	else
		mrn_room_has_grown(room);
}

bool mrn_room_may_reuse(struct mrn_room *room)
{
	return !take_one(&room->futile);
}

void mrn_room_cannot_reuse(struct mrn_room *room)
{
	__atomic_store_n(&room->futile, 64, __ATOMIC_RELAXED);
}
