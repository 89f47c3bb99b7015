/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The self-test: causes each change on scratch memory, and takes what a notifier on that memory was told for the
 * coverage. Uses libc's function for what an interposer sees, and a raw call for what the kernel reports.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "os/container_of.h"
#include "source/check.h"
#include "core/mm.h"
#include "os/atomic.h"
#include "os/fd.h"
#include "os/libc_call.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/bracket/other.h"
#include "source/dispatch/dispatch.h"
#include "source/interposer.h"
#include "source/kind.h"

/* Scratch memory: an anonymous half, a half of shared file pages, and their notifier. */
#define PAGES 4

/* nr(a, b, c, d, e, f), as mrn_sys6 */
typedef long (*raw_call)(long nr, long a, long b, long c, long d, long e, long f);

struct scratch {
	struct mmu_range_notifier mrn;
	char *anon, *spare, *file;
	char *watched; /* anon or file: what the notifier is of */
	size_t size;
	size_t file_size; /* what a limit on file sizes allows of it */
	int fd, advice;
	raw_call raw;	     /* makes calls past libc; NULL: use libc's functions */
	bool by_name;	     /* what dispatch announces does not count */
	const char *untried; /* why a cause was not tried */
	/* A trial has left a hole, which another thread may have got since. */
	bool anon_gone, spare_gone;
	/* What the notifier was told. */
	bool before, after;
	enum mrn_cause cause;
};

static bool note(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t cur_seq)
{
	struct scratch *s = container_of(mrn, struct scratch, mrn);

	mmu_range_notifier_update_seq(mrn, cur_seq);
	if (s->by_name && mrn_dispatch_handles() && !MRN_BROKEN(SOURCE_NAMES))
		return true;
	if (range->flags & MRN_RANGE_AFTER)
		__atomic_store_n(&s->after, true, __ATOMIC_RELEASE);
	else if (range->cause == s->cause)
		__atomic_store_n(&s->before, true, __ATOMIC_RELEASE);
	return true;
}

static const struct mmu_range_notifier_ops note_ops = {.invalidate = note};

/* ------------------------------------------------------------------------------------- the causes */

/* The kernel's own value. */
static long call(const struct scratch *s, long nr, const long a[6])
{
	return s->raw ? s->raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]) : mrn_libc_call(nr, a);
}

#define CALL(s, nr, ...) call(s, nr, (const long[6]){__VA_ARGS__})

static long do_munmap(struct scratch *s)
{
	long r = CALL(s, SYS_munmap, (long)s->anon, (long)s->size);

	s->anon_gone = !r;
	return r;
}

static long do_map_fixed(struct scratch *s)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	return CALL(s, SYS_mmap, (long)s->anon, (long)s->size, prot, flags, -1, 0);
}

static long do_mremap(struct scratch *s, char *from, char *to)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	return CALL(s, SYS_mremap, (long)from, (long)s->size, (long)s->size, flags, (long)to);
}

static long do_mremap_src(struct scratch *s)
{
	long r = do_mremap(s, s->anon, s->spare);

	s->anon_gone = !mrn_sys_failed(r);
	return r;
}

static long do_mremap_dst(struct scratch *s)
{
	long r = do_mremap(s, s->spare, s->anon);

	s->spare_gone = !mrn_sys_failed(r);
	return r;
}

static long do_madvise(struct scratch *s)
{
	return CALL(s, SYS_madvise, (long)s->watched, (long)s->size, s->advice);
}

static long do_mprotect(struct scratch *s)
{
	return CALL(s, SYS_mprotect, (long)s->anon, (long)s->size, PROT_READ);
}

static long do_remap_file_pages(struct scratch *s)
{
	return CALL(s, SYS_remap_file_pages, (long)s->file, (long)mrn_page_size(), 0, 1);
}

static long do_fallocate(struct scratch *s)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return CALL(s, SYS_fallocate, s->fd, hole, 0, (long)s->size);
}

static long is_untried(struct scratch *s, const char *why)
{
	s->untried = why;
	return -ENOENT;
}

static long do_ftruncate(struct scratch *s)
{
	if (!s->file_size)
		return is_untried(s, "ftruncate cannot be tried while RLIMIT_FSIZE is 0: raise it "
				     "(ulimit -f)");
	return CALL(s, SYS_ftruncate, s->fd, 0);
}

