/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sources: what turns real changes of this process's memory into start and end on mrn_mm_self().
 *
 * interpose	our munmap, mmap, mremap, madvise, free, ... in front of libc's. libmrn-interpose must
 *		be linked to the program or preloaded. Brackets each call; does not see calls that libc
 *		makes inside itself (but those of free and realloc), nor raw system calls.
 * uffd		userfaultfd events, on armed ranges only: memory that nobody registered costs nothing.
 *		Sees libc-internal and raw calls too, after the fact. See <mrn/mmu_notifier.h>,
 *		MRN_RANGE_AFTER.
 * dispatch	Syscall User Dispatch (Linux 5.11, x86-64): brackets each call that any thread of this
 *		process makes, libc's and ld.so's own, bare system call instructions and those in signal
 *		handlers among them. All other system calls become slower, by some microseconds. SIGSYS is taken: the
 *		program may set it, and block it: one that is sent is kept then. A child of vfork, which runs in this memory until its exec, is not
 *		caught: before there is one everything is invalidated (cause DETACH), and until it has gone what needs
 *		dispatch is good for one use at a time.
 *
 * Cancellation (pthread_cancel, deferred) is held off in attach, detach and check, and around lost: the call ends as
 * ever, and the request acts at the thread's next cancellation point. lost must return: no longjmp, no exception.
 */
#ifndef MRN_SOURCE_H
#define MRN_SOURCE_H

#include <mrn/mmu_notifier.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_source;

/*
 * Kinds of source, a mask. AUTO is interpose and uffd as far as this machine and this process allow; and dispatch,
 * which slows the process down, where they do not cover all that is needed.
 */
#define MRN_SOURCE_AUTO	     0u
#define MRN_SOURCE_INTERPOSE (1u << 0)
#define MRN_SOURCE_UFFD	     (1u << 1)
#define MRN_SOURCE_DISPATCH  (1u << 2)

/*
 * Coverage masks hold one MRN_CAUSE_BIT per cause, for calls that this program makes through libc's
 * functions, and bits more, for who makes them and for what comes by no call:
 */
/* munmap, mremap, brk and madvise made inside libc: by free, realloc, thread stacks */
#define MRN_COVER_LIBC_INTERNAL (UINT64_C(1) << 32)
/* munmap, mmap, mremap, brk and madvise made by a bare system call instruction, past every library */
#define MRN_COVER_RAW (UINT64_C(1) << 33)

/* every call that has a cause here, whoever makes it: libc or ld.so inside, a bare instruction */
#define MRN_COVER_ALL_CALLERS (UINT64_C(1) << 34)

/*
 * What io_uring does by itself (MADVISE, FALLOCATE, FTRUNCATE, OPENAT with O_TRUNC). Covered by dispatch, as use_once: once
 * the process has made a ring, all memory is good for one use at a time; with uffd beside it, mappings of files are.
 */
#define MRN_COVER_IO_URING (UINT64_C(1) << 35)

/*
 * What takes pages of a file on disk out of the page cache otherwise than by the causes above: a direct write (O_DIRECT) by
 * whichever call, io_uring's among them; RWF_DONTCACHE; FICLONE, FIDEDUPERANGE, copy_file_range and other ioctls of file
 * systems; and whatever another process does to the file. No call need be seen for it: a mapping of such a file is good
 * for one use at a time. Mappings of memory's own files (memfd, /dev/shm, tmpfs, SysV segments, huge pages) are not, nor are
 * pages of a private mapping that have been written to, where uffd can look (Linux 6.7). Covered by every source, as use_once.
 */
#define MRN_COVER_PAGE_CACHE (UINT64_C(1) << 36)

/* Everything that this process itself can do to its memory by a system call: each cause that is one. */
#define MRN_COVER_EVERYTHING                                                       \
	(((MRN_CAUSE_BIT(MRN_NR_CAUSES) - 1) &                                     \
	  ~(MRN_CAUSE_BIT(MRN_CAUSE_UNKNOWN) | MRN_CAUSE_BIT(MRN_CAUSE_DETACH))) | \
	 MRN_COVER_PAGE_CACHE | MRN_COVER_LIBC_INTERNAL | MRN_COVER_RAW | MRN_COVER_ALL_CALLERS)

