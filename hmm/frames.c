/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/falloc.h>
#include <mrn/hmm.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "hmm/check.h"
#include "hmm/keeper.h"
#include "os/cancel.h"
#include "os/fd.h"
#include "os/syscall.h"

/* Callbacks may unpin. */
#include "os/event_path.h"

#define FRAME_GONE	(1u << 31) /* its page has left it: the last pin retires it */
#define FRAME_DIRTY	(1u << 30) /* a device has written to it */
#define FRAME_POPULATED (1u << 29) /* it has memory, which it keeps between uses */
#define FRAME_SOFT	(1u << 28) /* as FRAME_DIRTY, for soft-dirty, which is cleared separately */
#define FRAME_PINS	(FRAME_SOFT - 1)

/* ---------------------------------------------------------------------------------------- bitmap */

static bool is_free(const struct mrn_hmm_frames *f, uint64_t frame)
{
	return frame < f->n && (f->spare[frame / 64] >> frame % 64 & 1);
}

static void set_free(struct mrn_hmm_frames *f, uint64_t frame, bool spare)
{
	uint64_t bit = UINT64_C(1) << frame % 64;

	if (spare)
		f->spare[frame / 64] |= bit;
	else
		f->spare[frame / 64] &= ~bit;
	f->used += spare ? -UINT64_C(1) : 1;
}

static uint64_t run_at(const struct mrn_hmm_frames *f, uint64_t first, uint64_t want)
{
	uint64_t n = 0;

	while (n < want && is_free(f, first + n))
		n++;
	return n;
}

/* The first free frame from `from` on that is a multiple of align; f->n if there is none. */
static uint64_t next_free(const struct mrn_hmm_frames *f, uint64_t from, uint64_t align)
{
	uint64_t i = (from + align - 1) & ~(align - 1);

	while (i < f->n && !is_free(f, i)) {
		if (align < 64 && !(f->spare[i / 64] >> i % 64))
			i = (i / 64 + 1) * 64;
		else
			i += align;
	}
	return i < f->n ? i : f->n;
}

/* Returns where a run starts. *want is the wanted length, on return the found one; 0 for none. */
static uint64_t find_run(struct mrn_hmm_frames *f, uint64_t prefer, uint64_t *want, uint64_t align)
{
	uint64_t least = align > 1 ? *want : 1, at, n, wrapped = 0;

	if (!(prefer & (align - 1)) && (n = run_at(f, prefer, *want)) >= least) {
		*want = n;
		return prefer;
	}
	for (at = next_free(f, f->hint, align);; at = next_free(f, at + align, align)) {
		if (at == f->n) {
			if (wrapped++)
				break;
			at = next_free(f, 0, align);
			if (at == f->n)
				break;
		}
		n = run_at(f, at, *want);
		if (n >= least) {
			*want = n;
			f->hint = at + n;
			return at;
		}
		if (wrapped && at >= f->hint)
			break;
	}
	*want = 0;
	return 0;
}

/* ------------------------------------------------------------------------------------ life and end */

int mrn_hmm_frames_init(struct mrn_hmm_frames *f, struct mrn_hmm_keeper *keeper, uint64_t n,
			uint64_t quarantine)
{
	uint64_t bytes = n * mrn_page_size();
	struct stat st;
	long alias;

	*f = (struct mrn_hmm_frames){.keeper = keeper, .fd = -1, .n = n, .ring_size = quarantine};
	f->fd = mrn_fd_move_up((int)mrn_sys2(SYS_memfd_create, (long)"mrn-hmm", MFD_CLOEXEC));
	if (f->fd < 0)
		return f->fd;
	if (!fstat(f->fd, &st))
		f->inode = st.st_ino;
	f->spare = mrn_pages_alloc((n + 63) / 64 * 8);
	f->word = mrn_pages_alloc(n * sizeof(*f->word));
	/* One more: a frame enters before the oldest leaves. */
	f->ring = quarantine ? mrn_pages_alloc((quarantine + 1) * sizeof(*f->ring)) : NULL;
	alias = mrn_fd_set_size(f->fd, bytes);
	if (!alias)
		alias = mrn_own6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_NORESERVE, f->fd, 0);
	if (mrn_sys_failed(alias) || !f->spare || !f->word || (quarantine && !f->ring)) {
		mrn_hmm_frames_destroy(f);
		return alias == -EFBIG ? -EFBIG : -ENOMEM;
	}
	f->alias = (char *)alias;
	mrn_sys3(SYS_madvise, alias, (long)bytes, MADV_DONTFORK);
	for (uint64_t i = 0; i < n; i++)
		f->spare[i / 64] |= UINT64_C(1) << i % 64;
	return 0;
}