static long open_and_truncate(struct scratch *s, const char *name)
{
	const int flags = O_RDWR | O_TRUNC | O_CLOEXEC;
	long fd = CALL(s, SYS_openat, AT_FDCWD, (long)name, flags);

	if (fd < 0)
		return fd;
	mrn_sys1(SYS_close, fd);
	return 0;
}

/* The same for a file with a name, mapped over the other one; tells nobody. */
static long open_named_and_truncate(struct scratch *s, const char *folder)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	char name[64];
	long fd, p, r;

	snprintf(name, sizeof(name), "%s/.mrn-self-test-%d", folder, (int)mrn_sys0(SYS_getpid));
	fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)name, flags, 0600);
	if (fd < 0)
		return fd;
	r = mrn_fd_set_size((int)fd, s->file_size);
	p = mrn_own6(SYS_mmap, (long)s->file, (long)s->size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_FIXED, fd, 0);
	mrn_sys1(SYS_close, fd);
	if (!r)
		r = mrn_sys_failed(p) ? p : open_and_truncate(s, name);
	mrn_sys3(SYS_unlinkat, AT_FDCWD, (long)name, 0);
	return r;
}

/* A memfd has a name only in /proc. */
static long do_open_trunc(struct scratch *s)
{
	static const char *const folders[] = {"/dev/shm", "/tmp", "."};
	char name[64];
	long r;

	if (!s->file_size)
		return is_untried(s, "open_trunc cannot be tried while RLIMIT_FSIZE is 0: raise it "
				     "(ulimit -f)");
	snprintf(name, sizeof(name), "/proc/self/fd/%d", s->fd);
	r = open_and_truncate(s, name);
	for (size_t i = 0; r && i < sizeof(folders) / sizeof(folders[0]); i++)
		r = open_named_and_truncate(s, folders[i]);
	return r ? is_untried(s,
			      "open_trunc cannot be tried: mount /proc, or let this process make a "
			      "file in /dev/shm, /tmp or its folder")
		 : 0;
}

/* Puts a segment over the scratch memory, then takes it away: tries two causes. */
static long do_shm(struct scratch *s, bool detach)
{
	int id;
	long r;

	if (mrn_is_refused(SYS_shmget) || mrn_is_refused(SYS_shmctl) || mrn_is_refused(SYS_shmat))
		return -ENOSYS;
	id = shmget(IPC_PRIVATE, s->size, IPC_CREAT | 0600);
	if (id < 0)
		return -errno;
	r = CALL(s, SYS_shmat, id, (long)s->anon, SHM_REMAP);
	shmctl(id, IPC_RMID, NULL);
	if (mrn_sys_failed(r) || !detach)
		return r;
	r = CALL(s, SYS_shmdt, (long)s->anon);
	s->anon_gone = !r;
	return r;
}

static long do_shmat_remap(struct scratch *s)
{
	return do_shm(s, false);
}

static long do_shmdt(struct scratch *s)
{
	return do_shm(s, true);
}

/*
 * Without a descriptor: the kernel refuses the call, which has been announced by then. Two trials, since either libc
 * function may be interposed by another library.
 */
static long do_uffd_move(struct scratch *s)
{
	uint64_t move[5] = {(uintptr_t)s->spare, (uintptr_t)s->anon, s->size};

	return CALL(s, SYS_ioctl, -1, (long)MRN_UFFDIO_MOVE, (long)move);
}

static long do_tcp_receive(struct scratch *s)
{
	uint64_t receive[8] = {(uintptr_t)s->anon, s->size};
	socklen_t length = sizeof(receive);

	return CALL(s, SYS_getsockopt, -1, IPPROTO_TCP, MRN_TCP_ZEROCOPY_RECEIVE, (long)receive,
		    (long)&length);
}

enum trait {
	ON_FILE = 1,  /* watch the file half */
	BY_EVENT = 2, /* the kernel reports it to a userfaultfd */
	REMOVE = 4,   /* ... ahead of the change, as REMOVE */
};

struct trial {
	enum mrn_cause cause;
	long (*make)(struct scratch *s);
	long nr;    /* the call that make makes */
	int advice; /* of do_madvise */
	unsigned int traits;
};

