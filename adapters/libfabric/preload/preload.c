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
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mrn/libfabric.h>

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

/* One line, by one write, so that the ranks of a job may share a file. A refusal is always said. */
__attribute__((format(printf, 2, 3))) static void say(bool refusal, const char *format, ...)
{
	const char *to = getenv("MRN_RUN_STATUS");
	char line[1024];
	va_list args;
	int fd = STDERR_FILENO, n;

	if (!to && !refusal)
		return;
	n = snprintf(line, sizeof(line), "mrn[%d]: libfabric: ", getpid());
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (to && strcmp(to, "-"))
		fd = open(to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, line, (size_t)n) < 0)
		return;
	if (fd != STDERR_FILENO)
		close(fd);
}

/* "interpose+uffd" as a mask; false for a word that is no kind's. */
static bool parse_kinds(const char *words, struct mrn_libfabric_opts *opts)
{
	if (!words || !strcmp(words, MRN_AUTO))
		return true;
	while (*words) {
		size_t length = strcspn(words, "+");
		unsigned int before = opts->kinds;

		MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS)
			if (strlen(mrn_kind_facts[k].name) == length &&
			    !memcmp(mrn_kind_facts[k].name, words, length))
				opts->kinds |= 1u << k;
		if (opts->kinds == before)
			return false;
		words += length + (words[length] == '+');
	}
	/* Whoever asks for one kind knows that it covers less. */
	MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS)
		if (opts->kinds == 1u << k)
			opts->need = mrn_kind_facts[k].covers & MRN_COVER_PAGES;
	return true;
}

static bool load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);

	if (!library) {
		say(true, "not installed: %s", dlerror());
		return false;
	}
	install = (__typeof__(install))dlsym(library, "mrn_libfabric_install");
	begin = (__typeof__(begin))dlsym(library, "mrn_libfabric_begin");
	get_stats = (__typeof__(get_stats))dlsym(library, "mrn_libfabric_get_stats");
	get_source = (__typeof__(get_source))dlsym(library, "mrn_libfabric_source");
	return install && begin && get_stats && get_source;
}

__attribute__((constructor)) static void start(void)
{
	const char *asked = getenv("MRN_LIBFABRIC"), *kinds = getenv("MRN_RUN_SOURCE");
	struct mrn_libfabric_opts opts = {.size = sizeof(opts)};
	char why[512] = "";
	int err = errno;

	if (!asked || !strcmp(asked, "0") ||
	    (!strcmp(asked, "auto") && !dlopen("libfabric.so.1", RTLD_LAZY | RTLD_NOLOAD)))
		return;
	opts.why = why;
	opts.why_size = sizeof(why);
	if (!parse_kinds(kinds, &opts)) {
		say(true, "not installed: MRN_RUN_SOURCE is \"%s\", and kinds are: %s" MRN_AUTO,
		    kinds, MRN_KIND_WORDS);
	} else if (load()) {
		int r = install(&opts);

		if (r) {
			say(true, "not installed: %s", *why ? why : strerror(-r));
		} else {
			is_installed = true;
			installed_in = getpid();
			say(false, "installed, memory is watched by %s",
			    mrn_source_name(get_source()));
		}
	}
	errno = err;
}

__attribute__((destructor)) static void end(void)
{
	struct mrn_libfabric_stats stats;

	if (!is_installed || installed_in != getpid() || get_stats(&stats, sizeof(stats)))
		return;
	say(false, "%llu registrations kept, %llu found again, %llu invalidated",
	    (unsigned long long)stats.kept, (unsigned long long)stats.found,
	    (unsigned long long)stats.invalidated);
	if (stats.fork_unsafe)
		say(true,
		    "no registration was kept, since this machine's kernel or ibv_fork_init makes a "
		    "cache unsafe in a program that forks");
}