/* Checks that the frame still holds its poison. */
static void look_at(struct mrn_hmm_frames *f, uint64_t frame)
{
	const uint64_t *word = mrn_hmm_frame_memory(f, frame);
	int cancel;

	for (size_t i = 0; i < mrn_page_size() / sizeof(*word); i++) {
		uint64_t found = __atomic_load_n(&word[i], __ATOMIC_RELAXED);

		if (found == MRN_HMM_POISON(frame))
			continue;
		f->violations++;
		if (f->violation) {
			cancel = mrn_cancel_hold();
			f->violation(f->violation_arg, frame, i * sizeof(*word), found);
			mrn_cancel_restore(cancel);
		}
		return;
	}
}

void mrn_hmm_frames_destroy(struct mrn_hmm_frames *f)
{
	for (; f->ring_count; f->ring_count--) {
		look_at(f, f->ring[f->ring_first]);
		f->ring_first = (f->ring_first + 1) % (f->ring_size + 1);
	}
	if (f->alias)
		mrn_sys2(SYS_munmap, (long)f->alias, (long)(f->n * mrn_page_size()));
	mrn_pages_free(f->spare, (f->n + 63) / 64 * 8);
	mrn_pages_free(f->word, f->n * sizeof(*f->word));
	mrn_pages_free(f->ring, (f->ring_size + 1) * sizeof(*f->ring));
	if (f->fd >= 0)
		mrn_hmm_keeper_close(f->keeper, f->fd);
	*f = (struct mrn_hmm_frames){.fd = -1};
}

/* ----------------------------------------------------------------------------------- take and leave */

static long give_memory(struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	long r, page = (long)mrn_page_size();

	do {
		r = mrn_hmm_keeper_call(f->keeper, f->fd, SYS_fallocate, f->fd, FALLOC_FL_KEEP_SIZE,
					(long)first * page, (long)n * page, 0, 0);
	} while (r == -EINTR);
	return r;
}

/* By the alias, not by the descriptor, which the program may replace. */
static long take_memory(struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	return mrn_sys3(SYS_madvise, (long)mrn_hmm_frame_memory(f, first),
			(long)(n * mrn_page_size()), MADV_REMOVE);
}

static bool all_populated(const struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if (!(__atomic_load_n(&f->word[i], __ATOMIC_RELAXED) & FRAME_POPULATED))
			return false;
	return true;
}

/* Frees the oldest frame in quarantine. Under the lock. */
static void release_oldest(struct mrn_hmm_frames *f)
{
	uint64_t frame = f->ring[f->ring_first];

	f->ring_first = (f->ring_first + 1) % (f->ring_size + 1);
	f->ring_count--;
	look_at(f, frame);
	memset(mrn_hmm_frame_memory(f, frame), 0, mrn_page_size());
	set_free(f, frame, true);
}

static void give_back(struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	mrn_mutex_lock(&f->lock);
	for (uint64_t i = first; i < first + n; i++)
		set_free(f, i, true);
	mrn_mutex_unlock(&f->lock);
}

long mrn_hmm_frames_take(struct mrn_hmm_frames *f, uint64_t prefer, uint64_t want, uint64_t align,
			 uint64_t *first)
{
	uint64_t n = want;
	long r = 0;

	mrn_mutex_lock(&f->lock);
	*first = find_run(f, prefer, &n, align);
	/* When frames run out, shorten the quarantine. */
	while (!n && align == 1 && f->ring_count) {
		release_oldest(f);
		n = want;
		*first = find_run(f, prefer, &n, align);
	}
	for (uint64_t i = 0; i < n; i++)
		set_free(f, *first + i, false);
	mrn_mutex_unlock(&f->lock);
	if (!n)
		return -ENOMEM;
	if (!all_populated(f, *first, n))
		r = give_memory(f, *first, n);
	if (r) {
		give_back(f, *first, n);
		return r;
	}
	for (uint64_t i = 0; i < n; i++)
		__atomic_store_n(&f->word[*first + i], FRAME_POPULATED, __ATOMIC_RELAXED);
	return (long)n;
}