static const struct trial trials[] = {
	{MRN_CAUSE_MUNMAP, do_munmap, SYS_munmap, 0, BY_EVENT},
	{MRN_CAUSE_MAP_FIXED, do_map_fixed, SYS_mmap, 0, BY_EVENT},
	{MRN_CAUSE_MREMAP_SRC, do_mremap_src, SYS_mremap, 0, BY_EVENT},
	{MRN_CAUSE_MREMAP_DST, do_mremap_dst, SYS_mremap, 0, BY_EVENT},
	{MRN_CAUSE_DONTNEED, do_madvise, SYS_madvise, MADV_DONTNEED, BY_EVENT | REMOVE},
	{MRN_CAUSE_DONTNEED_LOCKED, do_madvise, SYS_madvise, MADV_DONTNEED_LOCKED,
	 BY_EVENT | REMOVE},
	{MRN_CAUSE_FREE, do_madvise, SYS_madvise, MADV_FREE, BY_EVENT | REMOVE},
	{MRN_CAUSE_REMOVE, do_madvise, SYS_madvise, MADV_REMOVE, ON_FILE | BY_EVENT | REMOVE},
	/* Advice without a cause of its own. */
	{MRN_CAUSE_MADVISE, do_madvise, SYS_madvise, MADV_PAGEOUT, 0},
	{MRN_CAUSE_MPROTECT, do_mprotect, SYS_mprotect, 0, 0},
	{MRN_CAUSE_REMAP_FILE_PAGES, do_remap_file_pages, SYS_remap_file_pages, 0, ON_FILE},
	{MRN_CAUSE_FALLOCATE, do_fallocate, SYS_fallocate, 0, ON_FILE},
	{MRN_CAUSE_FTRUNCATE, do_ftruncate, SYS_ftruncate, 0, ON_FILE},
	{MRN_CAUSE_OPEN_TRUNC, do_open_trunc, SYS_openat, 0, ON_FILE},
	{MRN_CAUSE_SHMAT_REMAP, do_shmat_remap, SYS_shmat, 0, 0},
	{MRN_CAUSE_SHMDT, do_shmdt, SYS_shmdt, 0, 0},
	{MRN_CAUSE_OTHER, do_uffd_move, SYS_ioctl, 0, 0},
	{MRN_CAUSE_OTHER, do_tcp_receive, SYS_getsockopt, 0, 0},
};

/* -------------------------------------------------------------------------------------- the trial */

