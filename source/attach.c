/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching and detaching. A process has one set of sources, shared by all who attach: a second userfaultfd could not
 * arm what the first one has.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/check.h"
#include "core/mm.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/cancel.h"
#include "os/opts.h"
#include "os/pages.h"
#include "os/peek.h"
#include "source/confined.h"
#include "source/interposer.h"
#include "source/kind.h"
#include "source/process.h"
#include "source/state.h"
#include "source/turn.h"

/*
 * Changed in turn. Made once in a process and kept: pointers to it stay valid after detach. In a forked child it is the
 * parent's, whose mm is wiped.
 */
static struct mrn_source *shared;

/*
 * A child has no sources: its memory is armed nowhere, and its copies of the descriptors act on the parent. The struct
 * stays in memory: the child's copies of pointers to it must still mean "stale". Whatever another thread was doing at
 * the fork, this takes no lock, makes only system calls of its own, and may be called twice.
 */
void mrn_source_forget_parents(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	if (!s || !mrn_mm_is_wiped(s->mm))
		return;
	MRN_FOR_EACH_KIND(k, MRN_ALL_KINDS)
		if (mrn_kind_ops[k]->forget)
			mrn_kind_ops[k]->forget(s);
}

struct mrn_source *mrn_source_here(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	return s && !mrn_mm_is_wiped(s->mm) ? s : NULL;
}

/* In turn: a handler must not interrupt a thread that holds libc's lock for this. */
static void install_fork_handlers(void)
{
	static bool installed;

	if (!installed && !pthread_atfork(NULL, NULL, mrn_source_forget_parents))
		installed = true;
}

/* Starts the kinds in wanted that are not attached; 0, or why the first that failed did. */
static int start_kinds(struct mrn_source *s, unsigned int wanted, unsigned int flags)
{
	unsigned int kinds = s->kinds;
	int failed = 0;

	MRN_FOR_EACH_KIND(k, wanted & ~s->kinds) {
		char why[256] = "";
		int r;

		__atomic_store_n(&s->still[k], UINT64_MAX, __ATOMIC_RELAXED);
		r = mrn_kind_ops[k]->start(s, flags, why, sizeof(why));

		if (!r) {
			kinds |= 1u << k;
			continue;
		}
		mrn_source_add_why(s, *why ? why : mrn_kind_remedy(mrn_kind_ops[k]->remedies, r));
		failed = failed ? failed : r;
	}
	__atomic_store_n(&s->kinds, kinds, __ATOMIC_RELEASE);
	mrn_kinds_put_names(s->name, s->kinds);
	return failed;
}

static void stop(struct mrn_source *s, unsigned int kinds)
{
	kinds &= __atomic_fetch_and(&s->kinds, ~kinds, __ATOMIC_SEQ_CST);
	MRN_FOR_EACH_KIND(k, kinds) {
		if (mrn_kind_ops[k]->uncover)
			mrn_kind_ops[k]->uncover(s);
		mrn_source_has_seen(s, k, (struct mrn_coverage){0});
	}
	/* From here on nobody can arm by these. What was built before is torn down. */
	mrn_source_invalidate_all(s);
	/* A callback has forked, and this is its child: the threads that are stopped below are the parent's. */
	if (mrn_mm_is_wiped(s->mm))
		return;
	/*
	 * Callbacks use the descriptor without a lock. They run between the publication of a token and its withdrawal,
	 * after the fence of a section that began in between. Pairs with that one: a callback that read kinds before we
	 * cleared it has a token that we see in its slot, and we wait for it before closing the descriptor.
	 */
	mrn_fence_full();
	mrn_tokens_wait(s->mm, 0, UINTPTR_MAX, NULL);
	MRN_FOR_EACH_KIND(k, kinds)
		if (mrn_kind_ops[k]->stop)
			mrn_kind_ops[k]->stop(s);
}

static uint64_t missing_of(const struct mrn_source *s, uint64_t need)
{
	const struct mrn_coverage c = mrn_source_covered(s);

	return need & ~(c.bracketed | c.before_return | c.use_once);
}

