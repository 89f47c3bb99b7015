/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmrn-watch: preloaded into a program by `mrn watch`, together with libmrn-interpose. A list notifier
 * on the program's own mm is told of every invalidation, and its start and end become one record in the
 * log.
 *
 * The callbacks run inside somebody's munmap or free: no allocation, no stdio, no lock, errno kept,
 * re-entrant, and at most so much work.
 */
#include <errno.h>
#include <mrn/mmu_notifier.h>
#include <mrn/source.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "core/mm.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/confined.h"
#include "watch/environment.h"
#include "watch/exec_plan.h"
#include "watch/clock.h"
#include "watch/frames.h"
#include "watch/kinds.h"
#include "watch/lane.h"
#include "watch/modules.h"
#include "watch/open.h"
#include "watch/recorder.h"
#include "watch/runtimes.h"
#include "watch/unfollowed.h"

#include "os/event_path.h"

static struct watch_header *header;
/* As getpid says it, which is not what the log calls this process in another namespace. */
static long own_pid;
/* The place in watch_kinds of what is attached here: another process may have got another. */
static int own_kind;

/*
 * gettid is a system call, which a sandbox of the program's may punish. But glibc knows the answer, for each thread that it
 * has made: such a mutex notes who owns it. This one is nobody else's, so taking it waits for nothing and asks nobody.
 */
static uint32_t thread_number(void)
{
#ifdef __GLIBC__
	pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

	pthread_mutex_trylock(&mutex);
	return (uint32_t)mutex.__data.__owner;
#else
	static MRN_TLS uint32_t known_in, tid;
	uint32_t pid = watch_lane_pid();

	/* Made past dispatch: what has been caught may run on an alternate stack that has no room for another signal. */
	if (known_in != pid) {
		tid = (uint32_t)mrn_source_bypass(SYS_gettid, 0, 0, 0, 0, 0, 0);
		known_in = pid;
	}
	return tid;
#endif
}

/* All but its end. */
static struct watch_record record_of(const struct watch_open *o,
				     const struct mmu_notifier_range *range)
{
	return (struct watch_record){
		.begin = o->begin,
		.start = range->start,
		.stop = range->end,
		.site = o->site,
		.via = o->via,
		.pid = watch_lane_pid(),
		.tid = thread_number(),
		.flags = (uint16_t)range->flags,
		.event = (uint8_t)range->event,
		.cause = (uint8_t)range->cause,
	};
}

static int start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct watch_lane *lane = watch_lane_mine();
	struct watch_record r;
	struct watch_open *o;
	bool cut_off;

	/* Also what a source says that takes no chances while a vfork's child has this memory: nothing has changed. */
	if (!lane || range->cause == MRN_CAUSE_DETACH)
		return 0;
	o = watch_open_take(range, &cut_off);
	if (!o || cut_off)
		__atomic_fetch_add(&lane->unpaired, 1, __ATOMIC_RELAXED);
	if (!o)
		return 0;
	watch_frames_capture(&o->site, &o->via);
	watch_clock_look(range);
	o->begin = watch_now_ns();
	watch_modules_need(o->site, o->begin);
	if (range->cause == MRN_CAUSE_EXEC) {
		r = record_of(o, range);
		watch_lane_executes(range, &r, watch_exec_is_told());
	}
	return 0;
}

static void end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct watch_open *o = watch_open_find(range);
	struct watch_record r;

	if (!o)
		return;
	r = record_of(o, range);
	r.end = watch_now_ns();
	watch_open_free(o);
	if (range->event == MMU_NOTIFY_UNMAP)
		watch_modules_unmapped(r.start, r.stop, r.end);
	if (range->cause == MRN_CAUSE_EXEC)
		watch_lane_stays(range);
	watch_lane_put(&r);
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = start,
	.invalidate_range_end = end,
};
static struct mmu_notifier notifier = {.ops = &ops};

/* From now on less is seen than was: that is told where it happens, among what has been seen. On the event path. */
static void lost(struct mrn_source_loss *loss, uint64_t causes)
{
	const struct watch_record r = {
		.begin = watch_now_ns(),
		.end = watch_now_ns(),
		.stop = UINT64_MAX,
		.pid = watch_lane_pid(),
		.tid = thread_number(),
		.event = MMU_NOTIFY_CLEAR,
		.cause = MRN_CAUSE_DETACH,
	};

	watch_lane_put(&r);
}

static struct mrn_source_loss loss;

int watch_recorder_start(void)
{
	uint64_t now = watch_now_ns();
	int r = watch_lane_take(now);

	if (r)
		return r;
	watch_modules_look(now);
	return mmu_notifier_register(&notifier, mrn_mm_self());
}

/* The number of a process that is counted as unwatched: the one that runs, or that was forked from. */
static long told_of;

struct watch_reason *watch_recorder_unfollowed(long pid, const char *text)
{
	return pid == told_of ? NULL : watch_unfollowed_add(header, text);
}

struct watch_header *watch_recorder_header(void)
{
	return header;
}

