/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mrn/regcache.h>

#include "os/clock.h"
#include "os/random.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/demo/transfer.h"

struct piece {
	struct demo_buffer *b;
	size_t offset, length;
};

static char *piece_addr(const struct piece *p)
{
	return p->b->addr + p->offset;
}

/* -------------------------------------------------------------------------------- moving the bytes */

static int submit_and_wait(struct transfer *t, size_t length)
{
	struct io_uring_cqe *cqe;
	int r = io_uring_submit_and_wait(&t->ring, 1);

	if (r >= 0)
		r = io_uring_wait_cqe(&t->ring, &cqe);
	if (r < 0)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(&t->ring, cqe);
	if (r < 0)
		return r;
	return (size_t)r == length ? 0 : -EIO;
}

static int move_fixed(struct transfer *t, const struct piece *p, unsigned int access,
		      const struct demo_loan *loan)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	if (access == MRN_ACCESS_READ)
		io_uring_prep_write_fixed(sqe, t->file, piece_addr(p), (unsigned int)p->length,
					  t->place, (int)loan->index);
	else
		io_uring_prep_read_fixed(sqe, t->file, piece_addr(p), (unsigned int)p->length,
					 t->place, (int)loan->index);
	return submit_and_wait(t, p->length);
}

static int move_plain(struct transfer *t, const struct piece *p, unsigned int access)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	if (access == MRN_ACCESS_READ)
		io_uring_prep_write(sqe, t->file, piece_addr(p), (unsigned int)p->length, t->place);
	else
		io_uring_prep_read(sqe, t->file, piece_addr(p), (unsigned int)p->length, t->place);
	return submit_and_wait(t, p->length);
}

/* By the way's registration, or without one if the way has none. */
static int move(struct transfer *t, const struct piece *p, unsigned int access)
{
	struct demo_loan loan = {0};
	uint64_t started = mrn_now_ns();
	int r, refused = t->way->get(t->state, p->b, piece_addr(p), p->length, access, &loan);

	if (!refused) {
		r = move_fixed(t, p, access, &loan);
		t->way->put(t->state, &loan);
	} else {
		r = move_plain(t, p, access);
		if (!t->figures.fallbacks++)
			t->figures.why_fallback = refused;
	}
	t->figures.ns += mrn_now_ns() - started;
	return r;
}

/* -------------------------------------------------------------------------------------- both ways */

static void count(uint64_t *figure)
{
	__atomic_store_n(figure, *figure + 1, __ATOMIC_RELAXED);
}

static int read_file(struct transfer *t, size_t length)
{
	ssize_t n = pread(t->file, t->scratch, length, (off_t)t->place);

	return n < 0 ? -errno : (size_t)n == length ? 0 : -EIO;
}

static int write_file(struct transfer *t, size_t length)
{
	ssize_t n = pwrite(t->file, t->scratch, length, (off_t)t->place);

	return n < 0 ? -errno : (size_t)n == length ? 0 : -EIO;
}

/* The device reads the buffer. Hold the lock, shared. */
static int to_file(struct transfer *t, const struct piece *p)
{
	int r = move(t, p, MRN_ACCESS_READ);

	if (!r)
		r = read_file(t, p->length);
	if (r)
		return r;
	if (memcmp(t->scratch, piece_addr(p), p->length))
		count(&t->figures.stale);
	return 0;
}

/* The device writes the buffer, over spoilt bytes. Hold the lock, exclusive. */
static int from_file(struct transfer *t, const struct piece *p)
{
	struct pattern pattern = memory_pattern(p->b);
	int r;

	pattern_write(pattern, p->offset, t->scratch, p->length);
	r = write_file(t, p->length);
	if (r)
		return r;
	pattern_spoil(piece_addr(p), p->length);
	r = move(t, p, MRN_ACCESS_WRITE);
	if (pattern_matches(pattern, p->offset, piece_addr(p), p->length))
		return r;
	if (!r)
		count(&t->figures.stale);
	pattern_write(pattern, p->offset, piece_addr(p), p->length);
	return r;
}

static struct piece random_piece(struct demo_buffer *b, uint64_t *random)
{
	struct piece p = {.b = b, .length = b->size};

	/* Half of the time the whole buffer. */
	if (mrn_random_below(random, 2)) {
		p.offset = mrn_random_below(random, b->size);
		p.length = 1 + mrn_random_below(random, b->size - p.offset);
	}
	return p;
}

int transfer_do(struct transfer *t, struct demo_buffer *b, uint64_t *random)
{
	bool reads = mrn_random_below(random, 2);
	struct piece p;
	int r;

	if (reads)
		pthread_rwlock_wrlock(&b->lock);
	else
		pthread_rwlock_rdlock(&b->lock);
	p = random_piece(b, random);
	/* Only the holder of the lock writes here; otherwise no check below would mean anything. */
	if (!pattern_matches(memory_pattern(b), p.offset, piece_addr(&p), p.length))
		demo_die("the demo's own memory is not what it wrote there", EUCLEAN);
	r = reads ? from_file(t, &p) : to_file(t, &p);
	pthread_rwlock_unlock(&b->lock);
	if (!r)
		count(&t->figures.transfers);
	return r;
}

/* --------------------------------------------------------------------------------- open and close */

int transfer_open(struct transfer *t, const struct demo_way *way, struct mrn_source *source,
		  size_t max_size)
{
	int r;

	t->way = way;
	t->scratch = malloc(max_size);
	if (!t->scratch)
		demo_die("malloc", ENOMEM);
	r = io_uring_queue_init(4, &t->ring, 0);
	if (r) {
		cli_say("mrn demo",
			r == -ENOMEM
				? "no ring for a thread: RLIMIT_MEMLOCK is too small; raise it "
				  "with ulimit -l, or use fewer --threads"
				: "no ring for a thread: %s",
			strerror(-r));
		free(t->scratch);
		return r;
	}
	r = way->open(&t->ring, source, &t->state);
	if (r) {
		cli_say("mrn demo", "%s cannot use its ring: %s", way->name, strerror(-r));
		io_uring_queue_exit(&t->ring);
		free(t->scratch);
	}
	return r;
}

void transfer_close(struct transfer *t, struct demo_figures *figures)
{
	t->way->add_figures(t->state, figures);
	t->way->close(t->state);
	io_uring_queue_exit(&t->ring);
	free(t->scratch);

	figures->transfers += t->figures.transfers;
	figures->stale += t->figures.stale;
	figures->ns += t->figures.ns;
	if (!figures->fallbacks)
		figures->why_fallback = t->figures.why_fallback;
	figures->fallbacks += t->figures.fallbacks;
}
