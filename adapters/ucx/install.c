/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a source to UCX. The order is such that UCX's caches rely on nothing that is not there yet: first the source is
 * attached and passed on, and then UCX is told that somebody does so. From then on it makes caches, and they cannot be
 * told to stop: so nothing is ever taken back.
 */
#include <errno.h>
#include <string.h>

#include <mrn/ucx.h>
#include <ucm/api/ucm.h>

#include "adapters/ucx/announce.h"
#include "adapters/ucx/check.h"
#include "adapters/ucx/hooks.h"
#include "os/mutex.h"
#include "os/opts.h"
#include "os/pages.h"

static struct {
	struct mrn_mm *mm; /* installed in the process whose this is; written last */
	struct mrn_source
		*source; /* the rest is of that process, and stays as it is once mm is set */
	struct mmu_notifier notifier;
	struct mrn_source_loss loss;
	uint64_t lost;
	/*
	 * UCX has been told that somebody announces changes: by this process, or by its parent, whose word UCX's own memory
	 * keeps in a child.
	 */
	bool told;
} ucx;

/*
 * One install at a time. In a child that is forked during an install, nobody is installing. The loader's lock is not
 * taken meanwhile: a thread may come here with it, from a constructor.
 */
static struct {
	struct mrn_mutex lock;
} * turn;

static bool is_installed(void)
{
	struct mrn_mm *mm = __atomic_load_n(&ucx.mm, __ATOMIC_ACQUIRE);

	return mm && mm == mrn_mm_self();
}

static void lost(struct mrn_source_loss *loss, uint64_t causes)
{
	__atomic_fetch_or(&ucx.lost, causes, __ATOMIC_RELAXED);
}

/* ----------------------------------------------------------------------------------------- the source */

/* The lowest coverage bit of a mask, by name. */
static const char *first_of(uint64_t causes)
{
	return mrn_cover_name(causes & -causes);
}

/* The other sorts of coverage take effect where a range is armed, and UCX arms none. */
static int check_brackets(const struct mrn_ucx_opts *opts, unsigned int kinds)
{
	struct mrn_coverage coverage;
	uint64_t missing;

	mrn_source_coverage(ucx.source, &coverage);
	if (kinds == MRN_SOURCE_DISPATCH && MRN_BROKEN(UCX_DISPATCH_BRACKETS))
		coverage.bracketed = 0;
	missing = opts->need & ~coverage.bracketed;
	if (!missing)
		return 0;
	return mrn_explain(
		opts, -EOPNOTSUPP,
		"%s does not announce %s before it happens and after it, and UCX can be told "
		"of nothing else",
		mrn_source_name(ucx.source), first_of(missing));
}

static int attach_kinds(const struct mrn_ucx_opts *opts, unsigned int kinds)
{
	const struct mrn_source_opts source = {
		.size = sizeof(source),
		.need = opts->need,
		.why = opts->why,
		.why_size = opts->why_size,
	};
	int r = mrn_source_attach(mrn_mm_self(), kinds, &source, &ucx.source);

	if (r)
		return r;
	r = check_brackets(opts, kinds);
	if (r)
		mrn_source_detach(ucx.source);
	return r;
}

static int attach(const struct mrn_ucx_opts *opts)
{
	int r = attach_kinds(opts, opts->kinds ? opts->kinds : MRN_SOURCE_DISPATCH);

	/* Where dispatch works, it brackets what interpose does; but what counts is what it has been seen to do here. */
	return r && !opts->kinds ? attach_kinds(opts, MRN_SOURCE_INTERPOSE) : r;
}

/* ----------------------------------------------------------------------------------------------- UCX */

/* UCX makes changes of its own, and looks whether it is told of them. */
static int tell_ucx(const struct mrn_ucx_opts *opts)
{
	/* First: a child may be forked at any time. */
	ucx.told = true;
	ucm_set_external_event(UCM_EVENT_VM_UNMAPPED);
	MRN_HOOK(ucx_told);
	if (ucm_test_external_events(UCM_EVENT_VM_UNMAPPED) == UCS_OK)
		return 0;
	return mrn_explain(opts, -EOPNOTSUPP,
			   "UCX's own test says that it was not told of every change");
}