bool watch_recorder_is(long pid)
{
	return pid == own_pid;
}

/* ---------------------------------------------------------------------------------- where it begins */

/* Why nothing could be attached here. */
static char why[sizeof(((struct watch_header *)0)->why)];

/* The place in watch_kinds of what could be attached, or -errno and why. */
static int attach(void)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	int r = -EOPNOTSUPP;

	*why = '\0';
	for (unsigned int i = 0; i < WATCH_NR_KINDS; i++) {
		struct mrn_source *source;

		if (header->kinds && !(header->kinds >> i & 1))
			continue;
		r = mrn_source_attach(mrn_mm_self(), watch_kinds[i].kind, &opts, &source);
		if (r)
			continue;
		loss = (struct mrn_source_loss){.lost = lost};
		r = mrn_source_watch_loss(source, &loss);
		if (!r) {
			__atomic_fetch_or(&header->sources, 1u << i, __ATOMIC_RELAXED);
			return (int)i;
		}
	}
	if (!*why)
		strcpy(why, "no source could be attached");
	return r;
}

#define DECLARE(init, name) extern void init(void) __attribute__((weak, visibility("default")));
WATCH_RUNTIMES(DECLARE)

static uint32_t own_runtimes(void)
{
#define ADDRESS(init, name) (uintptr_t) init,
	static const uintptr_t inits[] = {WATCH_RUNTIMES(ADDRESS)};
	uint32_t bits = 0;

	for (unsigned int i = 0; i < sizeof(inits) / sizeof(inits[0]); i++)
		bits |= (inits[i] ? 1u : 0) << i;
	return bits;
}

/* This process runs on, and nobody sees what it does. */
static void run_unwatched(const char *text)
{
	watch_unfollowed_add(header, text);
	told_of = own_pid;
}

static void run_without_lane(int err)
{
	char text[sizeof(header->reason[0].text)];

	watch_unfollowed_say_log(err, text, sizeof(text));
	run_unwatched(text);
}

/* The interposer tells it by this from one of a vfork's child. Where nothing is attached anew, nobody has said so. */
static void know_own_exec(void)
{
	struct mrn_mm *mm = mrn_mm_self();

	if (mm && !mm->pid && own_pid > 0)
		mm->pid = (int32_t)own_pid;
}

static void follow(void)
{
	int r;

	told_of = 0;
	if (own_kind < 0 || watch_kinds[own_kind].in_child)
		own_kind = attach();
	own_pid = mrn_sys0(SYS_getpid);
	if (own_kind < 0) {
		run_unwatched(why);
		return;
	}
	know_own_exec();
	r = watch_recorder_start();
	if (r)
		run_without_lane(r);
}

/* A fork's child has an mm of its own, which nobody listens to until it is followed. */
static void in_child(void)
{
	int saved = errno;

	watch_lane_leave();
	watch_open_restart();
	watch_modules_restart();
	mmu_notifier_unregister(&notifier, notifier.mm);
	notifier = (struct mmu_notifier){.ops = &ops};
	if (header->children)
		follow();
	errno = saved;
}

/* 125: what the tool exits with when it could not run a program as it was asked to. */
static void refuse(void)
{
	memcpy(header->why, why, sizeof(why));
	__atomic_store_n(&header->failed, 1, __ATOMIC_RELEASE);
	mrn_sys1(SYS_exit_group, 125);
}

/* A library that needs another is set up after it: so the interposer is there when we ask for it. */
__attribute__((used)) static int (*const needs_interposer)(void *addr, size_t length) = munmap;

static void begin(void)
{
	int r;

	header = watch_log_open();
	if (!header)
		return;
	watch_clock_start();
	/* What a sandbox does not let pass is not called from here on; an attach says what there is to be said. */
	mrn_confined_look();
	watch_environment_start();
	if (!header->children)
		watch_environment_restore(header);
	/* Another one's child, as a static program has handed the environment on. */
	if (!header->children && watch_lane_number() != header->pid) {
		header = NULL;
		return;
	}
	watch_lane_arrive(watch_now_ns());
	own_pid = mrn_sys0(SYS_getpid);
	watch_exec_start();
	watch_exec_plan_start();
	watch_frames_start();
	own_kind = attach();
	if (own_kind < 0 && !header->attached)
		refuse();
	if (own_kind < 0) {
		run_unwatched(why);
		return;
	}
	if (watch_kinds[own_kind].kind == MRN_SOURCE_INTERPOSE)
		__atomic_fetch_or(&header->runtimes, own_runtimes(), __ATOMIC_RELAXED);
	__atomic_store_n(&header->attached, (uint32_t)own_kind + 1, __ATOMIC_RELEASE);
	pthread_atfork(NULL, NULL, in_child);
	r = watch_recorder_start();
	if (r)
		run_without_lane(r);
	else
		watch_unfollowed_arrives(header, watch_lane_pid());
	watch_lane_knock();
}

/* It is 0 when main begins. */
__attribute__((constructor)) static void begin_unnoticed(void)
{
	int saved = errno;

	begin();
	errno = saved;
}
