/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes are recorded: the one into which this library has been loaded, and with --children those that it
 * forks. Runs before main, and in a fork's child: raw calls, and no malloc.
 */
#include <errno.h>
#include <mrn/mmu_notifier.h>
#include <mrn/source.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "os/syscall.h"
#include "os/thread.h"
#include "source/child.h"
#include "source/confined.h"
#include "source/process.h"
#include "watch/record/vdso_clock.h"
#include "watch/record/walk.h"
#include "watch/record/environment.h"
#include "watch/record/exec_plan.h"
#include "watch/shared/kinds.h"
#include "watch/record/lane.h"
#include "watch/record/modules.h"
#include "watch/record/recorder.h"
#include "watch/shared/runtimes.h"
#include "watch/shared/unfollowed.h"

#include "os/event_path.h"

static struct watch_header *header;
/* By getpid: in another pid namespace the log calls this process otherwise. */
static long own_pid;
/* The kind that is attached here, or -errno: another process may have got another. */
static int own_kind;

static bool is_by_name(int kind)
{
	return mrn_kind_facts[kind].traits & MRN_KIND_BY_NAME;
}

/* The process that is counted as unwatched: this one, or its parent. */
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

/* The kind that could be attached, or -errno and why. */
static int attach(void)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	int r = -EOPNOTSUPP;

	*why = '\0';
	WATCH_FOR_EACH_KIND(k, header->kinds) {
		struct mrn_source *source;

		r = mrn_source_attach(mrn_mm_self(), 1u << k, &opts, &source);
		if (r)
			continue;
		r = watch_recorder_watch_loss(source);
		if (!r) {
			__atomic_fetch_or(&header->sources, 1u << k, __ATOMIC_RELAXED);
			return k;
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

/* This process goes on, unwatched. */
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

/* The interposer compares this to recognise a vfork's child. Without a new attach nobody has set it. */
static void know_own_exec(void)
{
	if (!mrn_source_process_pid())
		mrn_source_process_is(own_pid);
}

/* The memory that is followed, or counted: a forked child's is another. */
static const struct mrn_mm *settled;

/* With the source that is attached to it, or that interposes anyway. */
static void follow(void)
{
	int r;

	told_of = 0;
	own_pid = mrn_sys0(SYS_getpid);
	settled = mrn_mm_self();
	if (own_kind < 0) {
		run_unwatched(why);
		return;
	}
	know_own_exec();
	r = watch_recorder_start();
	if (r)
		run_without_lane(r);
}

/* -------------------------------------------------------------------------------------------- children */

/* libc's forks that this thread is in. */
static MRN_TLS unsigned int forking;

/*
 * A child in which nothing could be attached, since it was made without libc's fork handlers: its own children need not
 * be.
 */
static bool is_past_libc;
/* Such a child, as long as it can do no more, and what it is counted under. Its children have a copy. */
static struct {
	long pid;
	struct watch_reason *reason;
} counted;

static bool is_counted(void)
{
	return counted.reason && counted.pid == mrn_sys0(SYS_getpid);
}

static void before_fork(void)
{
	forking++;
}

static void after_fork(void)
{
	forking--;
}

/* It is followed after all. */
static void take_back(void)
{
	if (is_counted() && !watch_unfollowed_arrives(header, watch_lane_number()))
		watch_unfollowed_take_back(counted.reason);
	counted.reason = NULL;
}

static void in_child(void)
{
	int saved = errno;

	forking--;
	watch_recorder_forget();
	if (header->children) {
		take_back();
		if (own_kind < 0 || is_past_libc || !is_by_name(own_kind))
			own_kind = attach();
		is_past_libc = false;
		follow();
	}
	errno = saved;
}

/* A kind that works in a child without a new attach, or -1. */
static int kind_without_attach(void)
{
	WATCH_FOR_EACH_KIND(k, header->kinds)
		if (is_by_name(k))
			return k;
	return -1;
}

/* For a child that may only execute a program, which is then to be watched. */
static void count_child(void)
{
	if (is_counted())
		return;
	counted.pid = told_of = mrn_sys0(SYS_getpid);
	counted.reason = watch_unfollowed_add(
		header, "made past libc's fork, by clone or a system call, and not followed before "
			"it executes a program");
	/* If libc's handlers are yet to run, it is only for a moment. */
	if (!forking)
		watch_unfollowed_doubt(header, watch_lane_number(), counted.reason);
}

/* Without libc's fork handlers. Attach nothing here: any lock may be held for ever. */
static void in_child_past_libc(bool may_act)
{
	int saved = errno, kind = kind_without_attach();

	if (!header->children || settled == mrn_mm_self())
		return;
	if (!may_act || kind < 0) {
		count_child();
	} else {
		watch_recorder_forget();
		take_back();
		is_past_libc = true;
		own_kind = kind;
		__atomic_fetch_or(&header->sources, 1u << kind, __ATOMIC_RELAXED);
		follow();
	}
	errno = saved;
}

/* 125: the tool's exit status when it could not run a program as asked. */
static void refuse(void)
{
	memcpy(header->why, why, sizeof(why));
	__atomic_store_n(&header->failed, 1, __ATOMIC_RELEASE);
	mrn_sys1(SYS_exit_group, 125);
}

/* A library is initialised after those that it needs: so the interposer is ready when we ask for it. */
__attribute__((used)) static int (*const needs_interposer)(void *addr, size_t length) = munmap;

static void begin(void)
{
	int r;

	header = watch_log_open();
	if (!header)
		return;
	watch_clock_start();
	/* From here on makes no call that a sandbox refuses; an attach gives the reasons. */
	mrn_confined_look();
	watch_environment_start();
	if (!header->children)
		watch_environment_restore(header);
	/* A child of another process: a static program has passed the environment on. */
	if (!header->children && watch_lane_number() != header->pid) {
		header = NULL;
		return;
	}
	watch_lane_arrive(watch_now_ns());
	own_pid = mrn_sys0(SYS_getpid);
	watch_exec_start();
	watch_exec_plan_start();
	watch_walk_start();
	own_kind = attach();
	if (own_kind < 0 && !header->attached)
		refuse();
	pthread_atfork(before_fork, after_fork, in_child);
	mrn_child_ask(in_child_past_libc);
	settled = mrn_mm_self();
	if (own_kind < 0) {
		run_unwatched(why);
		return;
	}
	/* A dlclose that nobody stands in front of unmaps by a call of the loader's own. */
	if (is_by_name(own_kind))
		watch_modules_may_leave(true);
	if (is_by_name(own_kind))
		__atomic_fetch_or(&header->runtimes, own_runtimes(), __ATOMIC_RELAXED);
	__atomic_store_n(&header->attached, (uint32_t)own_kind + 1, __ATOMIC_RELEASE);
	r = watch_recorder_start();
	if (r)
		run_without_lane(r);
	else
		watch_unfollowed_arrives(header, watch_lane_pid());
	watch_lane_knock();
}

/* errno is 0 when main begins. */
__attribute__((constructor)) static void begin_unnoticed(void)
{
	int saved = errno;

	begin();
	errno = saved;
}
