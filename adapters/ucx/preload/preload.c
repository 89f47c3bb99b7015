/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mrn run preloads for UCX: comes between UCX and ucm_set_event_handler, by which each registration cache asks to be
 * told of changes. At the first such call it loads libmrn-ucx and installs it, then passes the call on. So a program that
 * makes no cache, such as a script's other programs, does not load UCX, and one that loads UCX late is served as well. It
 * links with libmrn-interpose, so that this starts before anything attaches it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucm/api/ucm.h>
#include <unistd.h>

#include <mrn/ucx.h>

#include "source/kinds.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The processes in which it was last tried, and done: a child of fork has to do it again. Under the lock. */
static pid_t tried_in, installed_in;
static unsigned int caches;
static int (*get_stats)(struct mrn_ucx_stats *stats, size_t size);

/* One line, by one write, so that the ranks of a job may share a file. */
__attribute__((format(printf, 2, 3))) static void say(bool refusal, const char *format, ...)
{
	char line[1024];
	va_list args;
	int n;

	if (!refusal && !getenv("MRN_RUN_STATUS"))
		return;
	n = snprintf(line, sizeof(line), "mrn[%d]: UCX: ", getpid());
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* Nobody is left to be told if it fails. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

static void install(void)
{
	const char *source = getenv("MRN_RUN_SOURCE");
	int kinds = mrn_kinds_named(source ? source : MRN_AUTO);
	void *library = dlopen("libmrn-ucx.so.0", RTLD_NOW);
	char why[512] = "";
	struct mrn_ucx_opts opts = {
		.size = sizeof(opts),
		.kinds = kinds < 0 ? MRN_SOURCE_AUTO : (unsigned int)kinds,
		.why = why,
		.why_size = sizeof(why),
	};
	int (*start)(const struct mrn_ucx_opts *);
	struct mrn_source *(*get_source)(void);
	int r;

	if (!library) {
		say(true, "not installed: %s", dlerror());
		return;
	}
	start = (__typeof__(start))dlsym(library, "mrn_ucx_install");
	get_source = (__typeof__(get_source))dlsym(library, "mrn_ucx_source");
	get_stats = (__typeof__(get_stats))dlsym(library, "mrn_ucx_get_stats");
	r = start(&opts);
	if (r) {
		say(true, "not installed: %s", *why ? why : strerror(-r));
		return;
	}
	installed_in = getpid();
	say(false, "its registration caches are told of memory changes, seen by %s",
	    mrn_source_name(get_source()));
}

ucs_status_t ucm_set_event_handler(int events, int priority, ucm_event_callback_t callback,
				   void *arg)
{
	/* UCX may have been loaded where RTLD_NEXT does not look. */
	void *libucm = dlopen("libucm.so.0", RTLD_LAZY | RTLD_NOLOAD);
	__typeof__(&ucm_set_event_handler) real;

	real = libucm ? (__typeof__(real))dlsym(libucm, "ucm_set_event_handler") : NULL;
	if (!real) {
		say(true,
		    "has no cache: it is not Debian's or its like, whose libucm.so.0 could be told of changes");
		return UCS_ERR_UNSUPPORTED;
	}
	if (events & UCM_EVENT_VM_UNMAPPED) {
		pthread_mutex_lock(&lock);
		if (tried_in != getpid()) {
			tried_in = getpid();
			caches = 0;
			install();
		}
		caches++;
		pthread_mutex_unlock(&lock);
	}
	return real(events, priority, callback, arg);
}

__attribute__((destructor)) static void end(void)
{
	struct mrn_ucx_stats stats;

	if (installed_in != getpid() || get_stats(&stats, sizeof(stats)))
		return;
	say(stats.lost != 0, "%u caches were told of %llu changes%s", caches,
	    (unsigned long long)stats.announced,
	    stats.lost ? "; since some time not of all, as the source has lost what it had" : "");
}