/*
 * What a registration cache needs: every call named here that can put other pages under it. It leaves out what dispatch
 * alone sees: that is in MRN_COVER_EVERYTHING.
 */
#define MRN_COVER_PAGES                                                        \
	(MRN_COVER_EVERYTHING &                                                \
	 ~(MRN_CAUSE_BIT(MRN_CAUSE_MPROTECT) | MRN_CAUSE_BIT(MRN_CAUSE_FORK) | \
	   MRN_CAUSE_BIT(MRN_CAUSE_EXEC) | MRN_COVER_ALL_CALLERS))

/* The part of it that userfaultfd covers on its own. */
#define MRN_COVER_UFFD                                                                   \
	(MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_CAUSE_BIT(MRN_CAUSE_MAP_FIXED) |          \
	 MRN_CAUSE_BIT(MRN_CAUSE_MREMAP_SRC) | MRN_CAUSE_BIT(MRN_CAUSE_MREMAP_DST) |     \
	 MRN_CAUSE_BIT(MRN_CAUSE_DONTNEED) | MRN_CAUSE_BIT(MRN_CAUSE_DONTNEED_LOCKED) |  \
	 MRN_CAUSE_BIT(MRN_CAUSE_FREE) | MRN_CAUSE_BIT(MRN_CAUSE_REMOVE) |               \
	 MRN_CAUSE_BIT(MRN_CAUSE_BRK) | MRN_COVER_PAGE_CACHE | MRN_COVER_LIBC_INTERNAL | \
	 MRN_COVER_RAW)

/* The part of it that an interposer covers on its own: all that goes through libc's functions. */
#define MRN_COVER_INTERPOSE (MRN_COVER_PAGES & ~(MRN_COVER_LIBC_INTERNAL | MRN_COVER_RAW))

/* How well each cause is covered: a cause is in one of the masks, or it is not covered. */
struct mrn_coverage {
	uint64_t bracketed; /* a token covers the range from before the change until after it */
	/*
	 * A token is there before the call that made the change returns. A lookup after the return is
	 * never stale; one by another thread that is given the address before the return may be, unless
	 * it got it through an interposed mmap, mremap or sbrk.
	 */
	uint64_t before_return;
	uint64_t use_once; /* seen, but from then on the range is good for one use at a time */
};

struct mrn_source_opts {
	size_t size;	 /* sizeof(struct mrn_source_opts) */
	uint64_t need;	 /* coverage bits without which attaching fails */
	char *why;	 /* where to put one sentence when it fails; or NULL */
	size_t why_size; /* bytes */
	uint64_t flags;	 /* of MRN_SOURCE_FOLLOW_FORK and MRN_SOURCE_NO_TRIM */
};

/*
 * dispatch: forked children begin as the parent is, with all calls caught and announced to their own mrn_mm_self().
 * Without it they begin as if there were no dispatch. Of the one who attaches first.
 */
#define MRN_SOURCE_FOLLOW_FORK (1u << 0)

/*
 * glibc's malloc no longer trims: mallopt(M_TRIM_THRESHOLD, -1). So what is registered in a heap stays registered, and
 * the process keeps the memory of its largest heaps; malloc also stops raising the size from which each block has a mapping
 * of its own (128 KiB, if nothing has raised it yet). Stays after detach. Does nothing with another malloc.
 */
#define MRN_SOURCE_NO_TRIM (1u << 1)