static int make_scratch(struct scratch *s)
{
	const int prot = PROT_READ | PROT_WRITE;
	long anon, file;

	s->size = PAGES * mrn_page_size();
	s->fd = (int)mrn_sys2(SYS_memfd_create, (long)"mrn-self-test", MFD_CLOEXEC);
	if (s->fd < 0)
		return s->fd;
	/* Two anonymous pieces side by side, so that either can be unmapped or moved onto. */
	anon = mrn_own6(SYS_mmap, 0, (long)(2 * s->size), prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->file_size = mrn_fd_size_max() < s->size ? (size_t)mrn_fd_size_max() : s->size;
	mrn_fd_set_size(s->fd, s->file_size);
	file = mrn_own6(SYS_mmap, 0, (long)s->size, prot, MAP_SHARED, s->fd, 0);
	if (!mrn_sys_failed(anon) && !mrn_sys_failed(file)) {
		s->anon = (char *)anon;
		s->spare = (char *)anon + s->size;
		s->file = (char *)file;
		return 0;
	}
	if (!mrn_sys_failed(anon))
		mrn_sys2(SYS_munmap, anon, (long)(2 * s->size));
	if (!mrn_sys_failed(file))
		mrn_sys2(SYS_munmap, file, (long)s->size);
	mrn_sys1(SYS_close, s->fd);
	return -ENOMEM;
}

static void drop_scratch(struct scratch *s)
{
	/* Raw: tells nobody. */
	if (!s->anon_gone)
		mrn_sys2(SYS_munmap, (long)s->anon, (long)s->size);
	if (!s->spare_gone)
		mrn_sys2(SYS_munmap, (long)s->spare, (long)s->size);
	mrn_sys2(SYS_munmap, (long)s->file, (long)s->size);
	mrn_sys1(SYS_close, s->fd);
}

/* Waits for what is in progress, as a consumer would: afterwards before and after say what the notifier was told. */
static void settle(struct scratch *s)
{
	struct timespec deadline;
	uint64_t seq;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += 10;
	mrn_range_read_begin_until(&s->mrn, &deadline, &seq);
}

enum outcome { MISSED, BEFORE, AFTER, IMPOSSIBLE };

#define ARM_TRIES 1000

static int attempt(struct mrn_source *source, const struct trial *t, raw_call raw, bool by_event,
		   enum outcome *out)
{
	struct scratch s = {.raw = raw,
			    .by_name = !raw,
			    .cause = t->cause,
			    .advice = t->advice,
			    .mrn.ops = &note_ops};
	struct mrn_uffd_found found = {.files = false};
	long r;

	/* Do not make calls that the program may not make. */
	if (mrn_is_refused(t->nr)) {
		*out = IMPOSSIBLE;
		return 0;
	}
	r = make_scratch(&s);
	if (r)
		return (int)r;
	s.watched = t->traits & ON_FILE ? s.file : s.anon;
	r = mmu_range_notifier_insert(&s.mrn, (uintptr_t)s.watched, s.size, source->mm);
	if (!r) {
		/* Another thread's change is in progress: it ends by itself. */
		for (int tries = 0; by_event && tries < ARM_TRIES; tries++) {
			if (mrn_uffd_arm(&source->uffd, (uintptr_t)s.watched,
					 (uintptr_t)s.watched + s.size, &found) != -EAGAIN)
				break;
			settle(&s);
		}
		r = t->make(&s);
		if (by_event)
			settle(&s);
		/* The kernel lacks the call, so it changes nothing. */
		if (r == -ENOSYS || r == -EINVAL || r == -EOPNOTSUPP)
			*out = IMPOSSIBLE;
		else if (by_event)
			*out = __atomic_load_n(&s.after, __ATOMIC_ACQUIRE) ? AFTER : MISSED;
		else
			*out = __atomic_load_n(&s.before, __ATOMIC_ACQUIRE) ? BEFORE : MISSED;
		if (by_event)
			mrn_uffd_disarm_whole(&source->uffd, (uintptr_t)s.watched,
					      (uintptr_t)s.watched + s.size);
		mmu_range_notifier_remove(&s.mrn);
		r = 0;
	}
	if (s.untried && *out == MISSED)
		mrn_source_add_why(source, s.untried);
	drop_scratch(&s);
	return (int)r;
}

/* The kernel's start of the heap; 0 if it does not say. */
static uintptr_t start_of_heap(void)
{
	enum {
		STATE = 3,
		START_BRK = 47
	}; /* fields of /proc/self/stat; the second is a name that may have blanks */
	char stat[1024], *p;
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
	long n;

	if (fd < 0)
		return 0;
	n = mrn_sys3(SYS_read, fd, (long)stat, sizeof(stat) - 1);
	mrn_sys1(SYS_close, fd);
	stat[n > 0 ? n : 0] = '\0';
	p = strrchr(stat, ')');
	for (int field = STATE; p && field <= START_BRK; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

/*
 * brk cannot be tried: moving the break back might take memory that another thread's malloc has just got. But the
 * kernel refuses a break below the heap, and by then the call has been announced: a notifier there, where nothing need
 * be mapped, sees it.
 */
static bool brk_is_bracketed(struct mrn_source *source, raw_call raw)
{
	struct scratch s = {.by_name = !raw, .cause = MRN_CAUSE_BRK, .mrn.ops = &note_ops};
	uintptr_t heap = start_of_heap(), below;

	if (mrn_is_refused(SYS_brk))
		return true;

	/* As near as possible, to tell few others; but certainly below. */
	below = heap ? mrn_page_down(heap) - mrn_page_size() : 16 * mrn_page_size();
	if (mmu_range_notifier_insert(&s.mrn, below, mrn_page_size(), source->mm))
		return false;
	if (raw)
		raw(SYS_brk, (long)below, 0, 0, 0, 0, 0);
	else
		(void)!brk((void *)below);
	mmu_range_notifier_remove(&s.mrn);
	return s.before;
}

static int try_names(struct mrn_source *source, uint64_t *all)
{
	uint64_t seen = 0, missed = 0;

	for (unsigned int i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		enum outcome o;
		int r;

		r = attempt(source, &trials[i], NULL, false, &o);
		if (r)
			return r;
		*(o == BEFORE || o == IMPOSSIBLE ? &seen : &missed) |=
			MRN_CAUSE_BIT(trials[i].cause);
	}
	if (brk_is_bracketed(source, NULL))
		seen |= MRN_CAUSE_BIT(MRN_CAUSE_BRK);
	/* Not tried, since every consumer would be told. They are interposed where munmap is. */
	if (seen & ~missed & MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP))
		seen |= MRN_CAUSE_BIT(MRN_CAUSE_FORK) | MRN_CAUSE_BIT(MRN_CAUSE_EXEC);
	*all = seen & ~missed;
	return 0;
}

int mrn_source_try_by_name(struct mrn_source *source, struct mrn_coverage *seen)
{
	int r;

	/* Dispatch goes on meanwhile, so that other notifiers are still told. */
	mrn_does_not_stand_back = true;
	r = try_names(source, &seen->bracketed);
	mrn_does_not_stand_back = false;
	return r;
}

int mrn_source_try_by_event(struct mrn_source *source, struct mrn_coverage *seen)
{
	uint64_t late = 0, once = 0;
	bool all = true;

	for (unsigned int i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		const struct trial *t = &trials[i];
		enum outcome o;
		int r;

		if (!(t->traits & BY_EVENT))
			continue;
		r = attempt(source, t, mrn_sys6, true, &o);
		/* Our own MADV_DONTNEED is over; only we know that. */
		mrn_use_once_clear(&source->uffd.use_once);
		if (r)
			return r;
		if (o == AFTER || o == IMPOSSIBLE)
			*(t->traits & REMOVE ? &once : &late) |= MRN_CAUSE_BIT(t->cause);
		else
			all = false;
	}
	/* To the kernel shrinking the heap is an unmap, whoever calls. */
	if (late & MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP))
		late |= MRN_CAUSE_BIT(MRN_CAUSE_BRK);
	if (all)
		late |= MRN_COVER_RAW | MRN_COVER_LIBC_INTERNAL;
	*seen = (struct mrn_coverage){.before_return = late, .use_once = once};
	return 0;
}

#ifdef __x86_64__
/* A system call instruction that dispatch does not exempt. */
static long bare_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#else
#define bare_call mrn_sys6
#endif

/* By an instruction of this library: to the kernel all instructions are alike. */
int mrn_source_try_by_call(struct mrn_source *source, struct mrn_coverage *all)
{
	uint64_t seen = 0, missed = 0;

	for (unsigned int i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		enum outcome o;
		int r = attempt(source, &trials[i], bare_call, false, &o);

		if (r)
			return r;
		*(o == BEFORE || o == IMPOSSIBLE ? &seen : &missed) |=
			MRN_CAUSE_BIT(trials[i].cause);
	}
	*(brk_is_bracketed(source, bare_call) ? &seen : &missed) |= MRN_CAUSE_BIT(MRN_CAUSE_BRK);
	if (!missed)
		seen |= MRN_CAUSE_BIT(MRN_CAUSE_FORK) | MRN_CAUSE_BIT(MRN_CAUSE_EXEC) |
			MRN_COVER_RAW | MRN_COVER_LIBC_INTERNAL | MRN_COVER_ALL_CALLERS;
	all->bracketed = seen & ~missed;
	return 0;
}

/* Atomic: the kind may be losing it. */
void mrn_source_has_seen(struct mrn_source *source, enum mrn_kind k, struct mrn_coverage seen)
{
	uint64_t still;

	__atomic_store_n(&source->seen[k].bracketed, seen.bracketed, __ATOMIC_RELAXED);
	__atomic_store_n(&source->seen[k].before_return, seen.before_return, __ATOMIC_RELAXED);
	__atomic_store_n(&source->seen[k].use_once, seen.use_once, __ATOMIC_RELAXED);
	/* Pairs with the fence in mrn_source_has_lost. What was stored may have been relied on meanwhile. */
	mrn_fence_full();
	still = __atomic_load_n(&source->still[k], __ATOMIC_RELAXED);
	if ((seen.bracketed | seen.before_return | seen.use_once) & ~still &&
	    !MRN_BROKEN(SOURCE_TRIED))
		mrn_source_has_lost(source, k, still);
}

int mrn_source_self_test(struct mrn_source *source, unsigned int had)
{
	MRN_FOR_EACH_KIND(k, source->kinds & ~had) {
		struct mrn_coverage seen = {0};
		int r = mrn_kind_ops[k]->try(source, &seen);

		if (r)
			return r;
		MRN_HOOK(tried, k);
		mrn_source_has_seen(source, k, seen);
	}
	return 0;
}