static int check_need(struct mrn_source *s, uint64_t need)
{
	uint64_t missing = missing_of(s, need);
	char rest[sizeof(s->why)], sentence[96];

	if (!missing)
		return 0;
	/* First the cause, then the reasons so far, which say what would help. */
	memcpy(rest, s->why, sizeof(rest));
	snprintf(sentence, sizeof(sentence), "no source here sees %s",
		 mrn_cover_name(missing & -missing));
	s->why[0] = '\0';
	mrn_source_add_why(s, sentence);
	if (*rest) {
		rest[strlen(rest) - 1] = '\0';
		mrn_source_add_why(s, rest);
	}
	return -EOPNOTSUPP;
}

/* Undoes all that was started since, tried or not. */
static void back_to(struct mrn_source *s, unsigned int had)
{
	if (s->kinds & ~had)
		stop(s, s->kinds & ~had);
	mrn_kinds_put_names(s->name, s->kinds);
}

/*
 * Starts kinds (must: all of them), and tries the new ones: the others have been tried. 0, or why the first that is
 * missing could not be started.
 */
static int add_kinds(struct mrn_source *s, unsigned int kinds, unsigned int flags, bool must)
{
	unsigned int had = s->kinds;
	int failed = start_kinds(s, kinds, flags), r = 0;

	/* All or none: attach_in_turn takes all of it back. */
	if (failed && must)
		return failed;
	if (s->kinds & ~had)
		r = mrn_source_self_test(s, had);
	if (!r)
		return failed;
	mrn_source_add_why(s, r == -EPERM || r == -ENOSYS
				      ? "the self-test needs memfd_create: allow it in the "
					"seccomp profile"
				      : mrn_kind_remedy(NULL, r));
	back_to(s, had);
	return r;
}

static int add_what_there_is(struct mrn_source *s, uint64_t need, unsigned int flags)
{
	const unsigned int costly = mrn_kinds_that(MRN_KIND_COSTLY);
	int failed = 0;

	MRN_FOR_EACH_KIND(k, ~costly) {
		int r = add_kinds(s, 1u << k, flags, false);

		failed = failed ? failed : r;
	}
	MRN_FOR_EACH_KIND(k, costly)
		if (missing_of(s, need))
			add_kinds(s, 1u << k, flags, false);
	return s->kinds ? 0 : failed;
}

static struct mrn_source *make(struct mrn_mm *mm)
{
	struct mrn_source *s = mrn_pages_alloc(sizeof(*s));

	if (!s)
		return NULL;
	s->mm = mm;
	mrn_room_init(&s->room, mm);
	s->uffd.most_idle = mrn_room_idle(&s->room);
	mrn_marks_reserve(&s->plain.marks, MRN_MARKS_OF_PLAIN);
	__atomic_store_n(&shared, s, __ATOMIC_RELEASE);
	return s;
}

