/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/printer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check/shared/check.h"
#include "check/tool/report.h"
#include "watch/tool/symbols.h"

/* ------------------------------------------------------------------------------------- a report */

/* In one piece, since the program may be writing there, too. 0 or -errno. */
static int write_out(const char *text, size_t size)
{
	while (size) {
		struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
		ssize_t n = write(STDERR_FILENO, text, size);

		if (n < 0 && errno == EAGAIN)
			poll(&room, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int make_text(const struct collection *c, const struct collected *item, char **text,
		     size_t *size)
{
	FILE *out = open_memstream(text, size);
	int r = out ? report_print(out, c, item) : -ENOMEM;

	return out && fclose(out) && !r ? -ENOMEM : r;
}

/* True if the item is to be printed. */
static bool choose(struct printer *p, struct collected *item)
{
	item->suppressed = suppressions_name(p->suppressions, &p->collection->sites, item);
	if (item->suppressed)
		p->suppressed++;
	else if (p->printed == p->max)
		p->left_out++;
	else
		item->printed = true;
	p->printed += item->printed;
	return item->printed;
}

static void unlock_to_write(struct printer *p)
{
	if (!MRN_BROKEN(CHECK_PRINTS_LOCKED))
		pthread_mutex_unlock(p->lock);
}

static void lock_again(struct printer *p)
{
	if (!MRN_BROKEN(CHECK_PRINTS_LOCKED))
		pthread_mutex_lock(p->lock);
}

/* With the lock, but for the time that it writes: the item may be elsewhere then. */
static void print_one(struct printer *p, const struct collected *item)
{
	char *text = NULL;
	size_t size;
	int r = make_text(p->collection, item, &text, &size);

	unlock_to_write(p);
	MRN_HOOK(prints);
	if (!r)
		r = write_out(text, size);
	free(text);
	lock_again(p);
	if (r)
		p->error = r;
}

static void print_new(struct printer *p)
{
	while (p->next < p->collection->nr && !p->no_names) {
		struct collected *item = &p->collection->item[p->next];

		p->no_names = symbols_name(&p->collection->sites);
		if (p->no_names)
			return;
		p->next++;
		if (choose(p, item))
			print_one(p, item);
	}
}

/* ------------------------------------------------------------------------------------ the thread */

static void *print_while_it_runs(void *arg)
{
	struct printer *p = arg;

	pthread_mutex_lock(p->lock);
	for (;;) {
		print_new(p);
		if (p->over)
			break;
		pthread_cond_wait(&p->more, p->lock);
	}
	pthread_mutex_unlock(p->lock);
	return NULL;
}

void printer_create(struct printer *p)
{
	pthread_cond_init(&p->more, NULL);
}

void printer_more(struct printer *p)
{
	if (!p->runs)
		p->runs = !pthread_create(&p->thread, NULL, print_while_it_runs, p);
	pthread_cond_signal(&p->more);
}

void printer_finish(struct printer *p)
{
	pthread_mutex_lock(p->lock);
	p->over = true;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(p->lock);
	if (p->runs)
		pthread_join(p->thread, NULL);
	p->runs = false;
	pthread_mutex_lock(p->lock);
	print_new(p);
	pthread_mutex_unlock(p->lock);
}