/*
 * Attaches sources to mm, which must be mrn_mm_self(), and tries each cause for real on scratch memory
 * to see that it is caught; what is not seen to work is not in the coverage. kinds: a mask, each of
 * which must work, or MRN_SOURCE_AUTO: what works is taken. opts may be NULL. The sources of a process
 * are shared: attaching again takes a reference to the same *out, with the kinds that were missing
 * added. The caller's reference is dropped by mrn_source_detach.
 *
 * Errors: -EINVAL; -E2BIG (size); -EOPNOTSUPP when a needed cause is not covered, or an explicitly asked kind (or with AUTO, any) is not
 * to be had; -EPERM when that is for lack of permission; -ENOSYS when the kernel lacks userfaultfd;
 * -EBUSY when a thread blocks all signals, is traced or has too small an alternate stack, and -ETIMEDOUT when one does not
 * answer, so that dispatch cannot have it; -EMFILE, -ENFILE; -EAGAIN when no thread can be made, or sent a signal; -ENOMEM. opts->why then names what is missing and how to
 * allow it; and nothing is attached that was not before. Blocks; may allocate; maps and unmaps memory of its own. Signals wait until it
 * returns. Not from a callback or a signal handler (-EDEADLK).
 *
 * uffd has two threads and three descriptors, at high numbers, until the last detach. The program may close these or
 * put others in their place: then arming takes longer, and nothing else changes.
 */
int mrn_source_attach(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts,
		      struct mrn_source **out);

/*
 * Drops a reference. With the last, the coverage ends: everything is invalidated once (cause DETACH),
 * no range stays armed, and mrn_source_arm fails from then on.
 *
 * Errors: -EINVAL; -ESTALE in a forked child, where the parent's source is none; -EDEADLK from a
 * callback. Blocks. Signals wait until it returns.
 */
int mrn_source_detach(struct mrn_source *source);

/* As below, for a coverage of size bytes: what the caller's version of the structure has. */
unsigned int mrn_source_coverage_sized(const struct mrn_source *source,
				       struct mrn_coverage *coverage, size_t size);

/*
 * Returns the kinds that are attached, and fills *coverage; coverage may be NULL. In a forked child, and after detach:
 * nothing. Does not block.
 */
static inline unsigned int mrn_source_coverage(const struct mrn_source *source,
					       struct mrn_coverage *coverage)
{
	return mrn_source_coverage_sized(source, coverage, sizeof(*coverage));
}

/*
 * The name of what is attached, as in "interpose+uffd", and why the rest is not, in one sentence each,
 * "" when nothing is missing. Static or the source's own strings: valid until detach.
 */
const char *mrn_source_name(const struct mrn_source *source);
const char *mrn_source_why(const struct mrn_source *source);

/*
 * Why memory is good for one use at a time: what arming it finds (mrn_source_arm). Each reason has a sentence
 * (mrn_once_sentence). New reasons go to the end.
 */
enum mrn_once {
	MRN_ONCE_NOT_COVERED, /* no source sees a cause in need */
	MRN_ONCE_FILE,	      /* MRN_COVER_PAGE_CACHE is in need, and a file on disk is mapped */
	MRN_ONCE_RING,	      /* MRN_COVER_IO_URING is in need, and a ring may change it */
	MRN_ONCE_GUEST,	      /* dispatch: a child of vfork is there */
	MRN_ONCE_MAPPINGS,    /* the process has too many mappings (vm.max_map_count) */
	MRN_ONCE_NOT_MAPPED,  /* a part of it is a hole */
	MRN_ONCE_KIND,	      /* userfaultfd cannot watch such a mapping */
	MRN_ONCE_FOREIGN,     /* another userfaultfd has it */
	MRN_ONCE_MALLOC,      /* malloc is discarding it */
	MRN_ONCE_ZAPPED, /* a call past all brackets may still be discarding it; why that is not known: */
	MRN_ONCE_RUNNING,      /* a thread runs */
	MRN_ONCE_RINGS_THREAD, /* a ring has a thread of its own */
	MRN_ONCE_UNSEEN,       /* the threads cannot be looked at */
	MRN_NR_ONCE
};
#define MRN_ONCE_BIT(reason) (UINT64_C(1) << (reason))
#define MRN_MAX_ONCE	     32 /* of arrays indexed by reason */

/* Static strings: a name ("file", "zapped", ...), and a sentence for people. Async-signal-safe. */
const char *mrn_once_name(enum mrn_once reason);
const char *mrn_once_sentence(enum mrn_once reason);

