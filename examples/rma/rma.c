/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One-sided writes and reads between two hosts over libfabric, in ordinary memory that a thread on each side frees, maps
 * over and discards all the time. The client asks for one of the server's blocks, transfers each part of it in one
 * direction, and says when it is done; both compare the bytes.
 *
 *	rma server|client ADDRESS [TRANSFERS [PROVIDER [PORT]]]		ADDRESS is the server's, for both
 *
 * While a block is being transferred, its lock keeps it from being changed: a provider that copies by address reaches what
 * is there. Nothing else protects it: the cache is told of no change. Stale is a registration that is older than the last change of its memory,
 * and a byte that is not what the other side has written.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host.h"

#define BLOCKS 16
#define PARTS  128 /* of a block: the even ones are written by the client, the odd ones read */

struct block {
	pthread_mutex_t lock;
	char *p;
	size_t length;
	bool changed; /* mapped anew or discarded at the same address, since it was last registered */
	uint64_t newest; /* key of the block */
	struct mrn_fabric_share *share;
	bool expired;
};

struct request {
	uint32_t block;
	uint32_t seed;
	uint64_t length; /* of the client's block; 0: that was all */
};
struct offer {
	uint64_t part, addr, key; /* part: bytes */
};
struct verdict {
	uint64_t wrong; /* bytes */
};

static struct host host;
static struct block blocks[BLOCKS];
static uint64_t changes, stale;
static bool over;

static char byte_of(uint32_t seed, unsigned int part, size_t i)
{
	return (char)(seed * 7 + part * 13 + i * 31 + i / 251);
}

static void fill(char *p, size_t length, uint32_t seed, unsigned int part)
{
	for (size_t i = 0; i < length; i++)
		p[i] = byte_of(seed, part, i);
}

static uint64_t wrong(const char *p, size_t length, uint32_t seed, unsigned int part)
{
	uint64_t n = 0;

	for (size_t i = 0; i < length; i++)
		n += p[i] != byte_of(seed, part, i);
	return n;
}

/* --------------------------------------------------------------------------- memory that changes */

static void new_block(struct block *b, unsigned int *rand)
{
	/* From malloc's heap, and in mappings of their own. */
	b->length = ((size_t)32 << 10) << rand_r(rand) % 4;
	b->p = malloc(b->length);
	if (!b->p)
		die(&host, 1, "no memory");
	memset(b->p, 0, b->length);
}

static void change(struct block *b, unsigned int *rand)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = page - (uintptr_t)b->p % page;
	char *inner = b->p + skip;
	size_t length = (b->length - skip) / page * page;

	switch (rand_r(rand) % 3) {
	case 0:
		/* Perhaps memory that another block had, and that is registered. */
		free(b->p);
		new_block(b, rand);
		b->changed = false;
		return;
	case 1:
		if (mmap(inner, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != inner)
			die(&host, 1, "mmap failed");
		break;
	default:
		if (madvise(inner, length, MADV_DONTNEED))
			die(&host, 1, "madvise failed");
	}
	b->changed = true;
}

static void *changer(void *arg)
{
	unsigned int rand = (unsigned int)getpid();

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		struct block *b = &blocks[rand_r(&rand) % BLOCKS];

		pthread_mutex_lock(&b->lock);
		change(b, &rand);
		changes++;
		pthread_mutex_unlock(&b->lock);
		usleep(500);
	}
	return arg;
}

/* A key that was there before the last change. Keys of the provider's choice have no order. */
static void look_at_key(struct block *b, uint64_t key)
{
	bool has_order = !(host.info->domain_attr->mr_mode & FI_MR_PROV_KEY);

	if (has_order && b->changed && key <= b->newest)
		stale++;
	b->changed = false;
	if (key > b->newest)
		b->newest = key;
}

/* ------------------------------------------------------------------------------------- the server */

/* Block's share, made anew if it has expired, or if the block lies elsewhere by now. */
static struct mrn_fabric_share *offer_of(struct block *b)
{
	struct mrn_fabric_share *s;
	int r;

	while ((s = mrn_fabric_mr_next_expired(host.f)))
		((struct block *)s->ctx)->expired = true;
	s = b->share;
	if (s && !b->expired && s->addr == b->p && s->length == b->length) {
		look_at_key(b, s->key);
		return s;
	}
	/* No peer uses it: each transfer is over when its block is unlocked. */
	if (s)
		mrn_fabric_mr_unshare(s);
	b->expired = false;
	r = mrn_fabric_mr_share(host.f, b->p, b->length, MRN_ACCESS_READ | MRN_ACCESS_WRITE, b,
				&b->share);
	if (r)
		die(&host, 1, "share: %s", mrn_fabric_explain(r));
	look_at_key(b, b->share->key);
	return b->share;
}

