/* SPDX-License-Identifier: BSD-3-Clause */
/* hfi1: send DMA (user_sdma), and its cache of pinned pages (mmu_rb). hfi1.c describes it. */
#include <errno.h>
#include <sched.h>

#include "lab/parts/engine.h"
#include "lab/models/hfi1.h"

#define MAX_IOVEC   4 /* pages of a request */
#define NR_REQUESTS 8
#define MAX_NODES   16 /* linked */
#define MAX_LOCKED  96 /* pages pinned; beyond, dead nodes are unpinned first */

struct sdma_mmu_node {
	struct sdma_mmu_node *next;
	size_t first, n;
	uint64_t pages[MAX_IOVEC];
	/* Under the handler's lock. Being linked counts as one reference. */
	unsigned int refs;
	bool linked, unpinned;
};

struct mmu_rb_handler {
	struct mmu_notifier mn;
	pthread_mutex_t lock; /* a spinlock in the kernel */
	struct sdma_mmu_node *root, *del_list;
	unsigned int nr;
	pthread_cond_t queued;
	struct lab_thread *del_work;
};

struct user_sdma_request {
	struct lab_job job;
	struct hfi1_pkt_q *pq;
	struct sdma_mmu_node *node;
	size_t first, n;
	bool in_use;
};

struct hfi1_pkt_q {
	struct mmu_rb_handler handler; /* first: its mn is the queue, too */
	struct lab *lab;
	struct lab_engine *engine;
	unsigned int n_locked;
	unsigned int *users; /* by page: requests that send it; under the handler's lock */
	struct user_sdma_request req[NR_REQUESTS];
};

/* ------------------------------------------------------------------------------------- send DMA: mmu_rb */

static void unpin_node(struct hfi1_pkt_q *pq, struct sdma_mmu_node *node)
{
	if (node->unpinned)
		return;
	__atomic_store_n(&node->unpinned, true, __ATOMIC_RELAXED);
	lab_unpin(pq->lab, node->first, node->pages, node->n, false);
	__atomic_fetch_sub(&pq->n_locked, (unsigned int)node->n, __ATOMIC_RELAXED);
}

/* Under the handler's lock, as are the three below. */
static void put_node(struct mmu_rb_handler *h, struct sdma_mmu_node *node)
{
	if (--node->refs)
		return;
	node->next = h->del_list;
	h->del_list = node;
	pthread_cond_signal(&h->queued);
}

static void mmu_rb_remove(struct mmu_rb_handler *h, struct sdma_mmu_node **at)
{
	struct sdma_mmu_node *node = *at;

	*at = node->next;
	node->linked = false;
	h->nr--;
	put_node(h, node);
}

/* A request for pages [first, first + n) begins, or ends. */
static void count_user(struct hfi1_pkt_q *pq, size_t first, size_t n, int change)
{
	for (size_t i = first; i < first + n; i++)
		pq->users[i] += (unsigned int)change;
}

static struct sdma_mmu_node *mmu_rb_get(struct mmu_rb_handler *h, size_t first, size_t n)
{
	for (struct sdma_mmu_node *node = h->root; node; node = node->next) {
		if (first < node->first || first + n > node->first + node->n)
			continue;
		node->refs++;
		return node;
	}
	return NULL;
}

static void mmu_rb_insert(struct mmu_rb_handler *h, struct sdma_mmu_node *node)
{
	struct sdma_mmu_node **oldest = NULL;

	/* The newest are in front. Do not evict a node in use. */
	for (struct sdma_mmu_node **at = &h->root; *at; at = &(*at)->next)
		if ((*at)->refs == 1)
			oldest = at;
	if (h->nr >= MAX_NODES && oldest)
		mmu_rb_remove(h, oldest);
	node->refs = 2; /* linked, and the caller's */
	node->linked = true;
	node->next = h->root;
	h->root = node;
	h->nr++;
}

/* True if a request sends a page of [first, end). Under the handler's lock. */
static bool is_used(struct hfi1_pkt_q *pq, size_t first, size_t end)
{
	bool used = false;

	for (size_t i = first; i < end; i++)
		used |= pq->users[i];
	return used;
}

/* The nodes are unlinked, so no request begins meanwhile: it would need a node. */
static void wait_for_requests(struct hfi1_pkt_q *pq, size_t first, size_t end)
{
	while (!lab_is_broken(pq->lab, DRAIN_LATE)) {
		bool used;

		lab_spin_lock(&pq->handler.lock);
		used = is_used(pq, first, end);
		lab_unlock(&pq->handler.lock);
		if (!used)
			return;
		lab_might_sleep("waits for requests");
		sched_yield();
	}
}