static void stop_trimming(void)
{
#ifdef __GLIBC__
	mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

static int attach_in_turn(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts,
			  struct mrn_source **out)
{
	unsigned int had;
	struct mrn_source *s = shared;
	char why[sizeof(s->why)];
	int r;

	/* This is the child of a handler that forked while we waited. */
	if (mrn_mm_is_wiped(mm))
		return mrn_explain(opts, -ESTALE, "this process is a forked child.");
	if (!s || mrn_mm_is_wiped(s->mm)) {
		/* A fork past libc has run no handlers. */
		mrn_source_forget_parents();
		s = make(mm);
	}
	if (!s)
		return mrn_explain(opts, -ENOMEM, "no memory.");
	mrn_source_process_is(mrn_sys0(SYS_getpid));
	mrn_peek_know(&mrn_source_process->pid);
	had = s->kinds;
	/* Nobody may have told of changes until now. */
	mrn_plain_forget_all(&s->plain);
	memcpy(why, s->why, sizeof(why));
	s->why[0] = '\0';
	if (kinds == MRN_SOURCE_AUTO)
		r = add_what_there_is(s, opts->need, opts->flags);
	else
		r = add_kinds(s, kinds, opts->flags, true);
	if (!r)
		r = check_need(s, opts->need);
	mrn_explain(opts, 0, "%s", s->why);
	if (r) {
		if (!MRN_BROKEN(SOURCE_HALF))
			back_to(s, had);
		memcpy(s->why, why, sizeof(why));
		return r;
	}
	if (opts->flags & MRN_SOURCE_NO_TRIM)
		stop_trimming();
	/* A cause that is seen again is not lost; and for the first attach nothing is. */
	__atomic_fetch_and(&s->lost, s->refs ? missing_of(s, UINT64_MAX) : 0, __ATOMIC_RELAXED);
	s->refs++;
	*out = s;
	return 0;
}

static int check_request(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts)
{
	if ((!mm && !mrn_mm_self()) || mrn_source_process_init())
		return mrn_explain(opts, -ENOMEM,
				   "there is no memory, or a sandbox (seccomp) refuses it.");
	if (!mm || mm != mrn_mm_self() || (kinds & ~MRN_ALL_KINDS) ||
	    (opts->flags & ~(MRN_SOURCE_FOLLOW_FORK | MRN_SOURCE_NO_TRIM)))
		return mrn_explain(
			opts, -EINVAL,
			"only mrn_mm_self() has sources, and only the kinds and flags in "
			"<mrn/source.h>.");
	if (mrn_callback_depth)
		return mrn_explain(opts, -EDEADLK, "attaching is not possible in a callback.");
	return 0;
}

int mrn_source_attach(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *given,
		      struct mrn_source **out)
{
	struct mrn_source_opts opts = {0};
	mrn_sigmask mask;
	int r, cancel;

	if (!out)
		return -EINVAL;
	r = given ? MRN_OPTS_TAKE(&opts, given) : 0;
	if (!r)
		r = check_request(mm, kinds, &opts);
	if (r)
		return r;
	r = mrn_confined_look();
	if (r)
		return mrn_explain(
			&opts, r,
			"what a sandbox (seccomp) refuses cannot be tried: no process can be made.");
	/* The self-tests make calls that are cancellation points. */
	cancel = mrn_cancel_hold();
	mrn_turn_begin(&mask);
	install_fork_handlers();
	r = attach_in_turn(mm, kinds, &opts, out);
	mrn_turn_end(mask);
	mrn_cancel_restore(cancel);
	return r;
}

static int detach_in_turn(struct mrn_source *s)
{
	if (mrn_mm_is_wiped(s->mm))
		return -ESTALE;
	if (!s->refs)
		return -EINVAL;
	if (--s->refs == 0)
		stop(s, s->kinds);
	return 0;
}

int mrn_source_detach(struct mrn_source *s)
{
	int r = mrn_source_may_wait(s), cancel;
	mrn_sigmask mask;

	if (r)
		return r;
	/* Joining the monitor is a cancellation point. */
	cancel = mrn_cancel_hold();
	mrn_turn_begin(&mask);
	r = detach_in_turn(s);
	mrn_turn_end(mask);
	mrn_cancel_restore(cancel);
	return r;
}

unsigned int mrn_source_coverage_sized(const struct mrn_source *s, struct mrn_coverage *coverage,
				       size_t size)
{
	bool stale = mrn_mm_is_wiped(s->mm);
	const struct mrn_coverage now = stale ? (struct mrn_coverage){0} : mrn_source_covered(s);

	mrn_figures_give(coverage, size, &now, sizeof(now));
	return stale ? 0 : __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
}

bool mrn_source_is_attached(void)
{
	const struct mrn_source *s = mrn_source_here();

	return s && __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
}

const char *mrn_source_name(const struct mrn_source *s)
{
	return s->name;
}

const char *mrn_source_why(const struct mrn_source *s)
{
	return s->why;
}