static int install(const struct mrn_ucx_opts *opts)
{
	int r;

	MRN_HOOK(ucx_installing);
	r = attach(opts);
	if (r)
		return r;
	/* In a child of fork they may hold what its parent wrote. */
	ucx.notifier = (struct mmu_notifier){.ops = &mrn_ucx_notifier_ops};
	ucx.loss = (struct mrn_source_loss){.lost = lost};
	ucx.lost = 0;
	mrn_ucx_count_anew();
	r = mmu_notifier_register(&ucx.notifier, mrn_mm_self());
	if (r) {
		mrn_explain(opts, r, "cannot listen to the source: %s", strerror(-r));
		goto detach;
	}
	r = mrn_source_watch_loss(ucx.source, &ucx.loss);
	if (r) {
		mrn_explain(opts, r, "cannot watch the source: %s", strerror(-r));
		goto unregister;
	}
	r = tell_ucx(opts);
	if (!r)
		return 0;
	mrn_source_unwatch_loss(ucx.source, &ucx.loss);
unregister:
	mmu_notifier_unregister(&ucx.notifier, mrn_mm_self());
detach:
	mrn_source_detach(ucx.source);
	return r;
}

/* What can be known before anything is changed. UCX looks functions up for it, with the loader's lock. */
static int check(const struct mrn_ucx_opts *opts)
{
	if (opts->kinds & ~(MRN_SOURCE_DISPATCH | MRN_SOURCE_INTERPOSE))
		return mrn_explain(
			opts, -EINVAL,
			"only interpose and dispatch announce changes of memory that nobody has "
			"armed, and UCX does not tell what it registers");
	return mrn_ucx_check_hooks(opts);
}

/* Nobody announces changes, so UCX is to make no cache, whoever has told it that somebody does. */
static void take_back(void)
{
	if (!ucx.told || MRN_BROKEN(UCX_CHILD))
		return;
	ucm_unset_external_event(UCM_EVENT_VM_UNMAPPED);
	ucx.told = false;
}

/* r: 0, or why it is refused already. */
static int install_in_turn(const struct mrn_ucx_opts *opts, int r)
{
	if (is_installed() && !MRN_BROKEN(UCX_TURN))
		return -EALREADY;
	if (!r)
		r = install(opts);
	if (r)
		take_back();
	else
		__atomic_store_n(&ucx.mm, mrn_mm_self(), __ATOMIC_RELEASE);
	return r;
}

int mrn_ucx_install(const struct mrn_ucx_opts *given)
{
	static const struct mrn_ucx_opts defaults = {.size = sizeof(defaults)};
	struct mrn_ucx_opts opts;
	int r = MRN_OPTS_TAKE(&opts, given ? given : &defaults);

	if (r)
		return r;
	if (!opts.need)
		opts.need = MRN_UCX_NEED;
	r = is_installed() ? -EALREADY : check(&opts);
	MRN_HOOK(ucx_checked);
	if (MRN_PAGES_ONCE(turn)) {
		/* Nobody can have a turn. */
		r = install_in_turn(&opts, mrn_explain(&opts, -ENOMEM, "no memory"));
	} else {
		mrn_mutex_lock(&turn->lock);
		r = install_in_turn(&opts, r);
		mrn_mutex_unlock(&turn->lock);
	}
	return r == -EALREADY ? mrn_explain(&opts, r, "it is installed already") : r;
}

/* ------------------------------------------------------------------------------------------ afterwards */

struct mrn_source *mrn_ucx_source(void)
{
	return is_installed() ? ucx.source : NULL;
}

int mrn_ucx_get_stats(struct mrn_ucx_stats *stats, size_t size)
{
	const struct mrn_ucx_stats ours = {
		.announced = mrn_ucx_announced(),
		.deferred = mrn_ucx_deferred(),
		.lost = __atomic_load_n(&ucx.lost, __ATOMIC_RELAXED),
	};

	return stats ? mrn_figures_give(stats, size, &ours, sizeof(ours)) : -EINVAL;
}
