/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef MRN_HAVE_ZLIB
#include <zlib.h>
#endif

#include "watch/tool/pack.h"

static void put_out(struct pack *p, const void *bytes, size_t size)
{
	if (!p->error && size && fwrite(bytes, 1, size, p->out) != size)
		p->error = -errno;
}

/* --------------------------------------------------------------------------------------- one block */

#ifdef MRN_HAVE_ZLIB

/* The lowest level: our text repeats itself in long pieces. Without a frame, which only the whole file has. */
static bool start_packing(z_stream *z)
{
	*z = (z_stream){0};
	return deflateInit2(z, Z_BEST_SPEED, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
}

static void stop_packing(z_stream *z)
{
	deflateEnd(z);
}

/* The largest size of a packed block, with the marker at its end. */
static size_t bound(void)
{
	return compressBound(PACK_TEXT) + 64;
}

/*
 * Packs a block that refers to nothing before it, and ends at a whole byte without being the last: so blocks can be
 * concatenated.
 */
static void pack_block(z_stream *z, struct pack_block *b)
{
	b->size = 0;
	b->check = (uint32_t)crc32(0, (const Bytef *)b->text, (uInt)b->nr);
	deflateReset(z);
	z->next_in = (Bytef *)b->text;
	z->avail_in = (uInt)b->nr;
	z->next_out = b->packed;
	z->avail_out = (uInt)bound();
	if (deflate(z, Z_SYNC_FLUSH) == Z_OK && !z->avail_in && z->avail_out)
		b->size = bound() - z->avail_out;
}

static void put_head(struct pack *p)
{
	/* gzip, deflate, no flags, no time, fastest, Unix */
	static const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3};

	put_out(p, head, sizeof(head));
}

static void put_block(struct pack *p, struct pack_block *b)
{
	if (!b->size && b->nr && !p->error)
		p->error = -ENOMEM;
	put_out(p, b->packed, b->size);
	p->check = (uint32_t)crc32_combine(p->check, b->check, (z_off_t)b->nr);
	p->size += b->nr;
}

static void put_tail(struct pack *p)
{
	/* An empty last block; then the checksum and the size, lowest byte first. */
	unsigned char tail[10] = {3, 0};

	for (int i = 0; i < 4; i++) {
		tail[2 + i] = (unsigned char)(p->check >> 8 * i);
		tail[6 + i] = (unsigned char)(p->size >> 8 * i);
	}
	put_out(p, tail, sizeof(tail));
}

#else

/* Without zlib blocks are written as they are, and the workers have nothing to do. */
typedef int z_stream;

static bool start_packing(z_stream *z)
{
	return false;
}

static void stop_packing(z_stream *z)
{
}

static size_t bound(void)
{
	return 1;
}

static void pack_block(z_stream *z, struct pack_block *b)
{
}
static void put_head(struct pack *p)
{
}
static void put_tail(struct pack *p)
{
}

static void put_block(struct pack *p, struct pack_block *b)
{
	put_out(p, b->text, b->nr);
}

#endif

/* -------------------------------------------------------------------------------------- the workers */

static struct pack_block *at(struct pack *p, unsigned int i)
{
	return &p->block[i % PACK_BLOCKS];
}

/* The next waiting block, or NULL if there will be no more. */
static struct pack_block *take(struct pack *p)
{
	struct pack_block *b;

	pthread_mutex_lock(&p->lock);
	while (p->taken == p->filled && !p->over)
		pthread_cond_wait(&p->changed, &p->lock);
	b = p->taken == p->filled ? NULL : at(p, p->taken++);
	pthread_mutex_unlock(&p->lock);
	return b;
}

static void *work(void *arg)
{
	struct pack *p = arg;
	struct pack_block *b;
	z_stream z;
	bool able = start_packing(&z);

	while ((b = take(p))) {
		if (able)
			pack_block(&z, b);
		else
			b->size = 0;
		pthread_mutex_lock(&p->lock);
		b->done = true;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
	}
	if (able)
		stop_packing(&z);
	return NULL;
}

/* The caller packs, without workers. */
static void pack_here(struct pack *p)
{
	struct pack_block *b = at(p, p->taken++);
	z_stream z;

	b->size = 0;
	if (start_packing(&z)) {
		pack_block(&z, b);
		stop_packing(&z);
	}
	b->done = true;
}

/* Waits until it is packed. */
static void write_oldest(struct pack *p)
{
	struct pack_block *b = at(p, p->written);

	pthread_mutex_lock(&p->lock);
	while (!b->done)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
	put_block(p, b);
	b->nr = 0;
	b->done = false;
	p->written++;
}

/* Hands the filled block to the workers, and goes on to the next. */
static void next_block(struct pack *p)
{
	pthread_mutex_lock(&p->lock);
	p->filled++;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (!p->nr_workers)
		pack_here(p);
	if (p->filled - p->written == PACK_BLOCKS)
		write_oldest(p);
}

/* --------------------------------------------------------------------------------------- the text */

static void free_blocks(struct pack *p)
{
	for (unsigned int i = 0; i < PACK_BLOCKS; i++) {
		free(p->block[i].text);
		free(p->block[i].packed);
	}
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

static void start_workers(struct pack *p)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	while (p->nr_workers < PACK_WORKERS && p->nr_workers < cpus &&
	       !pthread_create(&p->worker[p->nr_workers], NULL, work, p))
		p->nr_workers++;
}

int pack_start(struct pack *p, FILE *out)
{
	bool all = true;

	*p = (struct pack){
		.out = out,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	for (unsigned int i = 0; i < PACK_BLOCKS; i++) {
		p->block[i].text = malloc(PACK_TEXT);
		p->block[i].packed = malloc(bound());
		all &= p->block[i].text && p->block[i].packed;
	}
	if (!all) {
		free_blocks(p);
		return -ENOMEM;
	}
	put_head(p);
	start_workers(p);
	return 0;
}

char *pack_begin(struct pack *p, size_t size)
{
	if (at(p, p->filled)->nr + size > PACK_TEXT)
		next_block(p);
	return at(p, p->filled)->text + at(p, p->filled)->nr;
}

void pack_end(struct pack *p, const char *end)
{
	struct pack_block *b = at(p, p->filled);

	b->nr = (size_t)(end - b->text);
}

void pack_put(struct pack *p, const char *text, size_t size)
{
	while (size) {
		size_t n = size < PACK_TEXT ? size : PACK_TEXT;
		char *to = pack_begin(p, n);

		memcpy(to, text, n);
		pack_end(p, to + n);
		text += n;
		size -= n;
	}
}

int pack_finish(struct pack *p)
{
	next_block(p);
	while (p->written != p->filled)
		write_oldest(p);
	pthread_mutex_lock(&p->lock);
	p->over = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->nr_workers; i++)
		pthread_join(p->worker[i], NULL);
	put_tail(p);
	if (!p->error && fflush(p->out))
		p->error = -errno;
	free_blocks(p);
	return p->error;
}
