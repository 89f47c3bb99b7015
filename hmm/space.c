/* SPDX-License-Identifier: BSD-3-Clause */
/* An address space: creating and destroying it; its frames and statistics. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mm.h"
#include "hmm/change.h"
#include "hmm/cpu_map.h"
#include "hmm/end.h"
#include "hmm/events.h"
#include "hmm/page_in.h"
#include "hmm/space.h"
#include "os/cancel.h"
#include "os/fd.h"
#include "os/opts.h"
#include "os/syscall.h"
#include "os/uffd.h"

#define DEFAULT_FRAMES (UINT64_C(1) << 20)
#define MAX_FRAMES     (UINT64_C(1) << 32) /* page.home has 32 bits */
#define MAX_HANDLERS   64

#define FEATURES                                                                            \
	(UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |                 \
	 UFFD_FEATURE_THREAD_ID)

static int fail_uffd(const struct mrn_hmm_opts *opts, int err)
{
	switch (err) {
	case -EPERM:
		return mrn_explain(
			opts, err,
			"managed memory needs userfaultfd, which this process may not have: set "
			"vm.unprivileged_userfaultfd=1, or open /dev/userfaultfd to it");
	case -ENOSYS:
		return mrn_explain(opts, err,
				   "managed memory needs userfaultfd, which this kernel lacks "
				   "(CONFIG_USERFAULTFD)");
	case -EOPNOTSUPP:
		return mrn_explain(
			opts, err,
			"managed memory needs userfaultfd's minor faults and write protection "
			"for shared memory: Linux 5.19 or later");
	default:
		return mrn_explain(opts, err, "userfaultfd: %s", strerror(-err));
	}
}

/* ------------------------------------------------------------------------------------------- its threads */

/* In a worker. */
static void serve(void *arg, const struct mrn_hmm_fault *f)
{
	if (f)
		mrn_hmm_serve_asked(arg, f);
	else
		mrn_hmm_lose(arg);
}

static int start_keeper(struct mrn_hmm *hmm, unsigned int handlers)
{
	const int backing = hmm->backing.fd > 0 ? hmm->backing.fd : -1;
	const int fds[] = {hmm->uffd, hmm->frames.fd, hmm->end, backing};

	hmm->handler = calloc(handlers, sizeof(*hmm->handler));
	if (!hmm->handler)
		return -ENOMEM;
	hmm->most_handlers = handlers;
	if (backing >= 0 && mrn_sys2(SYS_fcntl, backing, F_GETFD) < 0)
		return -EBADF;
	return mrn_hmm_keeper_start(&hmm->keeper, fds, 4, 3, mrn_hmm_handlers_start, hmm);
}

/* ----------------------------------------------------------------------------------- what the kernel has */

/* True if the kernel can install entries write-protected: it checks the flags before the page. */
static bool has_read_only_maps(const struct mrn_hmm *hmm)
{
	struct uffdio_continue arg = {
		/* An address that is mapped and not watched: -ENOENT. */
		.range = {.start = mrn_page_down((uintptr_t)&arg), .len = mrn_page_size()},
		.mode = UFFDIO_CONTINUE_MODE_WP,
	};

	return mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_CONTINUE, (long)&arg) != -EINVAL;
}

/* "" if page faults inside system calls are served, else a sentence. The handlers run already. */
static const char *try_kernel_faults(struct mrn_hmm *hmm)
{
	void *page = NULL;
	long r;

	if (mrn_hmm_alloc(hmm, mrn_page_size(), PROT_READ | PROT_WRITE, 0, &page))
		return "";
	r = mrn_sys3(SYS_getrandom, (long)page, 1, 0);
	mrn_hmm_free(hmm, page);
	return r == -EFAULT
		       ? "system calls cannot reach managed pages that the CPU has not touched "
			 "(EFAULT): this process may have userfaultfd for user mode only; see "
			 "vm.unprivileged_userfaultfd"
		       : "";
}

/* -------------------------------------------------------------------------------------- create, destroy */

static int check_backing(const struct mrn_hmm_opts *o)
{
	int flags = fcntl(o->backing_fd, F_GETFL);

	if (flags < 0)
		return mrn_explain(o, -EBADF, "backing_fd: %d is not open", o->backing_fd);
	/* O_APPEND: the kernel would write each page at the end, wherever it is to be. */
	if ((flags & (O_ACCMODE | O_APPEND)) != O_RDWR || lseek(o->backing_fd, 0, SEEK_CUR) < 0)
		return mrn_explain(
			o, -EBADF,
			"backing_fd: %d is no file that is open for reading and writing, "
			"seekable, and without O_APPEND",
			o->backing_fd);
	return 0;
}

