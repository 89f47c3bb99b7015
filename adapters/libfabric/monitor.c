/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn as libfabric's memory monitor: what libfabric calls, and how it is made to. */
#include <errno.h>
#include <link.h>
#include <rdma/fabric.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_ext.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/fork.h"
#include "adapters/libfabric/check.h"
#include "adapters/libfabric/table.h"
#include "os/opts.h"

#define DEFAULT_RANGES 4096
#define MIN_RANGES     8
#define MAX_RANGES     65536

/* -------------------------------------------------------------------------------- what libfabric calls */

/*
 * Only where the kernel copies pinned pages for the child (Linux 5.12, which libibverbs asks the RDMA subsystem for), does a
 * pin keep what the parent sees. Elsewhere the parent's next write after a fork goes to another page, which no cause in
 * MRN_COVER_PAGES announces; or, with ibv_fork_init, libibverbs keeps a tree of what is registered, and that goes wrong if
 * memory is unmapped before it is deregistered. A cache always deregisters later.
 *
 * libfabric's providers call ibv_fork_init before they open a domain, and this comes when the first one is opened.
 */
static bool fork_is_safe(void)
{
	return mrn_fork_status() == MRN_FORK_UNNEEDED || MRN_BROKEN(FABRIC_FORK);
}

/* With a failure here, a provider may refuse the domain; what is never kept is right, too. */
static int start(struct fid_mem_monitor *m)
{
	__atomic_store_n(&mrn_fabric.fork, fork_is_safe() ? FORK_IS_SAFE : FORK_IS_UNSAFE,
			 __ATOMIC_RELAXED);
	return 0;
}

static void stop(struct fid_mem_monitor *m)
{
}

static int subscribe(struct fid_mem_monitor *m, const void *addr, size_t length)
{
	return mrn_fabric_accept((uintptr_t)addr, length) ? 0 : -FI_EAGAIN;
}

/*
 * Called by libfabric 2.1 and later, once for each entry that goes. Several entries may have the same range, in caches of
 * different domains, and share its watch.
 */
static void unsubscribe(struct fid_mem_monitor *m, const void *addr, size_t length)
{
}

static bool valid(struct fid_mem_monitor *m, const void *addr, size_t length)
{
	return mrn_fabric_valid((uintptr_t)addr, length);
}

static struct fi_ops_mem_monitor ops = {
	.size = sizeof(ops),
	.start = start,
	.stop = stop,
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.valid = valid,
};

static struct fid_mem_monitor monitor = {
	.fid = {.fclass = FI_CLASS_MEM_MONITOR},
	.export_ops = &ops,
};

static void forget(const void *addr, size_t length)
{
	monitor.import_ops->notify(&monitor, addr, length);
}

/* ---------------------------------------------------------------------------------------- install */

static int is_open_mpi(struct dl_phdr_info *info, size_t size, void *arg)
{
	return info->dlpi_name && strstr(info->dlpi_name, "/libopen-pal.so");
}

/* Why libfabric refuses to import a monitor: it answers EBUSY in two cases. */
static const char *who_is_there(void)
{
	return dl_iterate_phdr(is_open_mpi, NULL)
		       ? "libfabric has a memory monitor already, perhaps Open MPI's, which is in this "
			 "process and brings one: install mrn's before MPI_Init"
		       : "libfabric has a memory monitor already, or a domain with a cache is open: "
			 "install mrn's before the first domain";
}

static int import(const struct mrn_libfabric_opts *opts)
{
	struct fid *cache;
	int r = fi_open(FI_VERSION(1, 14), "mr_cache", NULL, 0, 0, &cache, NULL);

	if (r)
		return mrn_explain(opts, -ENOSYS, "this libfabric takes no memory monitor (%s)",
				   fi_strerror(-r));
	r = fi_import_fid(cache, &monitor.fid, 0);
	fi_close(cache);
	if (r == -FI_EBUSY)
		return mrn_explain(opts, -EBUSY, "%s", who_is_there());
	if (r)
		return mrn_explain(opts, -ENOSYS, "libfabric refuses the memory monitor: %s",
				   fi_strerror(-r));
	return 0;
}

/* What can be known before anything is changed. */
static int check(const struct mrn_libfabric_opts *opts)
{
	uint32_t version = fi_version();
	const char *other = getenv("FI_MR_CACHE_MONITOR");

	if (mrn_fabric.mm)
		return mrn_explain(opts, -EALREADY, "mrn is libfabric's memory monitor already");
	if (opts->max_ranges > MAX_RANGES)
		return mrn_explain(opts, -EINVAL, "max_ranges is larger than %d", MAX_RANGES);
	/* 1.13 crashes when its first domain starts an imported monitor. */
	if (FI_VERSION_LT(version, FI_VERSION(1, 14)))
		return mrn_explain(opts, -ENOSYS,
				   "libfabric is version %u.%u, and mrn needs 1.14 or later",
				   FI_MAJOR(version), FI_MINOR(version));
	/* libfabric obeys the variable when its first provider is loaded, whatever was imported. */
	if (other)
		return mrn_explain(
			opts, -EBUSY,
			"FI_MR_CACHE_MONITOR is set to \"%s\", which chooses libfabric's own "
			"memory monitor: unset it",
			other);
	return 0;
}