struct mrn_once_why {
	uint64_t reasons;     /* MRN_ONCE_BIT(...) */
	uint64_t not_covered; /* coverage bits: the causes in need that no source sees */
	int64_t thread; /* RUNNING, RINGS_THREAD: the first such thread, as /proc/self/task names it */
};

/*
 * Why is [addr, addr + length) good for one use? Arms it for the causes in need, as a notifier that is inserted now would,
 * and gives it up again: so the answer is that of mrn_source_arm, for this moment. Returns 0 if the range is good for
 * repeated use, or MRN_USE_ONCE. Fills *why, of which size bytes are the caller's; why may be NULL.
 *
 * Names all reasons that can be found at one time: of memory that was discarded, or that there is no room to watch, it
 * is not found whether userfaultfd could watch it. If only threads that may discard it are in the way (ZAPPED), looks at
 * all of them at once, and what has ended counts as ended for everybody.
 *
 * Makes no system call if the range is known to be watched; otherwise some twenty to forty, one more for each mapping in
 * the range, and with ZAPPED three more for each thread. Private memory without a file stays watched, as after a
 * registration. Blocks for invalidations of the range that are in progress, and for the kernel's mmap lock. Not from a
 * callback or a signal handler.
 *
 * Errors: -EAGAIN, the range changes without pause; otherwise as mrn_range_notifier_insert, and -EDEADLK in a callback.
 */
int mrn_source_why_once(struct mrn_source *source, uintptr_t addr, size_t length, uint64_t need,
			struct mrn_once_why *why, size_t size);

/*
 * How much is good for one use since somebody has discarded it (MADV_DONTNEED and the like) without a bracket: MALLOC and
 * ZAPPED. The other reasons are found when memory is armed, and nothing lists it before.
 */
struct mrn_source_stats {
	uint64_t
		use_once_bytes; /* of address space, gaps between zapped ranges included when there are many */
	uint64_t
		use_once_malloc; /* of these: zapped by glibc's malloc, and good again when that returns */
	uint64_t use_once_ended;	 /* ranges that are good again */
	uint64_t use_once_looks;	 /* at all threads, to see whether they are */
	uint64_t use_once_ranges;	 /* that use_once_bytes are in */
	uint64_t use_once_malloc_ranges; /* that use_once_malloc are in */
	/* How often arming has found a range good for one use, by the first reason found. */
	uint64_t armed_once_by[MRN_MAX_ONCE];
};

/*
 * Fills *stats, of which size bytes are the caller's. Figures of what was discarded are 0 without uffd. 0; -EINVAL;
 * -ESTALE in a forked child. Not on the event path.
 */
int mrn_source_get_stats(struct mrn_source *source, struct mrn_source_stats *stats, size_t size);

/*
 * Tells a listener which memory becomes good for one use because it was discarded (MALLOC, ZAPPED), and which is good
 * again. The structure stays its owner's. changed is called for [start, end), with the reasons that hold there from now
 * on; with 0, neither holds any more. What there is already is told first.
 *
 * Nothing calls when such memory is good again, so a thread of the library's own looks: after a millisecond, then less and
 * less often, at least three times a second, and not at all while there is none. What begins and ends between two looks
 * is not told. The last detach ends all. Nobody is told of other reasons: they come of what the program itself does, such
 * as to map a file, and mrn_source_why_once names them.
 *
 * That thread makes one call at a time, with all signals blocked, and holds nothing meanwhile that others wait for, except
 * in watch_once and unwatch_once. So changed may block, allocate, and call all of mrn but these two (-EDEADLK); until it
 * returns, nothing more is told. It must return: no longjmp, no exception, no pthread_exit. In a child that it has
 * forked, the thread ends when it returns.
 */
struct mrn_once_watch {
	void (*changed)(struct mrn_once_watch *watch, uintptr_t start, uintptr_t end,
			uint64_t reasons);
	struct mrn_once_watch *next; /* private */
	uint32_t told;		     /* private */
};

