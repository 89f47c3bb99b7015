/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching and detaching. A process has one set of sources, shared by all who attach; a second
 * userfaultfd could not arm what the first one has.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/check.h"
#include "core/mm.h"
#include "os/atomic.h"
#include "os/cancel.h"
#include "os/maps.h"
#include "os/opts.h"
#include "os/pages.h"
#include "os/peek.h"
#include "source/bracket/bracket.h"
#include "source/confined.h"
#include "source/dispatch/dispatch.h"
#include "source/files.h"
#include "source/interposer.h"
#include "source/state.h"
#include "source/turn.h"

/* In turn. Made once in a process and kept: pointers to it stay good after detach. In a forked child the parent's, whose mm is wiped. */
static struct mrn_source *shared;

/*
 * A child has no sources: its memory is armed nowhere, and its copies of the descriptors act on the parent. The struct is left in
 * memory: the child's copies of pointers to it must go on to mean "stale". Whatever another thread was about meanwhile, this takes no
 * lock, makes nothing but system calls of its own, and may come twice.
 */
void mrn_source_forget_parents(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	if (s && mrn_mm_is_wiped(s->mm))
		mrn_uffd_forget(&s->uffd);
}

/* In turn, since libc's lock for it is not to be held by whom a handler interrupts. */
static void install_fork_handlers(void)
{
	static bool installed;

	if (!installed && !pthread_atfork(NULL, NULL, mrn_source_forget_parents))
		installed = true;
}

void mrn_source_add_why(struct mrn_source *s, const char *sentence)
{
	size_t used = strlen(s->why);

	if (!strstr(s->why, sentence))
		snprintf(s->why + used, sizeof(s->why) - used, "%s%s.", used ? " " : "", sentence);
}

/* For errors that mean the same whatever was being started. */
static const char *remedy(int error)
{
	switch (error) {
	case -EMFILE:
		return "this process has too few descriptors left: raise RLIMIT_NOFILE (ulimit -n) by "
		       "three, or close some";
	case -ENFILE:
		return "this machine has no descriptors left: raise fs.file-max";
	case -EAGAIN:
		return "no thread can be made: raise RLIMIT_NPROC (ulimit -u), or the container's limit "
		       "of processes";
	case -ENOMEM:
		return "no memory, or more mappings than vm.max_map_count allows";
	default:
		return strerror(-error);
	}
}

static const char *uffd_remedy(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		return "userfaultfd is not permitted: allow it in the seccomp profile, set "
		       "vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd";
	case -ENOSYS:
		return "this kernel has no userfaultfd (CONFIG_USERFAULTFD)";
	case -EOPNOTSUPP:
		return "this kernel's userfaultfd lacks the unmap, remap and remove events or "
		       "write protection (Linux 5.7)";
	default:
		return remedy(error);
	}
}

static const char *dispatch_remedy(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		return "dispatch is not permitted: allow prctl(PR_SET_SYSCALL_USER_DISPATCH) in the "
		       "seccomp profile";
	case -EOPNOTSUPP:
		return MRN_DISPATCH_REMEDY;
	default:
		return remedy(error);
	}
}

static void put_name(struct mrn_source *s)
{
	static const struct {
		unsigned int kind;
		const char *name;
	} kinds[] = {
		{MRN_SOURCE_INTERPOSE, "interpose"},
		{MRN_SOURCE_UFFD, "uffd"},
		{MRN_SOURCE_DISPATCH, "dispatch"},
	};
	size_t used = 0;

	s->name[0] = '\0';
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (s->kinds & kinds[i].kind)
			used += (size_t)snprintf(s->name + used, sizeof(s->name) - used, "%s%s",
						 used ? "+" : "", kinds[i].name);
}

/*
 * Somebody in this process has taken the dispatch away from the thread that calls this. What that thread changes goes
 * unseen: so what relied on it ends, and nothing relies on it any more. On the event path.
 */
