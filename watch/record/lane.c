/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "watch/shared/check.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "watch/record/environment.h"

#include "os/event_path.h"

/* The log's path, kept for forked children. */
static char log_path[64];
static struct watch_header *header;
static struct watch_lane *mine;
/*
 * Where this process's lane is mapped; a forked child's is where its parent's was. Chosen at the start, so that it
 * takes no hole of the program's.
 */
static char *place;
static uint32_t my_pid;

/* ------------------------------------------------------------------------------------- opening */

/* "COOKIE:PATH" */
static bool parse(const char *text, uint64_t *cookie)
{
	size_t n = 0;

	*cookie = 0;
	for (; *text && *text != ':'; text++) {
		unsigned int c = (unsigned char)*text;

		*cookie = *cookie << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	if (!*text++)
		return false;
	while (*text && n < sizeof(log_path) - 1)
		log_path[n++] = *text++;
	log_path[n] = '\0';
	return !*text;
}

/* Its descriptor, or -errno. With another /proc it may be another file, even a fifo. */
static long open_log(struct stat *st)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)log_path,
			   O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0),
	     r;

	if (fd < 0)
		return fd;
	r = mrn_sys2(SYS_fstat, fd, (long)st);
	/* Touching what lies behind the end would kill the program. */
	if (!r && st->st_size < WATCH_HEADER_SIZE)
		r = -ENOENT;
	if (r)
		mrn_sys1(SYS_close, fd);
	return r ? r : fd;
}

/* At this address unless NULL. -errno if it cannot be mapped. Keeps no descriptor. */
static long map_log(void *at, size_t offset, size_t size)
{
	long flags = MAP_SHARED | (at ? MAP_FIXED : 0), fd, p;
	struct stat st;

	fd = open_log(&st);
	if (fd < 0)
		return fd;
	p = mrn_sys6(SYS_mmap, (long)at, (long)size, PROT_READ | PROT_WRITE, flags, fd,
		     (long)offset);
	mrn_sys1(SYS_close, fd);
	/* Keep it out of the program's core dumps. */
	if (!mrn_sys_failed(p))
		mrn_sys3(SYS_madvise, p, (long)size, MADV_DONTDUMP);
	return p;
}

/* True if this user may not look at the tool's process after exec, which drops root's capabilities. */
static bool is_another_user(void)
{
	long uid = mrn_sys0(SYS_geteuid);

	if (!uid || (uid == header->uid && mrn_sys0(SYS_getegid) == header->gid))
		return false;
	return mrn_sys6(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SYS_PTRACE, 0, 0,
			0) != 1;
}

int watch_log_reach(void)
{
	struct stat st;
	long fd = is_another_user() ? -EACCES : open_log(&st);

	if (fd < 0)
		return (int)fd;
	mrn_sys1(SYS_close, fd);
	return st.st_dev == header->log_dev && st.st_ino == header->log_ino ? 0 : -ENOENT;
}

/* Private memory, where the lane is or is to be. MAP_FIXED leaves no hole in between. */
static char *map_nothing(char *at, size_t size)
{
	long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);
	long p = mrn_sys6(SYS_mmap, (long)at, (long)size, PROT_READ | PROT_WRITE, flags, -1, 0);

	return mrn_sys_failed(p) ? NULL : (char *)p;
}

struct watch_header *watch_log_open(void)
{
	const char *text = watch_environment_get(WATCH_ENVIRONMENT "=");
	struct watch_header *h;
	uint64_t cookie;
	long p;

	if (!text || !parse(text, &cookie))
		return NULL;
	p = map_log(NULL, 0, WATCH_HEADER_SIZE);
	if (mrn_sys_failed(p))
		return NULL;
	h = (struct watch_header *)p;
	if (h->magic != WATCH_MAGIC || h->version != WATCH_VERSION || h->cookie != cookie) {
		mrn_sys2(SYS_munmap, (long)h, WATCH_HEADER_SIZE);
		return NULL;
	}
	header = h;
	place = map_nothing(NULL, h->lane_size);
	return h;
}

/* ------------------------------------------------------------------------------------- the lane */