/*
 * The first listener starts the thread, the last one ends it. unwatch waits for a call that is running; after it, watch is
 * the caller's to free.
 *
 * Errors: -EINVAL; -EALREADY for one that is on the list, -ENOENT for one that is not; -ESTALE in a forked child; -EDEADLK
 * from a callback; -EAGAIN when no thread can be made, -EPERM in a sandbox that refuses it. Block; watch may allocate.
 * Signals wait until they return.
 */
int mrn_source_watch_once(struct mrn_source *source, struct mrn_once_watch *watch);
int mrn_source_unwatch_once(struct mrn_source *source, struct mrn_once_watch *watch);

/* Writes the name of a coverage bit ("munmap", "libc_internal", ...) as a static string. */
const char *mrn_cover_name(uint64_t bit);

/*
 * A source can lose what it had: another library writes into our functions, or patches calls past them; or the program
 * sets up a Syscall User Dispatch of its own, or has a sandbox in which a new thread cannot be caught. Who wants to know puts one of these, which stays its owner's, on
 * a list; lost is then called with the causes, after the coverage has been taken back and everything has been
 * invalidated (cause DETACH). From then on arming says MRN_USE_ONCE for ranges that need one of them.
 *
 * lost may run inside somebody's system call, on the event path: no allocation, no locks shared with code
 * that allocates. Not more than once for a cause, until something is attached again.
 */
struct mrn_source_loss {
	void (*lost)(struct mrn_source_loss *loss, uint64_t causes);
	struct mrn_source_loss *next; /* private */
};

/*
 * Errors: -EINVAL; -EALREADY for one that is on the list, -ENOENT for one that is not; -ESTALE in a forked child; -EDEADLK
 * from a callback. unwatch waits for a call of lost that is running; after it, loss is the caller's to free.
 */
int mrn_source_watch_loss(struct mrn_source *source, struct mrn_source_loss *loss);
int mrn_source_unwatch_loss(struct mrn_source *source, struct mrn_source_loss *loss);

/*
 * Looks whether everything is still covered that was when it was attached: makes the self-test of the interposer again.
 * A dispatch that is taken away is noticed at once, and a munmap that is written over at the next mrn_source_arm;
 * other functions, and calls that are patched past them, only here: so call this after having loaded what may do that.
 *
 * 0; -EOPNOTSUPP when something has been lost, now or before, and then all of the above has been done; -ENOTCONN after
 * detach; -EINVAL, -ESTALE, -EDEADLK, -ENOMEM. Blocks; may allocate; maps and unmaps memory of its own.
 */
int mrn_source_check(struct mrn_source *source);

/*
 * Inserts *mrn over [start, start + length) of this process's memory, rounded outwards to OS pages, and has source watch
 * it for the causes in need (MRN_COVER_PAGES, ...). That is all: the loop is the one in <mrn/mmu_notifier.h>, and
 * mmu_range_notifier_remove ends the watching.
 *
 *	again:	seq = mmu_range_read_begin(&mrn);
 *		pthread_mutex_lock(&driver_lock);
 *		if (valid && !mmu_range_read_retry(&mrn, seq)) { use; unlock; done; }
 *		pthread_mutex_unlock(&driver_lock);
 *		pin;
 *		pthread_mutex_lock(&driver_lock);
 *		if (mmu_range_read_retry(&mrn, seq)) { unlock; undo; goto again; }
 *		use; valid = true; unlock;
 *
 * Do not repeat it for ever where read_begin returns 0 for good: after the last detach, and in a forked child.
 *
 * Call read_begin before each use of what is kept, too: where a change is covered as before_return, callbacks for it may
 * still be running when its call has returned, and read_begin waits for them.
 *
 * A range that cannot be watched for need, or not now, is good for one use at a time: each read_begin first calls *mrn's
 * own invalidate, with event CLEAR and cause DETACH, so that a kept shadow goes and a new one is built.
 * mrn_range_read_begin_until returns MRN_USE_ONCE then. A consumer whose device may use a shadow at any time, rather than
 * between read_begin and the end of a use, has to call that function and give up on MRN_USE_ONCE. Each read of such a
 * range makes the reads of other threads collide, so these wait for each other, for up to 8 ms: if a pin takes longer,
 * and several threads read one notifier, have them take turns.
 *
 * Reads of *mrn differ from those of other notifiers in this: the first read after an insertion or a callback, and each
 * of a range that is good for one use, may block for the kernel's mmap lock and makes system calls; from a callback such
 * a read fails (-EDEADLK). After detach, reads fail (-ENOTCONN) until a source is attached again. -EAGAIN: the range
 * changes without pause. A removal also waits for such a read, while it asks the kernel. After
 * mrn_range_notifier_remove_async the range stays watched until free_fn is called; an MADV_DONTNEED in between may leave
 * it good for one use.
 *
 * Errors: as mmu_range_notifier_insert, and -EINVAL without source or need, for events that leave out UNMAP or CLEAR, and
 * for an address with a tag in its uppermost bits, since changes are announced without; -ENOTCONN after detach; -ESTALE
 * in a forked child. Not from a callback or a signal handler. source need not stay attached.
 */