static void poison(struct mrn_hmm_frames *f, uint64_t frame)
{
	uint64_t *word = mrn_hmm_frame_memory(f, frame);

	/* Atomic, since a faulty device may be reading or writing. */
	for (size_t i = 0; i < mrn_page_size() / sizeof(*word); i++)
		__atomic_store_n(&word[i], MRN_HMM_POISON(frame), __ATOMIC_RELAXED);
}

static void quarantine(struct mrn_hmm_frames *f, uint64_t frame)
{
	poison(f, frame);
	mrn_mutex_lock(&f->lock);
	f->ring[(f->ring_first + f->ring_count++) % (f->ring_size + 1)] = (uint32_t)frame;
	if (f->ring_count > f->ring_size)
		release_oldest(f);
	mrn_mutex_unlock(&f->lock);
}

static void retire(struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	if (f->ring_size) {
		for (uint64_t i = first; i < first + n; i++)
			quarantine(f, i);
		return;
	}
	for (uint64_t i = first; i < first + n; i++)
		__atomic_store_n(&f->word[i], 0, __ATOMIC_RELAXED);
	/* Fails for memory that the program has locked by mlockall. */
	if (take_memory(f, first, n) < 0)
		memset(mrn_hmm_frame_memory(f, first), 0, (size_t)n * mrn_page_size());
	give_back(f, first, n);
}

void mrn_hmm_frames_leave(struct mrn_hmm_frames *f, uint64_t first, uint64_t n)
{
	uint64_t from = first;

	for (uint64_t i = first; i < first + n; i++) {
		uint32_t was = __atomic_fetch_or(&f->word[i], FRAME_GONE, __ATOMIC_ACQ_REL);

		if (!(was & FRAME_PINS))
			continue;
		if (i > from)
			retire(f, from, i - from);
		from = i + 1;
	}
	if (first + n > from)
		retire(f, from, first + n - from);
}

/* ------------------------------------------------------------------------------------- pins, dirty */

void mrn_hmm_frame_pin(struct mrn_hmm_frames *f, uint64_t frame)
{
	if (!MRN_BROKEN(HMM_PINS))
		__atomic_fetch_add(&f->word[frame], 1, __ATOMIC_RELAXED);
}

void mrn_hmm_frame_unpin(struct mrn_hmm_frames *f, uint64_t frame)
{
	/* Orders this holder's accesses before the poison, which the retiring thread writes. */
	uint32_t now =
		MRN_BROKEN(HMM_PINS) ? 0 : __atomic_sub_fetch(&f->word[frame], 1, __ATOMIC_ACQ_REL);

	if ((now & FRAME_GONE) && !(now & FRAME_PINS))
		retire(f, frame, 1);
}

bool mrn_hmm_frame_is_pinned(const struct mrn_hmm_frames *f, uint64_t frame)
{
	return __atomic_load_n(&f->word[frame], __ATOMIC_ACQUIRE) & FRAME_PINS;
}

void mrn_hmm_frame_set_dirty(struct mrn_hmm_frames *f, uint64_t frame)
{
	if (!MRN_BROKEN(HMM_DIRTY))
		__atomic_fetch_or(&f->word[frame], FRAME_DIRTY | FRAME_SOFT, __ATOMIC_RELEASE);
}

bool mrn_hmm_frame_clean(struct mrn_hmm_frames *f, uint64_t frame)
{
	return __atomic_fetch_and(&f->word[frame], ~FRAME_DIRTY, __ATOMIC_ACQUIRE) & FRAME_DIRTY;
}

bool mrn_hmm_frame_is_soft_dirty(const struct mrn_hmm_frames *f, uint64_t frame)
{
	return __atomic_load_n(&f->word[frame], __ATOMIC_ACQUIRE) & FRAME_SOFT;
}

bool mrn_hmm_frame_take_soft_dirty(struct mrn_hmm_frames *f, uint64_t frame)
{
	return __atomic_fetch_and(&f->word[frame], ~FRAME_SOFT, __ATOMIC_ACQUIRE) & FRAME_SOFT;
}

int mrn_hmm_frame_restore(struct mrn_hmm_frames *f, uint64_t frame)
{
	return (int)give_memory(f, frame, 1);
}
