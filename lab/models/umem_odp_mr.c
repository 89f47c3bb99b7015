/* SPDX-License-Identifier: BSD-3-Clause */
/* umem_odp: the keys of registered memory, the children of the implicit region, and the NIC. */
#include <errno.h>
#include <sched.h>

#include "lab/models/umem_odp.h"

#define OPS_PER_REG 64 /* one in this many operations registers or deregisters */

/* ----------------------------------------------------------------------------------------------- keys */

static size_t key_of(const struct nic *nic, size_t i)
{
	return i < nic->half ? 0 : 1 + (i - nic->half) / CHILD_PAGES;
}

/*
 * Tells the NIC what the key is now, and waits until it uses nothing else. Whoever takes a range out of mr calls this
 * before freeing the range: so one that another thread enters here in between is gone again.
 */
static void update_key(struct nic *nic, size_t key)
{
	struct umem_odp *odp;

	lab_spin_lock(&nic->keys_mutex);
	lab_spin_lock(&nic->mkeys_lock);
	odp = nic->mr[key];
	lab_unlock(&nic->mkeys_lock);
	if (odp)
		lab_mmu_map(&nic->keys, key, (uintptr_t)odp, true);
	else
		lab_mmu_clear(&nic->keys, key, 1);
	lab_mmu_flush(&nic->keys, key, 1);
	lab_unlock(&nic->keys_mutex);
}

/* The key's range, with a reference. NULL if there is none. */
static struct umem_odp *get(struct nic *nic, size_t key)
{
	struct umem_odp *odp;

	lab_spin_lock(&nic->mkeys_lock);
	odp = nic->mr[key];
	if (odp)
		__atomic_fetch_add(&odp->usecount, 1, __ATOMIC_RELAXED);
	lab_unlock(&nic->mkeys_lock);
	return odp;
}

static void put(struct umem_odp *odp)
{
	/* Release: dereg acquires. */
	__atomic_fetch_sub(&odp->usecount, 1, __ATOMIC_RELEASE);
}

/* Makes a range for the key, unless it has one. */
static void reg(struct nic *nic, size_t key, struct lab_thread *t)
{
	struct umem_odp *odp = umem_odp_alloc(nic, key);
	bool lost;

	if (!odp)
		return;
	lab_pause(t);
	lab_spin_lock(&nic->mkeys_lock);
	lost = nic->mr[key];
	if (!lost)
		nic->mr[key] = odp;
	lab_unlock(&nic->mkeys_lock);
	if (lost)
		umem_odp_release(odp, t);
}

/* For a range that is no longer in mr. */
static void dereg(struct umem_odp *odp, struct lab_thread *t)
{
	update_key(odp->nic, odp->key);
	while (__atomic_load_n(&odp->usecount, __ATOMIC_ACQUIRE))
		sched_yield();
	umem_odp_release(odp, t);
}

static struct umem_odp *take(struct nic *nic, size_t key)
{
	struct umem_odp *odp;

	lab_spin_lock(&nic->mkeys_lock);
	odp = nic->mr[key];
	nic->mr[key] = NULL;
	lab_unlock(&nic->mkeys_lock);
	return odp;
}

/* ------------------------------------------------------------------------------------------- children */

void mlx5_destroy_unused_child(struct umem_odp *odp)
{
	struct nic *nic = odp->nic;

	lab_spin_lock(&nic->mkeys_lock);
	/* A child that is not in mr is queued already, or lost to another in reg. */
	if (nic->mr[odp->key] == odp || lab_is_broken(nic->lab, QUEUE_TWICE)) {
		LAB_ASSERT(nic->lab, !odp->queued, "a child is queued twice");
		if (nic->mr[odp->key] == odp) {
			nic->mr[odp->key] = NULL;
			odp->queued = !lab_is_broken(nic->lab, NO_QUEUE);
			if (odp->queued) {
				odp->next = nic->dead;
				nic->dead = odp;
			}
		}
	}
	lab_unlock(&nic->mkeys_lock);
}

static void free_dead(struct nic *nic, struct lab_thread *t)
{
	struct umem_odp *dead, *next;

	lab_spin_lock(&nic->mkeys_lock);
	dead = nic->dead;
	nic->dead = NULL;
	lab_unlock(&nic->mkeys_lock);
	for (; dead; dead = next) {
		next = dead->next;
		lab_linger(t);
		dereg(dead, t);
	}
}

