/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handlers: threads that read a space's events, its page faults and other code's unmappings. They wait for nothing
 * else: no callback, device or file ever delays a free handler.
 */
#include <poll.h>
#include <unistd.h>

#include "hmm/check.h"
#include "hmm/events.h"
#include "hmm/space.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "os/uffd.h"

static bool next_event(struct mrn_hmm *hmm, struct uffd_msg *msg)
{
	bool alone = !MRN_BROKEN(HMM_OURS), got;
	mrn_sigmask mask = 0;

	if (alone)
		mask = mrn_write_lock(&hmm->ours);
	got = mrn_sys3(SYS_read, hmm->uffd, (long)msg, sizeof(*msg)) == sizeof(*msg);
	if (got && msg->event == UFFD_EVENT_UNMAP)
		mrn_hmm_mark_lost(hmm, (uintptr_t)msg->arg.remove.start,
				  (uintptr_t)msg->arg.remove.end);
	if (alone)
		mrn_write_unlock(&hmm->ours, mask);
	return got;
}

static void handle(struct mrn_hmm *hmm, const struct uffd_msg *msg)
{
	struct mrn_hmm_fault f = {
		.addr = (uintptr_t)msg->arg.pagefault.address,
		.tid = (pid_t)msg->arg.pagefault.feat.ptid,
		.write = msg->arg.pagefault.flags &
			 (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
	};

	if (msg->event == UFFD_EVENT_UNMAP) {
		mrn_hmm_workers_kick(&hmm->workers);
		return;
	}
	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	MRN_HOOK(hmm_fault, f.addr);
	mrn_hmm_serve(hmm, &f);
}

static void *run(void *arg)
{
	struct mrn_hmm *hmm = arg;
	struct pollfd fds[2] = {{.fd = hmm->uffd, .events = POLLIN},
				{.fd = hmm->end, .events = POLLIN}};
	struct uffd_msg msg;

	mrn_own_thread_enter();
	mrn_hmm_keeper_share_table();
	while (!(fds[1].revents & POLLIN)) {
		mrn_sys4(SYS_ppoll, (long)fds, 2, 0, 0);
		mrn_own_thread_join();
		while (next_event(hmm, &msg))
			handle(hmm, &msg);
	}
	mrn_own_thread_leave();
	return NULL;
}

int mrn_hmm_handlers_start(void *arg)
{
	struct mrn_hmm *hmm = arg;
	mrn_sigmask mask;
	int err = 0;

	/* No signal handler of the program runs in these threads: it might touch managed memory. */
	mask = mrn_signals_block();
	for (; hmm->nr_handlers < hmm->most_handlers && !err; hmm->nr_handlers += !err)
		err = -pthread_create(&hmm->handler[hmm->nr_handlers], NULL, run, hmm);
	mrn_signals_restore(mask);
	if (err)
		mrn_hmm_handlers_stop(hmm);
	return err;
}

void mrn_hmm_handlers_stop(struct mrn_hmm *hmm)
{
	uint64_t one = 1;

	/* Never read, so that all handlers find it. */
	if (hmm->nr_handlers)
		mrn_hmm_keeper_call(&hmm->keeper, hmm->end, SYS_write, hmm->end, (long)&one,
				    sizeof(one), 0, 0, 0);
	for (; hmm->nr_handlers; hmm->nr_handlers--)
		pthread_join(hmm->handler[hmm->nr_handlers - 1], NULL);
}