static int check_opts(const struct mrn_hmm_opts *o)
{
	if (o->frames > MAX_FRAMES)
		return mrn_explain(o, -EINVAL, "frames: at most %ju", (uintmax_t)MAX_FRAMES);
	if (o->handlers > MAX_HANDLERS)
		return mrn_explain(o, -EINVAL, "handlers: at most %d", MAX_HANDLERS);
	if (o->quarantine >= o->frames)
		return mrn_explain(o, -EINVAL, "quarantine: less than frames");
	return o->backing_fd > 0 ? check_backing(o) : 0;
}

/* Frees what is left without regions and threads, except the mm. Takes no lock. */
static void free_space(struct mrn_hmm *hmm)
{
	mrn_hmm_workers_free(&hmm->workers);
	mrn_hmm_backing_destroy(&hmm->backing);
	free(hmm->handler);
	free(hmm->region);
	free(hmm);
}

/* Tears down a space, or what create had made of it, except the mm. */
static void tear_down(struct mrn_hmm *hmm)
{
	struct mrn_hmm_region *r;
	uintptr_t next = 0;

	/*
	 * First hide all pages: then no thread waits for a handler. Closing the userfaultfd is not enough: while a
	 * forked child has a copy, unmapping what is still watched would wait for ever for its event to be read.
	 */
	for (; hmm->uffd >= 0 && (r = mrn_hmm_region_next(hmm, next)); mrn_hmm_region_put(r)) {
		mrn_hmm_cpu_hide(r, 0, mrn_hmm_pages(r));
		next = r->end;
	}
	mrn_hmm_keeper_close(&hmm->keeper, hmm->uffd);
	mrn_hmm_keeper_close(&hmm->keeper, hmm->end);
	hmm->uffd = -1;
	while ((r = mrn_hmm_region_next(hmm, 0))) {
		size_t pages = mrn_hmm_pages(r);

		mrn_hmm_drop(r, 0, pages);
		mrn_hmm_region_remove(r);
		mrn_hmm_cpu_give_back(r);
		mrn_hmm_region_put(r);
		mrn_hmm_region_put(r);
	}
	for (struct mrn_hmm_device *d = hmm->devices; d; d = d->next)
		d->hmm = NULL;
	mrn_hmm_frames_destroy(&hmm->frames);
	mrn_hmm_keeper_stop(&hmm->keeper);
	free_space(hmm);
}

/*
 * In a forked child, which alone has this copy of the space. Takes no lock: another thread of the parent may have held
 * any of them at the fork, and such a lock is held for ever. The descriptors are copies, the threads do not exist here,
 * and neither the regions nor the frames' alias are mapped.
 */
static void forget(struct mrn_hmm *hmm)
{
	mrn_hmm_keeper_forget(&hmm->keeper, hmm->end);
	mrn_hmm_keeper_forget(&hmm->keeper, hmm->uffd);
	mrn_hmm_keeper_forget(&hmm->keeper, hmm->frames.fd);
	hmm->frames.fd = -1;
	for (size_t i = 0; i < hmm->nr_regions; i++)
		mrn_pages_free(hmm->region[i],
			       mrn_hmm_region_memory(mrn_hmm_pages(hmm->region[i])));
	/* Leave the quarantine unchecked: the alias is not mapped. */
	hmm->frames.alias = NULL;
	hmm->frames.ring_count = 0;
	mrn_hmm_frames_destroy(&hmm->frames);
	free_space(hmm);
}

