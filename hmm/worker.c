/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "hmm/check.h"
#include "os/futex.h"
#include "os/pages.h"
#include "os/thread.h"

/* How many workers stay when there is nothing to do. */
#define MOST_IDLE 4

struct mrn_hmm_worker {
	struct mrn_hmm_workers *workers;
	struct mrn_hmm_worker *next;
	pthread_t thread;
	bool made, done; /* thread can be joined; it has nothing left to do */
};

/* ---------------------------------------------------------------------------------------------- queue */

static size_t bytes_of(size_t jobs)
{
	return jobs * sizeof(struct mrn_hmm_fault);
}

/* Under the lock. */
static bool make_room(struct mrn_hmm_workers *w)
{
	size_t room = w->room ? w->room * 2 : mrn_page_size() / sizeof(*w->job);
	struct mrn_hmm_fault *more;

	if (w->n < w->room)
		return true;
	more = mrn_pages_alloc(bytes_of(room));
	if (!more)
		return false;
	for (size_t k = 0; k < w->n; k++)
		more[k] = w->job[(w->first + k) % w->room];
	mrn_pages_free(w->job, bytes_of(w->room));
	w->job = more;
	w->first = 0;
	w->room = room;
	return true;
}

static void call(struct mrn_hmm_workers *w)
{
	__atomic_fetch_add(&w->called, 1, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&w->lock);
	mrn_futex_wake(&w->called, 1);
}

bool mrn_hmm_workers_call(struct mrn_hmm_workers *w, const struct mrn_hmm_fault *f)
{
	mrn_mutex_lock(&w->lock);
	if (!make_room(w)) {
		mrn_mutex_unlock(&w->lock);
		return false;
	}
	w->job[(w->first + w->n++) % w->room] = *f;
	call(w);
	return true;
}

void mrn_hmm_workers_kick(struct mrn_hmm_workers *w)
{
	mrn_mutex_lock(&w->lock);
	w->lose = true;
	call(w);
}

/* Under the lock: a job, or that pages have been lost. */
static bool take(struct mrn_hmm_workers *w, struct mrn_hmm_fault *f, bool *lose)
{
	*lose = w->lose;
	if (w->lose) {
		w->lose = false;
		return true;
	}
	if (!w->n)
		return false;
	*f = w->job[w->first];
	w->first = (w->first + 1) % w->room;
	w->n--;
	return true;
}

/* -------------------------------------------------------------------------------------------- threads */

static void *run(void *arg);

/* Removes finished workers from the list; with all, every worker whose thread was created. */
static struct mrn_hmm_worker *take_out(struct mrn_hmm_workers *w, bool all)
{
	struct mrn_hmm_worker **at = &w->list, *out = NULL;

	mrn_mutex_lock(&w->lock);
	while (*at) {
		struct mrn_hmm_worker *one = *at;

		if (!one->made || (!all && !one->done)) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		one->next = out;
		out = one;
	}
	mrn_mutex_unlock(&w->lock);
	return out;
}

static void join(struct mrn_hmm_worker *list)
{
	struct mrn_hmm_worker *next;

	for (; list; list = next) {
		next = list->next;
		pthread_join(list->thread, NULL);
		free(list);
	}
}

static void take_back(struct mrn_hmm_workers *w, struct mrn_hmm_worker *one)
{
	struct mrn_hmm_worker **at = &w->list;

	mrn_mutex_lock(&w->lock);
	while (*at != one)
		at = &(*at)->next;
	*at = one->next;
	w->idle--;
	mrn_mutex_unlock(&w->lock);
	free(one);
}

static int add(struct mrn_hmm_workers *w)
{
	struct mrn_hmm_worker *one = calloc(1, sizeof(*one));
	mrn_sigmask mask;
	int err;

	if (!one)
		return -ENOMEM;
	one->workers = w;
	join(take_out(w, false));
	/* Counted before it runs: a worker that takes a job meanwhile need not create another. */
	mrn_mutex_lock(&w->lock);
	one->next = w->list;
	w->list = one;
	w->idle++;
	mrn_mutex_unlock(&w->lock);
	/* No signal handler of the program runs in these threads: it might touch managed memory. */
	mask = mrn_signals_block();
	/* Not under the lock: creating a thread maps its stack, which may call consumers. */
	err = -pthread_create(&one->thread, NULL, run, one);
	mrn_signals_restore(mask);
	if (err) {
		take_back(w, one);
		return err;
	}
	mrn_mutex_lock(&w->lock);
	one->made = true;
	mrn_mutex_unlock(&w->lock);
	return 0;
}

/* The lock is held before and after. False: that was its last job. */
static bool work(struct mrn_hmm_worker *me, const struct mrn_hmm_fault *f)
{
	struct mrn_hmm_workers *w = me->workers;
	bool last = --w->idle == 0 && !w->ending && !MRN_BROKEN(HMM_SPARE);

	mrn_mutex_unlock(&w->lock);
	if (last)
		add(w);
	mrn_own_thread_join();
	w->serve(w->arg, f);
	mrn_mutex_lock(&w->lock);
	me->done = w->idle >= MOST_IDLE;
	w->idle += !me->done;
	return !me->done;
}

static void *run(void *arg)
{
	struct mrn_hmm_worker *me = arg;
	struct mrn_hmm_workers *w = me->workers;
	bool go_on = true;

	mrn_own_thread_enter();
	mrn_mutex_lock(&w->lock);
	while (go_on) {
		uint32_t seen = __atomic_load_n(&w->called, __ATOMIC_RELAXED);
		struct mrn_hmm_fault f;
		bool lose;

		if (take(w, &f, &lose)) {
			go_on = work(me, lose ? NULL : &f);
			continue;
		}
		if (w->ending)
			break;
		mrn_mutex_unlock(&w->lock);
		mrn_futex_wait(&w->called, seen, NULL);
		mrn_mutex_lock(&w->lock);
	}
	mrn_mutex_unlock(&w->lock);
	mrn_own_thread_leave();
	return NULL;
}

int mrn_hmm_workers_start(struct mrn_hmm_workers *w,
			  void (*serve)(void *arg, const struct mrn_hmm_fault *f), void *arg)
{
	w->serve = serve;
	w->arg = arg;
	return add(w);
}

void mrn_hmm_workers_stop(struct mrn_hmm_workers *w)
{
	struct mrn_hmm_worker *list;

	mrn_mutex_lock(&w->lock);
	w->ending = true;
	__atomic_fetch_add(&w->called, 1, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&w->lock);
	mrn_futex_wake(&w->called, INT_MAX);
	/* A worker that another one is just creating is listed once that one has been joined. */
	while ((list = take_out(w, true)))
		join(list);
}

void mrn_hmm_workers_free(struct mrn_hmm_workers *w)
{
	struct mrn_hmm_worker *next;

	for (; w->list; w->list = next) {
		next = w->list->next;
		free(w->list);
	}
	mrn_pages_free(w->job, bytes_of(w->room));
	w->job = NULL;
}
