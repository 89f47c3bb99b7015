/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mrn run preloads for UCX: comes between UCX and ucm_set_event_handler, by which each registration cache asks to be
 * told of changes. At the first such call it loads libmrn-ucx and installs it, then passes the call on. So a program that
 * makes no cache, such as a script's other programs, does not load UCX, and one that loads UCX late is served as well. It
 * links with libmrn-interpose, so that this starts before anything attaches it.
 *
 * No lock of ours is held. A thread may come here with the loader's lock, from a constructor, and what is done here takes
 * that lock; and a fork may come at any time. So threads that come at the same time all load and install, which for all
 * but one is over already: mrn_ucx_install sees to that, and takes no lock of the loader's meanwhile.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucm/api/ucm.h>
#include <unistd.h>

#include <mrn/ucx.h>

#include "adapters/preload.h"

#define SAY(refusal, ...) mrn_preload_say("UCX", refusal, __VA_ARGS__)

/* libmrn-ucx's. Whoever looks them up finds the same. */
static struct {
	int (*install)(const struct mrn_ucx_opts *opts);
	struct mrn_source *(*source)(void);
	int (*get_stats)(struct mrn_ucx_stats *stats, size_t size);
} ours;

/* The processes in which it was last tried, and done: a child of fork has to do it again. */
static pid_t tried_in, installed_in;
/* How many caches the process has: its number in the upper half. */
static uint64_t caches;

#define FIND(function, name)                                                              \
	__atomic_store_n(&ours.function, (__typeof__(ours.function))dlsym(library, name), \
			 __ATOMIC_RELAXED)

static bool load(char *why, size_t why_size)
{
	void *library = dlopen("libmrn-ucx.so.0", RTLD_NOW);

	if (!library) {
		snprintf(why, why_size, "%s", dlerror());
		return false;
	}
	FIND(install, "mrn_ucx_install");
	FIND(source, "mrn_ucx_source");
	FIND(get_stats, "mrn_ucx_get_stats");
	return true;
}

/* 0; -EALREADY if another thread has done it; or -errno with a sentence in why, or none. */
static int install(char *why, size_t why_size)
{
	struct mrn_ucx_opts opts = {.size = sizeof(opts), .why = why, .why_size = why_size};
	int kinds = mrn_preload_kinds(why, why_size);

	if (kinds < 0)
		return kinds;
	opts.kinds = (unsigned int)kinds;
	return load(why, why_size) ? ours.install(&opts) : -ENOENT;
}

/* When it returns, it is installed in this process, or cannot be. */
static void try_to_install(void)
{
	char why[512] = "";
	int r;

	if (__atomic_load_n(&tried_in, __ATOMIC_ACQUIRE) == getpid())
		return;
	r = install(why, sizeof(why));
	if (r == -EALREADY)
		return;
	/* Whoever has done it says so; of those that are refused, the first. */
	if (__atomic_exchange_n(&tried_in, getpid(), __ATOMIC_ACQ_REL) == getpid() && r)
		return;
	if (r) {
		SAY(true, "not installed: %s", *why ? why : strerror(-r));
		return;
	}
	__atomic_store_n(&installed_in, getpid(), __ATOMIC_RELAXED);
	SAY(false, "its registration caches are told of memory changes, seen by %s",
	    mrn_source_name(ours.source()));
}

static void count_cache(void)
{
	const uint64_t none = (uint64_t)getpid() << 32;
	uint64_t had = __atomic_load_n(&caches, __ATOMIC_RELAXED), now;

	do {
		now = ((had ^ none) >> 32 ? none : had) + 1;
	} while (!__atomic_compare_exchange_n(&caches, &had, now, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

ucs_status_t ucm_set_event_handler(int events, int priority, ucm_event_callback_t callback,
				   void *arg)
{
	/* UCX may have been loaded where RTLD_NEXT does not look. */
	void *libucm = dlopen("libucm.so.0", RTLD_LAZY | RTLD_NOLOAD);
	__typeof__(&ucm_set_event_handler) real;

	real = libucm ? (__typeof__(real))dlsym(libucm, "ucm_set_event_handler") : NULL;
	if (!real) {
		SAY(true,
		    "has no cache: it is not Debian's or its like, whose libucm.so.0 could be told of changes");
		return UCS_ERR_UNSUPPORTED;
	}
	if (events & UCM_EVENT_VM_UNMAPPED) {
		try_to_install();
		count_cache();
	}
	return real(events, priority, callback, arg);
}

__attribute__((destructor)) static void end(void)
{
	struct mrn_ucx_stats stats;

	if (installed_in != getpid() || ours.get_stats(&stats, sizeof(stats)))
		return;
	SAY(stats.lost != 0, "%u caches were told of %llu changes%s", (unsigned int)caches,
	    (unsigned long long)stats.announced,
	    stats.lost ? "; since some time not of all, as the source has lost what it had" : "");
}
