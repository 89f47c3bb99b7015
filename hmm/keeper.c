/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/keeper.h"

#include <fcntl.h>
#include <string.h>

#include "hmm/check.h"
#include "os/fd.h"
#include "os/futex.h"
#include "os/thread.h"

/* This thread has the keeper's table, which the program cannot change. */
static MRN_TLS bool in_own_table;

/* Whose turn it is. A caller asks, the keeper answers, the caller takes the answer. */
enum { FREE, ASKED, ANSWERED };

static void pass(struct mrn_hmm_keeper *k, uint32_t turn)
{
	/* Release: what the other thread reads has been written; pairs with wait_for's acquire. */
	__atomic_store_n(&k->turn, turn, __ATOMIC_RELEASE);
	mrn_futex_wake(&k->turn, INT_MAX);
}

static void wait_for(struct mrn_hmm_keeper *k, uint32_t turn)
{
	uint32_t now;

	while ((now = __atomic_load_n(&k->turn, __ATOMIC_ACQUIRE)) != turn)
		mrn_futex_wait(&k->turn, now, NULL);
}

/*
 * The number names our file whatever the program does: in the keeper's table, or because the program does not know it
 * yet.
 */
static bool is_certain(const struct mrn_hmm_keeper *k)
{
	return in_own_table || !k->tid || MRN_BROKEN(HMM_KEEPER);
}

/*
 * Calls that cannot harm another file: userfaultfd's ioctls, and fallocate for room, which changes neither size nor
 * contents.
 */
static bool is_harmless(long nr, long mode)
{
	return nr == SYS_ioctl || (nr == SYS_fallocate && mode == FALLOC_FL_KEEP_SIZE);
}

static long by_keeper(struct mrn_hmm_keeper *k, long nr, long a, long b, long c, long d, long e,
		      long f)
{
	const long arg[] = {a, b, c, d, e, f};
	long r;

	mrn_mutex_lock(&k->lock);
	k->nr = nr;
	memcpy(k->arg, arg, sizeof(arg));
	pass(k, ASKED);
	wait_for(k, ANSWERED);
	r = k->result;
	__atomic_store_n(&k->turn, FREE, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&k->lock);
	return r;
}

long mrn_hmm_keeper_call(struct mrn_hmm_keeper *k, int fd, long nr, long a, long b, long c, long d,
			 long e, long f)
{
	long r;

	if (is_certain(k)) {
		if (!in_own_table)
			MRN_HOOK(hmm_call, fd);
		return mrn_sys6(nr, a, b, c, d, e, f);
	}
	if (is_harmless(nr, b) && mrn_fd_is_marked(fd, k->tid)) {
		MRN_HOOK(hmm_call, fd);
		r = mrn_sys6(nr, a, b, c, d, e, f);
		/* An error may come from another file that has got this number since the check. */
		if (!mrn_sys_failed(r) || mrn_fd_is_marked(fd, k->tid))
			return r;
	}
	return by_keeper(k, nr, a, b, c, d, e, f);
}

void mrn_hmm_keeper_share_table(void)
{
	in_own_table = true;
}

void mrn_hmm_keeper_close(struct mrn_hmm_keeper *k, int fd)
{
	if (fd < 0)
		return;
	if (!k->tid) {
		mrn_sys1(SYS_close, fd);
		return;
	}
	mrn_fd_close_marked(fd, k->tid);
	by_keeper(k, SYS_close, fd, 0, 0, 0, 0, 0);
}

void mrn_hmm_keeper_forget(const struct mrn_hmm_keeper *k, int fd)
{
	mrn_fd_close_marked(fd, k->tid);
}

/* -------------------------------------------------------------------------------------------- its thread */

struct beginning {
	struct mrn_hmm_keeper *k;
	const int *fds;
	size_t n, ours;
	int (*begin)(void *arg);
	void *arg;
};

/* 0 or -errno. */
static int begin_in_table(const struct beginning *b)
{
	long tid = mrn_sys0(SYS_gettid);
	int err = mrn_fd_table_own(b->fds, b->n);

	for (size_t i = 0; i < b->ours && !err; i++)
		err = mrn_fd_mark(b->fds[i], tid);
	if (err)
		return err;
	in_own_table = true;
	/* The threads that begin creates read it; other threads only after our answer. */
	b->k->tid = tid;
	err = b->begin(b->arg);
	if (err)
		b->k->tid = 0;
	return err;
}

static void *run(void *arg)
{
	struct beginning *b = arg;
	struct mrn_hmm_keeper *k = b->k;

	mrn_own_thread_enter();
	k->result = begin_in_table(b);
	if (!k->result) {
		pass(k, ANSWERED);
		/* A call with number -1 ends the keeper. */
		for (wait_for(k, ASKED); k->nr >= 0; wait_for(k, ASKED)) {
			const long *a = k->arg;

			k->result = mrn_sys6(k->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
			pass(k, ANSWERED);
		}
	}
	mrn_own_thread_leave();
	pass(k, ANSWERED);
	return NULL;
}

int mrn_hmm_keeper_start(struct mrn_hmm_keeper *k, const int *fds, size_t n, size_t ours,
			 int (*begin)(void *arg), void *arg)
{
	struct beginning b = {k, fds, n, ours, begin, arg};
	mrn_sigmask mask = mrn_signals_block();
	int err = -pthread_create(&k->thread, NULL, run, &b);

	mrn_signals_restore(mask);
	if (err)
		return err;
	wait_for(k, ANSWERED);
	err = (int)k->result;
	__atomic_store_n(&k->turn, FREE, __ATOMIC_RELAXED);
	if (err)
		pthread_join(k->thread, NULL);
	return err;
}

void mrn_hmm_keeper_stop(struct mrn_hmm_keeper *k)
{
	if (!k->tid)
		return;
	k->nr = -1;
	pass(k, ASKED);
	pthread_join(k->thread, NULL);
	k->tid = 0;
}