static void dispatch_is_lost(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	if (!s || mrn_mm_is_wiped(s->mm))
		return;
	__atomic_store_n(&s->mm->dispatched, false, __ATOMIC_RELEASE);
	mrn_source_has_lost(s, &s->by_call, 0);
}

/*
 * There is about to be an io_uring, or a guest. What has been built while there was none may be kept, and the changes that they
 * make are not announced. On the event path.
 */
static void what_is_kept_may_change(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	if (s && !mrn_mm_is_wiped(s->mm))
		mrn_source_invalidate_all(s);
}

/* The userfaultfd could not be read any more. On the event path. */
static void events_are_lost(void)
{
	struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	if (s && !mrn_mm_is_wiped(s->mm))
		mrn_source_has_lost_events(s);
}

static int start_uffd(struct mrn_source *s)
{
	/* What our threads call, and what libc makes them with. */
	static const long needed[] = {SYS_ppoll,	   SYS_read,
				      SYS_ioctl,	   SYS_clone3,
				      SYS_set_robust_list, SYS_rseq,
				      SYS_mprotect,	   SYS_brk,
				      SYS_getrandom,	   SYS_madvise,
				      SYS_rt_sigaction,	   SYS_rt_sigprocmask};
	const char *why = NULL;
	int r;

	if (mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0])) >= 0) {
		mrn_source_add_why(
			s,
			"a sandbox (seccomp) does not let pass what threads for userfaultfd take");
		return -EPERM;
	}
	r = mrn_uffd_start(s->mm, &s->uffd, events_are_lost, &why);

	if (r)
		mrn_source_add_why(s, why ? why : uffd_remedy(r));
	return r;
}

static int start_dispatch(struct mrn_source *s, unsigned int flags)
{
	static const struct mrn_dispatch_ops ops = {
		.lost = dispatch_is_lost,
		.ring = what_is_kept_may_change,
		.guest = what_is_kept_may_change,
	};
	char reason[256] = "";
	int r = mrn_dispatch_start(flags & MRN_SOURCE_FOLLOW_FORK, &ops, reason, sizeof(reason));

	if (r)
		mrn_source_add_why(s, *reason ? reason : dispatch_remedy(r));
	return r;
}

/* Starts what is in wanted and not yet attached; 0, or why the first of them could not be had. */
static int start_kinds(struct mrn_source *s, unsigned int wanted, unsigned int flags)
{
	unsigned int kinds = s->kinds;
	int failed = 0, r;

	if (wanted & ~kinds & MRN_SOURCE_INTERPOSE) {
		if (mrn_interposer_is_present()) {
			kinds |= MRN_SOURCE_INTERPOSE;
			mrn_interposer_remember();
		} else {
			mrn_source_add_why(s, "libmrn-interpose is not in this process: link with "
					      "-lmrn-interpose, or put it into LD_PRELOAD");
			failed = -EOPNOTSUPP;
		}
	}
	if (wanted & ~kinds & MRN_SOURCE_UFFD) {
		r = start_uffd(s);
		if (r == 0)
			kinds |= MRN_SOURCE_UFFD;
		else if (!failed)
			failed = r == -EACCES ? -EPERM : r;
	}
	if (wanted & ~kinds & MRN_SOURCE_DISPATCH) {
		r = start_dispatch(s, flags);
		if (r == 0) {
			kinds |= MRN_SOURCE_DISPATCH;
			__atomic_store_n(&s->mm->dispatched, true, __ATOMIC_RELEASE);
		} else if (!failed)
			failed = r;
	}
	__atomic_store_n(&s->kinds, kinds, __ATOMIC_RELEASE);
	put_name(s);
	return failed;
}