static void worker(void *arg, struct lab_thread *t)
{
	struct nic *nic = arg;

	while (!lab_thread_stopping(t)) {
		free_dead(nic, t);
		sched_yield();
	}
	free_dead(nic, t);
}

/* ---------------------------------------------------------------------------------------- the NIC's side */

/* True if the access was made; the key's entry is in flight. */
static bool access_mr(struct umem_odp *odp, size_t i, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&odp->xlt, i - odp->first, write);

	if (frame == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(odp->nic->lab), frame), i, write);
	lab_mmu_end(&odp->xlt, i - odp->first);
	return true;
}

/* One access by the NIC. False when the translation is missing. */
static bool access_page(struct nic *nic, size_t i, bool write, struct lab_thread *t)
{
	uint64_t odp = lab_mmu_begin(&nic->keys, key_of(nic, i), write);
	bool done;

	if (odp == LAB_NO_FRAME)
		return false;
	done = access_mr((struct umem_odp *)(uintptr_t)odp, i, write, t);
	lab_mmu_end(&nic->keys, key_of(nic, i));
	return done;
}

/* Requests of remote peers, for mapped pages. */
static void engine(void *arg, struct lab_thread *t)
{
	struct nic *nic = arg;

	while (!lab_thread_stopping(t)) {
		access_page(nic, lab_below(t, lab_pages(nic->lab)), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

/* The explicit region is registered, or deregistered. */
static void reg_or_dereg(struct nic *nic, struct lab_thread *t)
{
	struct umem_odp *odp = take(nic, 0);

	if (odp) {
		dereg(odp, t);
	} else {
		reg(nic, 0, t);
		update_key(nic, 0);
	}
}

static void page_fault(struct nic *nic, size_t i, size_t n, bool write, struct lab_thread *t)
{
	size_t key = key_of(nic, i);
	struct umem_odp *odp = get(nic, key);

	if (!odp && key) {
		reg(nic, key, t);
		odp = get(nic, key);
	}
	if (!odp)
		return;
	n = n < odp->first + odp->n - i ? n : odp->first + odp->n - i;
	lab_count_faults(t, n);
	umem_odp_fault(odp, i, n, write, t);
	put(odp);
	if (key)
		update_key(nic, key);
}

/* A request that faults if it has to. */
void mlx5_work(void *dev, struct lab_thread *t)
{
	struct nic *nic = dev;
	size_t i = lab_below(t, lab_pages(nic->lab)), n = 1 + lab_below(t, MAX_FAULT);
	bool write = lab_chance(t, 2);

	if (lab_chance(t, OPS_PER_REG)) {
		reg_or_dereg(nic, t);
		return;
	}
	if (access_page(nic, i, write, t)) {
		lab_count_retries(t, 0);
		return;
	}
	page_fault(nic, i, n, write, t);
	access_page(nic, i, write, t);
}

/* ------------------------------------------------------------------------------------------ open, close */

void mlx5_close(void *dev)
{
	struct nic *nic = dev;
	struct umem_odp *odp;

	if (nic->engine)
		lab_thread_join(nic->engine);
	if (nic->worker)
		lab_thread_join(nic->worker);
	for (size_t key = 0; nic->worker && key < nic->nr_keys; key++) {
		odp = take(nic, key);
		if (odp)
			dereg(odp, nic->worker);
	}
	lab_mmu_destroy(&nic->keys);
	pthread_mutex_destroy(&nic->keys_mutex);
	pthread_mutex_destroy(&nic->mkeys_lock);
	lab_free(nic->mr);
}

int mlx5_open(struct lab *lab, void *dev)
{
	struct nic *nic = dev;

	nic->lab = lab;
	nic->half = lab_pages(lab) / 2;
	nic->nr_keys = 1 + nic->half / CHILD_PAGES;
	pthread_mutex_init(&nic->keys_mutex, NULL);
	pthread_mutex_init(&nic->mkeys_lock, NULL);
	nic->mr = lab_alloc(nic->nr_keys * sizeof(struct umem_odp *));
	if (nic->mr && !lab_mmu_init(&nic->keys, nic->nr_keys)) {
		nic->worker = lab_thread_start(lab, worker, nic);
		nic->engine = lab_thread_start(lab, engine, nic);
	}
	return nic->worker && nic->engine ? 0 : -ENOMEM;
}