int mrn_range_notifier_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
			      struct mrn_source *source, uint64_t need);

/*
 * The parts of that, for a cache that decides itself when to watch: its notifiers are inserted by
 * mmu_range_notifier_insert, it calls mrn_source_arm after each read_begin that it builds on, before it reads any
 * translation, and mrn_source_disarm before remove.
 *
 * mrn_source_arm makes sure that changes of [addr, addr + length) by the causes in need will be announced; a collision or
 * an invalidation undoes it. Returns 0, or MRN_USE_ONCE: what is built now is good for one use and must not be kept, because
 * later changes of this range may go unseen; also where need has a cause that is not in the coverage, and where the process
 * has half as many mappings as it may have (vm.max_map_count), since arming splits mappings.
 *
 * Errors: -EAGAIN while an invalidation of the range is in progress: begin again; -EINVAL, also for a tagged address;
 * -ENOTCONN after detach; -ESTALE in a forked child. Does not check that the range is mapped. May block for the kernel's
 * mmap lock. Not from a callback.
 */
int mrn_source_arm(struct mrn_source *source, uintptr_t addr, size_t length, uint64_t need);

/*
 * Call it just before removing leaving, whose shadow is gone. Private memory without a file stays watched, so that
 * watching it again costs no system call, until there are too many such ranges or mrn_regcache_flush gives them up. Of
 * other memory, gives up watching what no other notifier covers. Does nothing for a notifier of another mm, nor for one
 * that is not inserted. Never fails. May block for the kernel's mmap lock. Not from a callback.
 */
void mrn_source_disarm(struct mrn_source *source, const struct mmu_range_notifier *leaving);

/*
 * For an invalidate callback, if the program announces its own changes by mmu_notifier_invalidate_range_start: stops the
 * kernel's events for the part of mrn's range that is about to be unmapped or cleared. The brackets of interpose and
 * dispatch do that by themselves. It saves the round trip through the keeper, and it is how a MADV_DONTNEED that a token
 * covers is told from one that nothing covers: no event means covered. With two passes, call it when the device has stopped:
 * in the finish, or in a first pass that hands out none. Does nothing for other invalidations, nor for those
 * of another mm. Async-signal-safe; preserves errno.
 */
void mrn_source_disarm_changing(struct mrn_source *source, const struct mmu_range_notifier *mrn,
				const struct mmu_notifier_range *range);

/*
 * A bare system call that no source sees. For what an invalidate callback asks of the kernel (a registration that it
 * ends, a thread that it wakes): dispatch would catch it again inside the caught call, and that costs another signal's
 * frame on a stack that may be small, and 2 to 3 us. nr is a SYS_..., a to f its arguments as the kernel takes them.
 * Not for calls that change this process's memory: nobody would be told; nor for fork, clone and the like.
 *
 * Returns the kernel's own value, -errno on failure. Async-signal-safe; preserves errno. Blocks if the call does.
 */
long mrn_source_bypass(long nr, long a, long b, long c, long d, long e, long f);

#ifdef __cplusplus
}
#endif

#endif