static void stop(struct mrn_source *s, unsigned int kinds)
{
	kinds &= __atomic_fetch_and(&s->kinds, ~kinds, __ATOMIC_SEQ_CST);
	if (kinds & MRN_SOURCE_INTERPOSE)
		__atomic_store_n(&s->by_name, 0, __ATOMIC_RELAXED);
	if (kinds & MRN_SOURCE_DISPATCH) {
		/* The interposer's business again, if it is there. */
		__atomic_store_n(&s->mm->dispatched, false, __ATOMIC_RELEASE);
		__atomic_store_n(&s->by_call, 0, __ATOMIC_RELAXED);
	}
	if (kinds & MRN_SOURCE_UFFD) {
		__atomic_store_n(&s->by_event.before_return, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&s->by_event.use_once, 0, __ATOMIC_RELAXED);
	}
	mrn_source_derive_coverage(s);
	/* From here on nobody can arm by these. What was built while somebody could is torn down. */
	mrn_source_invalidate_all(s);
	/* A callback has forked, and this is its child: the threads that are asked to end below are the parent's. */
	if (mrn_mm_is_wiped(s->mm))
		return;
	/*
	 * Callbacks use the descriptor without a lock. They run between the publication of a token
	 * and its withdrawal, after the fence of a section that began in between. Pairs with that one:
	 * a callback that read kinds before we cleared it has a token that we see in its slot, and we
	 * wait for it before the descriptor goes.
	 */
	mrn_fence_full();
	mrn_tokens_wait(s->mm, 0, UINTPTR_MAX, NULL);
	if (kinds & MRN_SOURCE_UFFD)
		mrn_uffd_stop(&s->uffd);
	if (kinds & MRN_SOURCE_DISPATCH)
		mrn_dispatch_stop();
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
	/* The cause first; then the reasons that are there already, which say what would help. */
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

/* As it was before: nothing stays of what has been started since, tried or not. */
static void back_to(struct mrn_source *s, unsigned int had)
{
	if (s->kinds & ~had)
		stop(s, s->kinds & ~had);
	put_name(s);
}

/*
 * Starts kinds, all if they must be, and tries what is new: what stays has been tried. 0, or why the first of those that are
 * not there could not be had.
 */
static int add_kinds(struct mrn_source *s, unsigned int kinds, unsigned int flags, bool must)
{
	unsigned int had = s->kinds;
	int failed = start_kinds(s, kinds, flags), r = 0;

	/* Nobody gets them: attach_in_turn takes all of it back. */
	if (failed && must)
		return failed;
	if (s->kinds & ~had)
		r = mrn_source_self_test(s, had);
	if (!r)
		return failed;
	mrn_source_add_why(s, r == -EPERM || r == -ENOSYS
				      ? "the self-test needs memfd_create: allow it in the "
					"seccomp profile"
				      : remedy(r));
	back_to(s, had);
	return r;
}

static int add_what_there_is(struct mrn_source *s, uint64_t need, unsigned int flags)
{
	int r = add_kinds(s, MRN_SOURCE_INTERPOSE, flags, false), tried;

	tried = add_kinds(s, MRN_SOURCE_UFFD, flags, false);
	r = r ? r : tried;
	if (missing_of(s, need))
		add_kinds(s, MRN_SOURCE_DISPATCH, flags, false);
	return s->kinds ? 0 : r;
}

static struct mrn_source *make(struct mrn_mm *mm)
{
	struct mrn_source *s = mrn_pages_alloc(sizeof(*s));

	if (!s)
		return NULL;
	s->mm = mm;
	mrn_room_init(&s->room, mm);
	__atomic_store_n(&shared, s, __ATOMIC_RELEASE);
	return s;
}

static int attach_in_turn(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts,
			  struct mrn_source **out)
{
	unsigned int had;
	struct mrn_source *s = shared;
	char why[sizeof(s->why)];
	long pid;
	int r;

	/* This is a child, of a handler that forked while we waited. */
	if (mrn_mm_is_wiped(mm))
		return mrn_explain(opts, -ESTALE, "this process is a forked child.");
	if (!s || mrn_mm_is_wiped(s->mm)) {
		/* Past libc, no handler of fork's has done it. */
		mrn_source_forget_parents();
		s = make(mm);
	}
	if (!s)
		return mrn_explain(opts, -ENOMEM, "no memory.");
	pid = mrn_sys0(SYS_getpid);
	mm->pid = pid > 0 ? (int32_t)pid : 0;
	mrn_peek_know(&mm->pid);
	had = s->kinds;
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
	/* What is seen again is not lost; nor was anything of whoever attaches first. */
	__atomic_fetch_and(&s->lost, s->refs ? missing_of(s, UINT64_MAX) : 0, __ATOMIC_RELAXED);
	s->refs++;
	*out = s;
	return 0;
}

static int check_request(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts)
{
	if (!mm && !mrn_mm_self())
		return mrn_explain(
			opts, -ENOMEM,
			"there is no memory, or none that a sandbox (seccomp) lets be had.");
	if (!mm || mm != mrn_mm_self() ||
	    (kinds & ~(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD | MRN_SOURCE_DISPATCH)) ||
	    (opts->flags & ~MRN_SOURCE_FOLLOW_FORK))
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
			"it cannot be tried what a sandbox (seccomp) lets pass: no process can be made.");
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
	const struct mrn_source *s = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);

	return s && !mrn_mm_is_wiped(s->mm) && __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
}