static int install(const struct mrn_libfabric_opts *opts)
{
	struct mrn_source_opts source_opts = {.size = sizeof(source_opts)};
	struct table *t = &mrn_fabric;
	unsigned int nr;
	int r = check(opts);

	if (r)
		return r;
	MRN_HOOK(fabric_checked);
	t->need = opts->need ? opts->need : MRN_COVER_PAGES;
	t->notify = forget;
	nr = opts->max_ranges ? opts->max_ranges : DEFAULT_RANGES;
	source_opts.need = t->need;
	source_opts.why = opts->why;
	source_opts.why_size = opts->why_size;
	r = mrn_source_attach(mrn_mm_self(), opts->kinds, &source_opts, &t->source);
	if (r)
		return r;
	r = mrn_fabric_table_init(nr < MIN_RANGES ? MIN_RANGES : nr);
	if (r) {
		mrn_explain(opts, r, "there is no memory for a table of %u ranges", nr);
		goto detach;
	}
	/* Last, since it cannot be undone. The reaper sleeps until something is watched. */
	r = mrn_fabric_reaper_start();
	if (r)
		mrn_explain(opts, r, "no thread can be made");
	else
		r = import(opts);
	if (r)
		goto undo;
	/* libfabric asks nothing before the first domain. */
	__atomic_store_n(&t->mm, mrn_mm_self(), __ATOMIC_RELEASE);
	return 0;
undo:
	mrn_fabric_table_undo();
detach:
	mrn_source_detach(t->source);
	t->source = NULL;
	return r;
}

int mrn_libfabric_install(const struct mrn_libfabric_opts *theirs)
{
	struct mrn_libfabric_opts opts = {.size = sizeof(opts)};
	int r = theirs ? MRN_OPTS_TAKE(&opts, theirs) : 0;
	/* Nobody waits for it: a thread may come here with the loader's lock, which libfabric takes to load a provider. */
	static bool busy;

	if (r)
		return r;
	if (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE) && !MRN_BROKEN(FABRIC_TURN))
		return mrn_explain(&opts, -EBUSY, "another thread is just installing it");
	r = install(&opts);
	__atomic_clear(&busy, __ATOMIC_RELEASE);
	return r;
}

/* ---------------------------------------------------------------------------------------- the rest */

void mrn_libfabric_begin(const void *addr, size_t length)
{
	if (length && __atomic_load_n(&mrn_fabric.mm, __ATOMIC_ACQUIRE))
		mrn_fabric_begin((uintptr_t)addr, length);
}

struct mrn_source *mrn_libfabric_source(void)
{
	return __atomic_load_n(&mrn_fabric.mm, __ATOMIC_ACQUIRE) ? mrn_fabric.source : NULL;
}

int mrn_libfabric_get_stats(struct mrn_libfabric_stats *stats, size_t size)
{
	struct mrn_libfabric_stats now = {
		.fork_unsafe = __atomic_load_n(&mrn_fabric.fork, __ATOMIC_RELAXED) ==
			       FORK_IS_UNSAFE};
	const struct mrn_libfabric_stats *s = &mrn_fabric.stats;

	if (!mrn_libfabric_source())
		return -ENOTCONN;
	now.begun = __atomic_load_n(&s->begun, __ATOMIC_RELAXED);
	now.kept = __atomic_load_n(&s->kept, __ATOMIC_RELAXED);
	now.refused = __atomic_load_n(&s->refused, __ATOMIC_RELAXED);
	now.found = __atomic_load_n(&s->found, __ATOMIC_RELAXED);
	now.stale = __atomic_load_n(&s->stale, __ATOMIC_RELAXED);
	now.invalidated = __atomic_load_n(&s->invalidated, __ATOMIC_RELAXED);
	now.dropped = __atomic_load_n(&s->dropped, __ATOMIC_RELAXED);
	now.use_once = __atomic_load_n(&s->use_once, __ATOMIC_RELAXED);
	now.full = __atomic_load_n(&s->full, __ATOMIC_RELAXED);
	now.ranges = mrn_fabric.nr - __atomic_load_n(&mrn_fabric.nr_free, __ATOMIC_RELAXED);
	return mrn_figures_give(stats, size, &now, sizeof(now));
}