int mrn_hmm_create(const struct mrn_hmm_opts *given, struct mrn_hmm **out)
{
	struct mrn_hmm_opts o = {0};
	struct mrn_hmm *hmm;
	uint64_t got;
	int err, cancel;

	if (!out)
		return -EINVAL;
	err = given ? MRN_OPTS_TAKE(&o, given) : 0;
	if (err)
		return err;
	o.frames = o.frames ? o.frames : DEFAULT_FRAMES;
	o.handlers = o.handlers ? o.handlers : 1;
	err = check_opts(&o);
	if (err)
		return err;
	hmm = calloc(1, sizeof(*hmm));
	if (!hmm)
		return mrn_explain(&o, -ENOMEM, "no memory");
	hmm->end = -1;
	hmm->frames.fd = -1;
	hmm->why = "";
	mrn_hmm_backing_init(&hmm->backing, &hmm->keeper, o.backing_fd);
	hmm->uffd = mrn_fd_move_up(mrn_uffd_open(FEATURES, UFFD_FEATURE_EXACT_ADDRESS, &got));
	if (hmm->uffd < 0)
		err = fail_uffd(&o, hmm->uffd);
	if (!err) {
		hmm->read_only_maps = has_read_only_maps(hmm);
		hmm->next_pfn = o.frames;
		err = mrn_hmm_frames_init(&hmm->frames, &hmm->keeper, o.frames, o.quarantine);
		if (err)
			mrn_explain(&o, err, "frames: %s", strerror(-err));
	}
	hmm->frames.violation = o.violation;
	hmm->frames.violation_arg = o.violation_arg;
	if (!err) {
		err = mrn_mm_create(&hmm->mm);
		if (!err)
			err = hmm->end = mrn_fd_move_up(
				(int)mrn_sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
		if (err >= 0)
			err = mrn_hmm_workers_start(&hmm->workers, serve, hmm);
		if (err < 0)
			mrn_explain(&o, err, "descriptors and threads: %s", strerror(-err));
	}
	if (!err) {
		err = start_keeper(hmm, o.handlers);
		if (err == -EPERM)
			mrn_explain(
				&o, err,
				"managed memory needs a thread with a descriptor table of its own: allow "
				"close_range or unshare(CLONE_FILES)");
		else if (err)
			mrn_explain(&o, err, "descriptors and threads: %s", strerror(-err));
	}
	if (err) {
		cancel = mrn_cancel_hold();
		mrn_hmm_handlers_stop(hmm);
		mrn_hmm_workers_stop(&hmm->workers);
		if (hmm->mm)
			mrn_mm_destroy(hmm->mm);
		tear_down(hmm);
		mrn_cancel_restore(cancel);
		return err;
	}
	hmm->mm->announcer = hmm;
	hmm->why = try_kernel_faults(hmm);
	*out = hmm;
	return 0;
}

int mrn_hmm_end_mm(struct mrn_hmm *hmm)
{
	int err = mrn_hmm_check_alive(hmm);

	if (err)
		return err;
	/* For what still announces, and for mrn_hmm_destroy. */
	mrn_mm_get(hmm->mm);
	err = mrn_mm_destroy(hmm->mm);
	if (err)
		mrn_mm_put(hmm->mm);
	return err;
}

/* Ends the mm, unless mrn_hmm_end_mm has, and drops the space's reference. */
static void drop_mm(struct mrn_hmm *hmm)
{
	if (mrn_hmm_is_alive(hmm))
		mrn_mm_destroy(hmm->mm);
	else
		mrn_mm_put(hmm->mm);
}

int mrn_hmm_destroy(struct mrn_hmm *hmm)
{
	int err = mrn_hmm_check(hmm), cancel;

	if (err == -ESTALE)
		forget(hmm);
	if (err)
		return err;
	/* What follows waits for threads, callbacks and devices. */
	cancel = mrn_cancel_hold();
	mrn_hmm_handlers_stop(hmm);
	mrn_hmm_workers_stop(&hmm->workers);
	/* A notifier may outlive the space: hmm_range_fault must not find it. */
	hmm->mm->announcer = NULL;
	drop_mm(hmm);
	tear_down(hmm);
	mrn_cancel_restore(cancel);
	return 0;
}

struct mrn_mm *mrn_hmm_mm(struct mrn_hmm *hmm)
{
	return hmm ? hmm->mm : NULL;
}

const char *mrn_hmm_why(const struct mrn_hmm *hmm)
{
	return hmm ? hmm->why : "";
}

/* ------------------------------------------------------------------------------------- frames, figures */

void *mrn_hmm_frame(struct mrn_hmm *hmm, uint64_t frame)
{
	return hmm && frame < hmm->frames.n ? mrn_hmm_frame_memory(&hmm->frames, frame) : NULL;
}

void mrn_hmm_set_dirty(struct mrn_hmm *hmm, uint64_t frame)
{
	if (hmm && frame < hmm->frames.n)
		mrn_hmm_frame_set_dirty(&hmm->frames, frame);
}

int mrn_hmm_get_stats(struct mrn_hmm *hmm, struct mrn_hmm_stats *stats, size_t size)
{
	struct mrn_hmm_stats now = {0};

	if (!hmm || !stats || !size)
		return -EINVAL;
	if (mrn_mm_is_wiped(hmm->mm))
		return -ESTALE;
#define GET(field) now.field = __atomic_load_n(&hmm->stats.field, __ATOMIC_RELAXED)
	GET(cpu_faults);
	GET(device_faults);
	GET(swapped_out);
	GET(swapped_in);
	GET(to_device);
	GET(to_ram);
	GET(unserved);
#undef GET
	mrn_mutex_lock(&hmm->frames.lock);
	now.frames_quarantined = hmm->frames.ring_count;
	now.frames_used = hmm->frames.used - hmm->frames.ring_count;
	now.violations = hmm->frames.violations;
	mrn_mutex_unlock(&hmm->frames.lock);
	return mrn_figures_give(stats, size, &now, sizeof(now));
}