const char *mrn_source_name(const struct mrn_source *s)
{
	return s->name;
}

const char *mrn_source_why(const struct mrn_source *s)
{
	return s->why;
}

/* --------------------------------------------------------------------------------- arming */

/* Is a file mapped there? It may be, if that cannot be known. */
static bool shows_file(uintptr_t start, uintptr_t end)
{
	struct mrn_mapping m;

	/* The program may not be allowed to ask any more. */
	if (mrn_is_confined())
		return true;
	for (; start < end; start = m.end) {
		long n = mrn_maps_from(start, &m, 1);

		if (n <= 0)
			return n < 0;
		if (m.start >= end)
			return false;
		if (mrn_mapping_is_of_file(&m))
			return true;
	}
	return false;
}

/*
 * What io_uring does, nobody announces; but that uffd sees what it advises, which is all that it does to memory without a
 * file. So where there is a ring, the rest is good for one use.
 */
static bool is_a_rings_to_change(unsigned int kinds, uintptr_t addr, size_t length)
{
	return !(kinds & MRN_SOURCE_UFFD) ||
	       shows_file(mrn_page_down(addr), mrn_page_up(addr + length));
}

/* Is there a cause in need that nobody covers, never has or has lost, where these are bracketed? */
static bool is_uncovered(const struct mrn_source *s, uint64_t need, uint64_t bracketed)
{
	return need & ~(bracketed | __atomic_load_n(&s->by_event.before_return, __ATOMIC_RELAXED) |
			__atomic_load_n(&s->by_event.use_once, __ATOMIC_RELAXED));
}