static int mmu_rb_invalidate_range_start(struct mmu_notifier *mn,
					 const struct mmu_notifier_range *range)
{
	struct hfi1_pkt_q *pq = (struct hfi1_pkt_q *)mn;
	struct mmu_rb_handler *h = &pq->handler;
	size_t first = lab_page(pq->lab, range->start), end = lab_page(pq->lab, range->end);
	unsigned int was;

	if (lab_ignores(pq->lab, range))
		return 0;
	lab_spin_lock(&h->lock);
	if (!mmu_notifier_range_blockable(range) && is_used(pq, first, end) &&
	    !lab_is_broken(pq->lab, NO_REFUSAL)) {
		lab_unlock(&h->lock);
		lab_count_refusal(pq->lab);
		return -EAGAIN;
	}
	lab_cut(pq->lab, &first, &end);
	was = h->nr;
	for (struct sdma_mmu_node **at = &h->root, *node; (node = *at);) {
		if (node->first >= end || node->first + node->n <= first ||
		    (node->refs > 1 && lab_is_broken(pq->lab, SKIP_BUSY))) {
			at = &node->next;
			continue;
		}
		if (lab_is_broken(pq->lab, UNPIN_BUSY))
			unpin_node(pq, node);
		mmu_rb_remove(h, at);
	}
	if (h->nr != was)
		lab_count_invalidation(pq->lab, range);
	lab_unlock(&h->lock);
	wait_for_requests(pq, first, end);
	return 0;
}

static const struct mmu_notifier_ops mn_ops = {
	.invalidate_range_start = mmu_rb_invalidate_range_start,
};

/* Called with the handler's lock held; drops it while it unpins. */
static void handle_remove(struct hfi1_pkt_q *pq)
{
	struct mmu_rb_handler *h = &pq->handler;
	struct sdma_mmu_node *node = h->del_list, *next;

	h->del_list = NULL;
	lab_unlock(&h->lock);
	for (; node; node = next) {
		next = node->next;
		LAB_ASSERT(pq->lab, !node->refs && !node->linked, "%u references", node->refs);
		unpin_node(pq, node);
		lab_free(node);
	}
	lab_spin_lock(&h->lock);
}

static void del_work(void *arg, struct lab_thread *t)
{
	struct hfi1_pkt_q *pq = arg;
	struct mmu_rb_handler *h = &pq->handler;

	lab_spin_lock(&h->lock);
	while (!lab_thread_stopping(t)) {
		handle_remove(pq);
		if (!h->del_list && !lab_thread_stopping(t))
			pthread_cond_wait(&h->queued, &h->lock);
	}
	lab_unlock(&h->lock);
}

/* ----------------------------------------------------------------------------------- send DMA: requests */

static void send_page(struct hfi1_pkt_q *pq, struct sdma_mmu_node *node, size_t i, uint64_t frame,
		      struct lab_thread *t)
{
	lab_pause(t);
	LAB_ASSERT(pq->lab, !__atomic_load_n(&node->unpinned, __ATOMIC_RELAXED),
		   "a page is sent that is not pinned");
	lab_dma_read(t, mrn_hmm_frame(lab_hmm(pq->lab), frame), i);
}

static void run_request(struct lab_job *job, struct lab_thread *t)
{
	struct user_sdma_request *req = (struct user_sdma_request *)job;
	struct sdma_mmu_node *node = req->node;
	size_t base = lab_is_broken(req->pq->lab, WRONG_BASE) ? req->first : node->first;

	for (size_t i = req->first; i < req->first + req->n; i++)
		send_page(req->pq, node, i, node->pages[i - base], t);
	lab_spin_lock(&req->pq->handler.lock);
	count_user(req->pq, req->first, req->n, -1);
	put_node(&req->pq->handler, node);
	lab_unlock(&req->pq->handler.lock);
	__atomic_store_n(&req->in_use, false, __ATOMIC_RELEASE);
}

/* Pins the pages, and links them. 0 or an error of pinning. */
static int pin_covered(struct hfi1_pkt_q *pq, struct sdma_mmu_node *node, struct hfi1_cover *cover,
		       struct lab_thread *t)
{
	struct mmu_rb_handler *h = &pq->handler;
	unsigned int retries = 0;
	long pinned;

	for (;; retries++) {
		pinned = hfi1_cover_pin(cover, node->first, node->n, false, node->pages, t);
		if (pinned < 0)
			break;
		lab_pause(t);
		lab_spin_lock(&h->lock);
		if (!hfi1_cover_collided(cover))
			break;
		lab_unlock(&h->lock);
		if (!lab_is_broken(pq->lab, NO_UNPIN))
			lab_unpin(pq->lab, node->first, node->pages, node->n, false);
	}
	lab_count_retries(t, retries);
	if (pinned < 0)
		return (int)pinned;
	if (lab_is_broken(pq->lab, UNLOCK_EARLY)) {
		lab_unlock(&h->lock);
		for (size_t i = 0; i < node->n; i++)
			lab_pause(t);
		lab_spin_lock(&h->lock);
	}
	mmu_rb_insert(h, node);
	count_user(pq, node->first, node->n, 1);
	__atomic_fetch_add(&pq->n_locked, (unsigned int)node->n, __ATOMIC_RELAXED);
	lab_unlock(&h->lock);
	return 0;
}

