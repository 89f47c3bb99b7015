/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys that peers have. A share holds its registration, and has a range notifier of its own over the same memory: the
 * cache's tells nobody that an entry in use has died.
 *
 * The callback marks the share and rings; next_expired, in a thread of the program's, finds what is marked. Neither calls
 * libfabric, so the key is closed by the put in unshare, when the owner knows that the peer has stopped, or no longer cares.
 *
 * No change is missed. The notifier is inserted and armed before the registration is taken, and its mark is cleared
 * before that. An invalidation that began earlier is waited for by the read and by the cache's get. One that begins
 * later marks the share, and whether it came before or after the registration does not matter: the share is made anew,
 * or expires.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "adapters/fabric/check.h"
#include "adapters/fabric/domain.h"
#include "os/atomic.h"

/* After so many collisions in a row, share returns -EAGAIN. */
#define MAX_TRIES 1000

struct share {
	struct mrn_fabric_share pub;
	struct mmu_range_notifier mrn;
	struct mrn_fabric *f;
	struct mrn_fabric_mr *mr;
	struct share *next, **link; /* link: what points to it; both under shares.lock */
	uint32_t changed;	    /* the callback's mark */
	bool told;		    /* next_expired has returned it; under shares.lock */
};

int mrn_fabric_shares_init(struct shares *shares)
{
	shares->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (shares->fd < 0)
		return -errno;
	pthread_mutex_init(&shares->lock, NULL);
	return 0;
}

void mrn_fabric_shares_destroy(struct shares *shares)
{
	close(shares->fd);
	pthread_mutex_destroy(&shares->lock);
}

/* --------------------------------------------------------------------------------- the event path */

/*
 * Mark, write, bell; next_expired goes the other way round: bell, read, marks. So it finds the mark of whoever's write it
 * has read; and whoever's write it leaves behind sets the bell afterwards, so that the descriptor is not readable for ever.
 */
static void ring(struct shares *shares)
{
	uint64_t one = 1;

	mrn_source_bypass(SYS_write, shares->fd, (long)&one, sizeof(one), 0, 0, 0);
	__atomic_store_n(&shares->bell, 1, __ATOMIC_RELEASE);
}

static bool invalidate(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct share *s = container_of(notifier, struct share, mrn);

	if (range->cause == MRN_CAUSE_FORK && s->f->ignores_fork && !MRN_BROKEN(FABRIC_MR_FORK))
		return true;
	mmu_range_notifier_update_seq(notifier, cur_seq);
	if (MRN_BROKEN(FABRIC_MR_TELL))
		return true;
	if (!__atomic_exchange_n(&s->changed, 1, __ATOMIC_ACQ_REL))
		ring(&s->f->shares);
	return true;
}

static const struct mmu_range_notifier_ops notifier_ops = {.invalidate = invalidate};

/* ------------------------------------------------------------------------------ share and unshare */

/* Takes a registration that was made of the memory as it is since the notifier's last mark was cleared. */
static int take(struct share *s, unsigned int access)
{
	uint64_t seq;
	int r;

	for (int tries = 0; tries < MAX_TRIES; tries++) {
		__atomic_store_n(&s->changed, 0, __ATOMIC_RELAXED);
		/* Before the read: a callback whose token the read does not meet finds the mark cleared, and sets it. */
		mrn_fence_full();
		r = mrn_range_read_begin_until(&s->mrn, NULL, &seq);
		if (r == MRN_USE_ONCE)
			return -EOPNOTSUPP;
		if (!r)
			r = mrn_fabric_mr_get(s->f, s->pub.addr, s->pub.length, access, &s->mr);
		if (r == -EAGAIN) {
			sched_yield();
			continue;
		}
		if (r)
			return r;
		MRN_HOOK(fabric_sharing);
		if (MRN_BROKEN(FABRIC_MR_LATE))
			__atomic_store_n(&s->changed, 0, __ATOMIC_RELEASE);
		if (!__atomic_load_n(&s->changed, __ATOMIC_ACQUIRE))
			return 0;
		mrn_fabric_mr_put(s->mr);
	}
	return -EAGAIN;
}

static void link_share(struct shares *shares, struct share *s)
{
	pthread_mutex_lock(&shares->lock);
	s->next = shares->first;
	s->link = &shares->first;
	if (s->next)
		s->next->link = &s->next;
	shares->first = s;
	pthread_mutex_unlock(&shares->lock);
	/* The bell of a change in between may have found nothing. */
	if (__atomic_load_n(&s->changed, __ATOMIC_ACQUIRE))
		ring(shares);
}

static void unlink_share(struct shares *shares, struct share *s)
{
	pthread_mutex_lock(&shares->lock);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	pthread_mutex_unlock(&shares->lock);
}

int mrn_fabric_mr_share(struct mrn_fabric *f, const void *addr, size_t length, unsigned int access,
			void *ctx, struct mrn_fabric_share **out)
{
	struct share *s;
	int r;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (!f || !length)
		return -EINVAL;
	if (!f->access)
		return -EACCES;
	r = mrn_adapter_may_make(f->source, NULL, 0);
	if (r)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->pub.addr = addr;
	s->pub.length = length;
	s->pub.ctx = ctx;
	s->f = f;
	s->mrn.ops = &notifier_ops;
	r = mrn_range_notifier_insert(&s->mrn, (uintptr_t)addr, length, f->source, f->need);
	if (r)
		goto free_s;
	r = take(s, access);
	if (r)
		goto remove;
	s->pub.key = mrn_fabric_mr_key(s->mr);
	s->pub.remote_addr = mrn_fabric_remote_addr(f, s->mr, addr);
	link_share(&f->shares, s);
	*out = &s->pub;
	return 0;

remove:
	mmu_range_notifier_remove(&s->mrn);
free_s:
	free(s);
	return r;
}

int mrn_fabric_mr_unshare(struct mrn_fabric_share *share)
{
	struct share *s;
	int r;

	if (!share)
		return -EINVAL;
	s = container_of(share, struct share, pub);
	/* First: where it may not be called, nothing changes. */
	r = mmu_range_notifier_remove(&s->mrn);
	if (r)
		return r;
	unlink_share(&s->f->shares, s);
	r = mrn_fabric_mr_put(s->mr);
	free(s);
	return r;
}

/* --------------------------------------------------------------------------------- what has expired */

struct mrn_fabric_share *mrn_fabric_mr_next_expired(struct mrn_fabric *f)
{
	struct shares *shares = &f->shares;
	struct share *s;
	uint64_t n;

	/* A forked child has a copy of the bell, but would take its parent's count. */
	if (!__atomic_load_n(&shares->bell, __ATOMIC_RELAXED) ||
	    mrn_adapter_is_parents(&f->adapter))
		return NULL;
	pthread_mutex_lock(&shares->lock);
	__atomic_exchange_n(&shares->bell, 0, __ATOMIC_ACQ_REL);
	/* Not by read, which is a place to be cancelled at. Nothing may be there: -EAGAIN. */
	mrn_source_bypass(SYS_read, shares->fd, (long)&n, sizeof(n), 0, 0, 0);
	for (s = shares->first; s; s = s->next)
		if (!s->told && __atomic_load_n(&s->changed, __ATOMIC_ACQUIRE))
			break;
	if (s)
		s->told = true;
	pthread_mutex_unlock(&shares->lock);
	/* There may be more. */
	if (s)
		ring(shares);
	return s ? &s->pub : NULL;
}

int mrn_fabric_expired_fd(const struct mrn_fabric *f)
{
	return f ? f->shares.fd : -EINVAL;
}