static uint64_t serve(void)
{
	uint64_t transfers = 0;
	struct verdict verdict;
	struct request q;

	for (host_receive(&host, &q, sizeof(q)); q.length; host_receive(&host, &q, sizeof(q))) {
		struct block *b = &blocks[q.block % BLOCKS];
		struct mrn_fabric_share *s;
		struct offer offer;
		size_t part;

		pthread_mutex_lock(&b->lock);
		s = offer_of(b);
		part = (b->length < q.length ? b->length : q.length) / PARTS;
		for (unsigned int i = 1; i < PARTS; i += 2)
			fill(b->p + i * part, part, q.seed, i);
		offer = (struct offer){.part = part, .addr = s->remote_addr, .key = s->key};
		host_send(&host, &offer, sizeof(offer));
		host_receive(&host, &q, sizeof(q));
		verdict.wrong = 0;
		for (unsigned int i = 0; i < PARTS; i += 2)
			verdict.wrong += wrong(b->p + i * part, part, q.seed, i);
		pthread_mutex_unlock(&b->lock);
		stale += verdict.wrong;
		transfers += PARTS;
		host_send(&host, &verdict, sizeof(verdict));
	}
	for (int i = 0; i < BLOCKS; i++)
		if (blocks[i].share)
			mrn_fabric_mr_unshare(blocks[i].share);
	return transfers;
}

/* ------------------------------------------------------------------------------------- the client */

/* Transfers the parts of what is offered, by b. */
static void transfer(struct block *b, uint32_t seed, const struct offer *offer)
{
	struct mrn_fabric_mr *mr[PARTS];
	size_t length = offer->part;

	for (unsigned int i = 0; i < PARTS; i++) {
		bool is_write = !(i & 1);
		char *local = b->p + i * length;
		int r;

		if (is_write)
			fill(local, length, seed, i);
		/* The whole block: the first get registers it, the others find it. */
		r = mrn_fabric_mr_get(host.f, b->p, b->length, MRN_ACCESS_READ | MRN_ACCESS_WRITE,
				      &mr[i]);
		if (r)
			die(&host, 1, "get: %s", mrn_fabric_explain(r));
		look_at_key(b, mrn_fabric_mr_key(mr[i]));
		host_begin(&host, is_write, mr[i], local, length, offer->addr + i * length,
			   offer->key);
	}
	host_wait(&host, PARTS);
	for (unsigned int i = 0; i < PARTS; i++) {
		mrn_fabric_mr_put(mr[i]);
		if (i & 1)
			stale += wrong(b->p + i * length, length, seed, i);
	}
}

static uint64_t run_client(uint64_t want)
{
	unsigned int rand = 1;
	uint64_t transfers = 0;
	struct verdict verdict;
	struct offer offer;
	struct request q = {0};

	while (transfers < want) {
		struct block *b = &blocks[rand_r(&rand) % BLOCKS];

		pthread_mutex_lock(&b->lock);
		q.block = (uint32_t)rand_r(&rand);
		q.seed++;
		q.length = b->length;
		host_send(&host, &q, sizeof(q));
		host_receive(&host, &offer, sizeof(offer));
		transfer(b, q.seed, &offer);
		pthread_mutex_unlock(&b->lock);
		host_send(&host, &q, sizeof(q));
		host_receive(&host, &verdict, sizeof(verdict));
		stale += verdict.wrong;
		transfers += PARTS;
	}
	q.length = 0;
	host_send(&host, &q, sizeof(q));
	return transfers;
}

int main(int argc, char **argv)
{
	bool server = argc > 1 && !strcmp(argv[1], "server");
	unsigned int rand = (unsigned int)getpid();
	struct mrn_regcache_stats stats;
	uint64_t transfers;
	pthread_t thread;

	host.role = server ? "server" : "client";
	if (argc < 3 || (!server && strcmp(argv[1], "client")))
		die(&host, 2, "usage: rma server|client ADDRESS [TRANSFERS [PROVIDER [PORT]]]");
	host_open(&host, argv[2], argc > 5 ? (unsigned int)atoi(argv[5]) : 7787,
		  argc > 4 ? argv[4] : "tcp;ofi_rxm");
	for (int i = 0; i < BLOCKS; i++) {
		pthread_mutex_init(&blocks[i].lock, NULL);
		new_block(&blocks[i], &rand);
	}
	if (pthread_create(&thread, NULL, changer, NULL))
		die(&host, 1, "no thread");
	fprintf(stderr, "rma %s: begun\n", host.role);
	transfers = server ? serve() : run_client(argc > 3 ? strtoull(argv[3], NULL, 0) : 100000);
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	mrn_fabric_get_stats(host.f, &stats, sizeof(stats));
	printf("%s: %s: %llu transfers, %llu stale; %llu changes, %llu registrations, %llu invalidated\n",
	       host.role, host.info->fabric_attr->prov_name, (unsigned long long)transfers,
	       (unsigned long long)stale, (unsigned long long)changes,
	       (unsigned long long)stats.registrations, (unsigned long long)stats.invalidations);
	host_close(&host);
	return stale || !transfers;
}