/* A node for the pages, with a reference; or NULL. */
static struct sdma_mmu_node *pin_vector_pages(struct hfi1_pkt_q *pq, size_t first, size_t n,
					      struct lab_thread *t)
{
	/*
	 * The cover's callback comes before the handler's. So a node that is linked before the one
	 * is unlinked by the other, and one that is not yet linked collides.
	 */
	struct hfi1_cover cover = {.lock = &pq->handler.lock};
	struct sdma_mmu_node *node;
	int err;

	lab_spin_lock(&pq->handler.lock);
	node = mmu_rb_get(&pq->handler, first, n);
	if (node)
		count_user(pq, first, n, 1);
	/* The worker may be far behind. */
	if (!node && __atomic_load_n(&pq->n_locked, __ATOMIC_RELAXED) > MAX_LOCKED)
		handle_remove(pq);
	lab_unlock(&pq->handler.lock);
	if (node) {
		lab_count_retries(t, 0);
		return node;
	}
	node = lab_alloc(sizeof(*node));
	if (!node)
		return NULL;
	node->first = first;
	node->n = n;
	err = hfi1_cover_insert(&cover, pq->lab, first, n);
	if (!err) {
		err = pin_covered(pq, node, &cover, t);
		mmu_range_notifier_remove(&cover.mrn);
	}
	if (!err)
		return node;
	lab_free(node);
	return NULL;
}

/* The user's library names a completed slot, and waits if there is none. */
static struct user_sdma_request *get_slot(struct hfi1_pkt_q *pq)
{
	for (size_t i = 0;; i++) {
		struct user_sdma_request *req = &pq->req[i % NR_REQUESTS];

		if (!__atomic_exchange_n(&req->in_use, true, __ATOMIC_ACQUIRE))
			return req;
		if (i % NR_REQUESTS == NR_REQUESTS - 1)
			sched_yield();
	}
}

void hfi1_sdma_work(struct hfi1_pkt_q *pq, struct lab_thread *t)
{
	struct user_sdma_request *req = get_slot(pq);
	size_t n = 1 + lab_below(t, MAX_IOVEC);
	/* Users send from the same buffers repeatedly. */
	size_t first = lab_below(t, lab_pages(pq->lab) / MAX_IOVEC) * MAX_IOVEC +
		       lab_below(t, MAX_IOVEC - n + 1);

	req->job.run = run_request;
	req->pq = pq;
	req->first = first;
	req->n = n;
	req->node = pin_vector_pages(pq, first, n, t);
	if (req->node)
		lab_engine_submit(pq->engine, &req->job);
	else
		__atomic_store_n(&req->in_use, false, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------------------------ init, free */

void hfi1_sdma_free(struct hfi1_pkt_q *pq)
{
	struct mmu_rb_handler *h;

	if (!pq)
		return;
	h = &pq->handler;
	if (pq->engine)
		lab_engine_destroy(pq->engine);
	mmu_notifier_unregister(&h->mn, lab_mm(pq->lab));
	lab_spin_lock(&h->lock);
	while (h->root)
		mmu_rb_remove(h, &h->root);
	if (h->del_work)
		lab_thread_stop(h->del_work);
	pthread_cond_signal(&h->queued);
	lab_unlock(&h->lock);
	if (h->del_work)
		lab_thread_join(h->del_work);
	lab_spin_lock(&h->lock);
	handle_remove(pq);
	lab_unlock(&h->lock);
	LAB_ASSERT(pq->lab, !h->nr && !pq->n_locked, "%u nodes, %u pages left", h->nr,
		   pq->n_locked);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->queued);
	lab_free(pq->users);
	lab_free(pq);
}

struct hfi1_pkt_q *hfi1_sdma_init(struct lab *lab)
{
	struct hfi1_pkt_q *pq = lab_alloc(sizeof(*pq));

	if (!pq)
		return NULL;
	pq->lab = lab;
	pthread_mutex_init(&pq->handler.lock, NULL);
	pthread_cond_init(&pq->handler.queued, NULL);
	pq->handler.mn.ops = &mn_ops;
	pq->users = lab_alloc(lab_pages(lab) * sizeof(*pq->users));
	if (pq->users && !mmu_notifier_register(&pq->handler.mn, lab_mm(lab)) &&
	    !lab_engine_create(lab, 1, &pq->engine))
		pq->handler.del_work = lab_thread_start(lab, del_work, pq);
	if (pq->handler.del_work)
		return pq;
	hfi1_sdma_free(pq);
	return NULL;
}