int mrn_source_arm_if_room(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need,
			   bool *full)
{
	const uintptr_t start = mrn_page_down(addr), end = mrn_page_up(addr + length);
	bool rings, files = need & MRN_COVER_PAGE_CACHE;
	uint64_t by_name, by_call;
	unsigned int kinds;
	int r;

	*full = false;
	if (!s || !length || addr + length < addr || addr != mrn_untagged((const void *)addr))
		return -EINVAL;
	if (mrn_mm_is_wiped(s->mm))
		return -ESTALE;
	kinds = __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
	if (!kinds)
		return -ENOTCONN;
	by_name = __atomic_load_n(&s->by_name, __ATOMIC_RELAXED);
	by_call = __atomic_load_n(&s->by_call, __ATOMIC_RELAXED);
	if ((by_name & ~by_call & need) && !mrn_interposer_is_intact(true)) {
		mrn_source_has_lost(s, &s->by_name, 0);
		by_name = 0;
	}
	/* Without dispatch there may be any. */
	rings = (need & MRN_COVER_IO_URING) &&
		(!(kinds & MRN_SOURCE_DISPATCH) || mrn_dispatch_has_rings());
	if (rings && is_a_rings_to_change(kinds, addr, length))
		return MRN_ARM_USE_ONCE;
	need &= ~(MRN_COVER_IO_URING | MRN_COVER_PAGE_CACHE);
	if (is_uncovered(s, need, by_name | by_call))
		return MRN_ARM_USE_ONCE;
	/* What a guest changes past the interposer is announced by nobody. */
	if ((need & by_call & ~by_name) && mrn_dispatch_has_guests())
		return MRN_ARM_USE_ONCE;
	/* What is bracketed needs no arming. */
	if (!rings && !(need & ~(by_name | by_call)))
		return files && mrn_shows_page_cache(start, end) ? MRN_ARM_USE_ONCE : 0;
	if (!(kinds & MRN_SOURCE_UFFD))
		return MRN_ARM_USE_ONCE;
	*full = !mrn_room_take(&s->room);
	if (*full)
		return MRN_ARM_USE_ONCE;
	r = mrn_uffd_arm(&s->uffd, start, end, &files);
	/* Not where something is armed: that has split mappings, however often it may be used. */
	if (r == MRN_ARM_USE_ONCE || r < 0)
		mrn_room_give_back(&s->room);
	if (r == MRN_UFFD_IN_PART)
		return MRN_ARM_USE_ONCE;
	/* After arming: whatever is mapped there instead from now on is announced, and collides. */
	return !r && files && mrn_shows_page_cache(start, end) ? MRN_ARM_USE_ONCE : r;
}

int mrn_source_arm(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need)
{
	bool full;

	return mrn_source_arm_if_room(s, addr, length, need, &full);
}

/* The userfaultfd that watches for s, if one does and this is not a forked child. */
static struct mrn_uffd *uffd_of(struct mrn_source *s)
{
	if (!s || mrn_mm_is_wiped(s->mm) ||
	    !(__atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE) & MRN_SOURCE_UFFD))
		return NULL;
	return &s->uffd;
}

void mrn_source_disarm(struct mrn_source *s, const struct mmu_range_notifier *leaving)
{
	struct mrn_uffd *u = uffd_of(s);

	/* Another mm's addresses are other memory. */
	if (!u || !leaving || leaving->mm != u->mm || !mrn_uffd_is_armed(u))
		return;
	mrn_uffd_disarm(u, leaving);
	mrn_room_may_have_grown(&s->room);
}

void mrn_source_disarm_changing(struct mrn_source *s, const struct mmu_range_notifier *mrn,
				const struct mmu_notifier_range *range)
{
	uintptr_t start = mrn->node.start, end = mrn->node.end;
	struct mrn_uffd *u = uffd_of(s);

	/* A token of another mm keeps nobody from relying on what is armed at its addresses. */
	if (!u || range->mm != u->mm || mrn->mm != u->mm || !mrn_uffd_is_armed(u) ||
	    (range->flags & MRN_RANGE_AFTER) ||
	    (range->event != MMU_NOTIFY_UNMAP && range->event != MMU_NOTIFY_CLEAR))
		return;
	if (start < range->start)
		start = mrn_page_down(range->start);
	if (end > range->end)
		end = mrn_page_up(range->end);
	mrn_uffd_disarm_changing(u, start, end);
}

void mrn_source_disarm_range(uintptr_t start, uintptr_t end)
{
	/* In a bracket: what stop() says of callbacks is true of us, too. Of whatever may be armed, left over or not. */
	struct mrn_uffd *u = uffd_of(__atomic_load_n(&shared, __ATOMIC_ACQUIRE));

	if (u)
		mrn_uffd_disarm_changing(u, start, end);
}
