/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Installs mrn as libfabric's memory monitor when the program starts, if the environment asks for it, and says what came
 * of it; docs/libfabric.md has the variables. It opens libmrn-libfabric itself, rather than link with it, so that
 * libfabric is not loaded into the other programs that a script starts. It links with libmrn-interpose, so that
 * this is ready when a source is attached: constructors run in the order of dependencies.
 */
#include "adapters/libfabric/preload/preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mrn/libfabric.h>

#include "adapters/preload.h"
#include "source/kinds.h"

#define LIBRARY "libmrn-libfabric.so.0"

/* libmrn-libfabric's. */
static int (*install)(const struct mrn_libfabric_opts *opts);
static void (*begin)(const void *addr, size_t length);
static int (*get_stats)(struct mrn_libfabric_stats *stats, size_t size);
static struct mrn_source *(*get_source)(void);

static bool is_installed;
static pid_t installed_in;

void mrn_fabric_preload_begin(const void *addr, size_t length)
{
	if (is_installed)
		begin(addr, length);
}

#define SAY(refusal, ...) mrn_preload_say("libfabric", refusal, __VA_ARGS__)

static bool load(char *why, size_t why_size)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);

	if (!library) {
		snprintf(why, why_size, "%s", dlerror());
		return false;
	}
	install = (__typeof__(install))dlsym(library, "mrn_libfabric_install");
	begin = (__typeof__(begin))dlsym(library, "mrn_libfabric_begin");
	get_stats = (__typeof__(get_stats))dlsym(library, "mrn_libfabric_get_stats");
	get_source = (__typeof__(get_source))dlsym(library, "mrn_libfabric_source");
	return install && begin && get_stats && get_source;
}

/* 0, or -errno with a sentence in why. */
static int ask(char *why, size_t why_size)
{
	struct mrn_libfabric_opts opts = {.size = sizeof(opts), .why = why, .why_size = why_size};
	int kinds = mrn_preload_kinds(why, why_size);

	if (kinds < 0)
		return kinds;
	opts.kinds = (unsigned int)kinds;
	/* Whoever asks for one kind knows that it covers less. */
	MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS)
		if (opts.kinds == 1u << k)
			opts.need = mrn_kind_facts[k].covers & MRN_COVER_PAGES;
	return load(why, why_size) ? install(&opts) : -ENOENT;
}

__attribute__((constructor)) static void start(void)
{
	const char *asked = getenv("MRN_LIBFABRIC");
	char why[512] = "";
	int err = errno, r;

	if (!asked || !strcmp(asked, "0") ||
	    (!strcmp(asked, "auto") && !dlopen("libfabric.so.1", RTLD_LAZY | RTLD_NOLOAD)))
		return;
	r = ask(why, sizeof(why));
	if (r) {
		SAY(true, "not installed: %s", *why ? why : strerror(-r));
	} else {
		is_installed = true;
		installed_in = getpid();
		SAY(false, "installed, memory is watched by %s", mrn_source_name(get_source()));
	}
	errno = err;
}

__attribute__((destructor)) static void end(void)
{
	struct mrn_libfabric_stats stats;

	if (!is_installed || installed_in != getpid() || get_stats(&stats, sizeof(stats)))
		return;
	SAY(false, "%llu registrations kept, %llu found again, %llu invalidated",
	    (unsigned long long)stats.kept, (unsigned long long)stats.found,
	    (unsigned long long)stats.invalidated);
	if (stats.fork_unsafe)
		SAY(true,
		    "no registration was kept, since this machine's kernel or ibv_fork_init makes a "
		    "cache unsafe in a program that forks");
}