/* In another pid namespace getpid says something else. */
uint32_t watch_lane_number(void)
{
	char text[16];
	long n = mrn_sys4(SYS_readlinkat, AT_FDCWD, (long)"/proc/self", (long)text, sizeof(text));
	uint32_t pid = 0;

	for (long i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		pid = pid * 10 + (uint32_t)(text[i] - '0');
	return pid;
}

/* True if this process had a lane before exec. */
static bool again;

static void end_former(uint32_t pid, uint64_t now)
{
	for (int i = 0; i < WATCH_LANES; i++) {
		if ((uint32_t)__atomic_load_n(&header->lane[i].owner, __ATOMIC_RELAXED) != pid)
			continue;
		again = true;
		__atomic_store_n(&header->lane[i].ended, now, __ATOMIC_RELEASE);
	}
}

void watch_lane_arrive(uint64_t now)
{
	end_former(watch_lane_number(), now);
}

/* An index, or -1. */
static int take(uint32_t pid, uint64_t now)
{
	uint64_t owner;

	end_former(pid, now);
	owner = again ? pid | WATCH_AGAIN : pid;
	for (int i = 0; i < WATCH_LANES; i++) {
		uint64_t none = 0;

		/* Acquire, and more: the tool has reset the lane before it stored the 0. */
		if (__atomic_compare_exchange_n(&header->lane[i].owner, &none, owner, false,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return i;
	}
	return -1;
}

bool watch_lane_is_taken(uint32_t pid)
{
	for (int i = 0; i < WATCH_LANES; i++)
		if ((uint32_t)__atomic_load_n(&header->lane[i].owner, __ATOMIC_SEQ_CST) == pid)
			return true;
	return false;
}

int watch_lane_take(uint64_t now)
{
	uint32_t pid;
	long lane;
	int i;

	if (!header || !place)
		return -ENOMEM;
	pid = watch_lane_number();
	if (!pid)
		return -ENOENT;
	i = take(pid, now);
	if (i < 0)
		return -EUSERS;
	lane = map_log(place, watch_lane_offset((unsigned int)i, header->lane_size),
		       header->lane_size);
	if (mrn_sys_failed(lane)) {
		__atomic_store_n(&header->lane[i].owner, 0, __ATOMIC_RELEASE);
		return (int)lane;
	}
	__atomic_store_n(&my_pid, pid, __ATOMIC_RELAXED);
	__atomic_store_n(&mine, (struct watch_lane *)lane, __ATOMIC_RELEASE);
	return 0;
}

/* A stopped tool must not stop the program. */
#define KNOCK_NS 500000000

void watch_lane_knock(void)
{
	struct watch_lane *lane = watch_lane_mine();

	if (!lane)
		return;
	/* Release pairs with the tool's acquire: it finds this lane. */
	__atomic_fetch_add(&header->knocks, 1, __ATOMIC_RELEASE);
	mrn_futex_shared_wake(&header->knocks, 1);
	mrn_futex_shared_wait_for(&lane->seen, 0, KNOCK_NS);
}

void watch_lane_leave(void)
{
	struct watch_lane *lane = __atomic_exchange_n(&mine, NULL, __ATOMIC_ACQ_REL);

	again = false;
	/*
	 * Leaves the parent's lane, but keeps memory there: a handler may return into watch_lane_put and use it, and a
	 * hole would be one that the program has not made.
	 */
	if (lane && !mrn_is_confined())
		map_nothing(place, header->lane_size);
}

struct watch_lane *watch_lane_mine(void)
{
	return __atomic_load_n(&mine, __ATOMIC_ACQUIRE);
}

void *watch_lane_mine_besides(void)
{
	struct watch_lane *lane = watch_lane_mine();

	return lane ? watch_lane_besides(lane, header->ring_shift) : NULL;
}

uint32_t watch_lane_pid(void)
{
	return __atomic_load_n(&my_pid, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------- records */

void watch_lane_executes(const void *token, const struct watch_record *record, bool told)
{
	struct watch_lane *lane = watch_lane_mine();

	for (int i = 0; lane && i < WATCH_EXECS; i++) {
		struct watch_exec_mark *m = &lane->exec[i];
		uint64_t was = 0;

		/* A call that a handler has jumped out of has had the same token. */
		if (!__atomic_compare_exchange_n(&m->token, &was, (uintptr_t)token, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) &&
		    was != (uintptr_t)token)
			continue;
		m->record = *record;
		m->told = told;
		return;
	}
}

void watch_lane_stays(const void *token)
{
	struct watch_lane *lane = watch_lane_mine();

	for (int i = 0; lane && i < WATCH_EXECS; i++)
		if (__atomic_load_n(&lane->exec[i].token, __ATOMIC_RELAXED) == (uintptr_t)token)
			__atomic_store_n(&lane->exec[i].token, 0, __ATOMIC_RELEASE);
}

/* How many skipped slots to pass for one record. */
#define PASSED_MAX 64

/*
 * Reserves a free slot for the caller; NULL if the ring is full.
 *
 * A turn ahead of head has been moved on by a writer, and head before it: by the release there and our acquire we see
 * that. If head is unchanged, no writer has taken the full slot: a fork, in a handler during watch_lane_put, has copied
 * a writer that believes to own it.
 */
static struct watch_record *reserve(struct watch_lane *lane, uint64_t *at)
{
	uint64_t mask = (UINT64_C(1) << header->ring_shift) - 1;
	uint64_t pos = __atomic_load_n(&lane->head, __ATOMIC_RELAXED);
	unsigned int passed = 0;

	while (passed < PASSED_MAX) {
		struct watch_record *slot = &watch_ring(lane)[pos & mask];
		uint32_t vacant = watch_free_turn(pos, header->ring_shift);
		/* Acquire pairs with the tool's release when it has read the slot. */
		uint32_t turn = __atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE);
		uint64_t head;

		if (turn == vacant || MRN_BROKEN(WATCH_TURN)) {
			if (__atomic_compare_exchange_n(&lane->head, &pos, pos + 1, true,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
				*at = pos;
				return slot;
			}
			continue;
		}
		if (turn != WATCH_SKIPPED && (int32_t)(turn - vacant) < 0)
			return NULL;
		head = __atomic_load_n(&lane->head, __ATOMIC_RELAXED);
		if (head != pos) {
			pos = head;
			continue;
		}
		if (MRN_BROKEN(WATCH_SKIP))
			return NULL;
		__atomic_store_n(&slot->turn, WATCH_SKIPPED, __ATOMIC_RELAXED);
		passed++;
		if (__atomic_compare_exchange_n(&lane->head, &pos, pos + 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			pos++;
	}
	return NULL;
}

void watch_lane_put(const struct watch_record *record)
{
	struct watch_lane *lane = watch_lane_mine();
	struct watch_record *slot;
	uint32_t vacant;
	uint64_t pos;

	if (!lane)
		return;
	slot = reserve(lane, &pos);
	if (!slot) {
		if (!MRN_BROKEN(WATCH_DROPS))
			__atomic_fetch_add(&lane->dropped, 1, __ATOMIC_RELAXED);
		return;
	}
	__builtin_memcpy(slot, record, offsetof(struct watch_record, turn));
	vacant = watch_free_turn(pos, header->ring_shift);
	/* Fails if the tool has given this writer up, and counted the record. */
	__atomic_compare_exchange_n(&slot->turn, &vacant, vacant + 1, false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}
