/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by regions of libmrn-verbs: the right bytes in both directions, from memory that stays, memory that changes,
 * and memory that goes away under a transfer; and what peers may do.
 */
#include <stdlib.h>

#include "os/syscall.h"
#include "tests/verbs/fixture.h"

#define LENGTH 65536

/* Odd bytes: no two neighbouring pages, and no two places in a page, look alike. */
static void fill(char *p, size_t length, unsigned int salt)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (char)((i * 31 + i / 4096 * 7 + salt) & 0xff);
}

/* --------------------------------------------------------------------------------------- in place */

TEST(the_right_bytes_in_both_directions)
{
	static const size_t offsets[] = {0, 1, 4095, 4096, 12345};
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(LENGTH, 0);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		size_t offset = offsets[i], length = LENGTH - offset - 77 * i;

		fill(p, LENGTH, (unsigned int)i);
		fixture_device_reads(&f, p + offset, length);
		CHECK(!memcmp(f.other, p + offset, length));

		fill(f.other, length, 100 + (unsigned int)i);
		memset(p, 'x', LENGTH);
		fixture_device_writes(&f, p + offset, length);
		CHECK(!memcmp(p + offset, f.other, length));
		/* And not a byte beside it. */
		for (size_t j = 0; j < offset; j++)
			CHECK_EQ(p[j], 'x');
		for (size_t j = offset + length; j < LENGTH; j++)
			CHECK_EQ(p[j], 'x');
	}
	fixture_close(&f);
}

TEST(the_second_time_is_a_hit)
{
	struct mrn_verbs_mr *a, *b;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(LENGTH, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, LENGTH, MRN_ACCESS_READ, &a), 0);
	CHECK_ERR(mrn_verbs_get(f.v, p + 5000, 100, MRN_ACCESS_READ, &b), 0);
	CHECK_EQ(mrn_verbs_lkey(a), mrn_verbs_lkey(b));
	CHECK(mrn_verbs_ibv_mr(a)->addr == p);
	CHECK_EQ(mrn_verbs_ibv_mr(a)->length, LENGTH);
	CHECK_EQ(fixture_stats(&f).registrations, 1);
	CHECK_EQ(fixture_stats(&f).hits, 1);
	CHECK_EQ(verbs_device_live(), 2);
	CHECK_ERR(mrn_verbs_put(a), 0);
	CHECK_ERR(mrn_verbs_put(b), 0);
	fixture_close(&f);
}

/* A region of a part of a page covers the page: its neighbour's region is the same one. */
TEST(regions_are_whole_pages)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(8192, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p + 4095, 2, MRN_ACCESS_READ, &mr), 0);
	CHECK(mrn_verbs_ibv_mr(mr)->addr == p);
	CHECK_EQ(mrn_verbs_ibv_mr(mr)->length, 8192);
	CHECK_ERR(mrn_verbs_put(mr), 0);
	CHECK_EQ(fixture_peek(&f, p), 'A');
	CHECK_EQ(fixture_peek(&f, p + 8191), 'A');
	CHECK_EQ(fixture_stats(&f).registrations, 1);
	fixture_close(&f);
}

TEST(neighbours_merge)
{
	struct mrn_verbs_opts opts = {.size = sizeof(opts), .flags = MRN_REGCACHE_MERGE};
	struct fixture f;
	char why[256], *p;

	fixture_open_device(&f);
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), 0);
	p = fixture_map(LENGTH, 'A');
	fixture_device_reads(&f, p, 8192);
	fixture_device_reads(&f, p + 4096, 8192);
	CHECK_EQ(fixture_stats(&f).entries, 1);
	CHECK_EQ(fixture_stats(&f).bytes_pinned, 12288);
	CHECK_EQ(verbs_device_live(), 2);
	fixture_close(&f);
}

/* ---------------------------------------------------------------------------- each kind of change */

static void change_by_map_fixed(char *p)
{
	fixture_remap(p, LENGTH, 'x');
}

static void change_by_mremap_onto(char *p)
{
	char *fresh = fixture_map(LENGTH, 'x');

	CHECK(mremap(fresh, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p);
}

static void change_by_dontneed(char *p)
{
	CHECK_EQ(madvise(p, LENGTH, MADV_DONTNEED), 0);
}

static void change_by_raw_calls(char *p)
{
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, LENGTH), 0);
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		 p);
}

static void after_a_change(void (*change)(char *p))
{
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(LENGTH, 'A');
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'A');
	change(p);
	memset(p, 'B', LENGTH);
	CHECK_EQ(fixture_peek(&f, p + LENGTH / 2), 'B');
	f.other[0] = 'C';
	fixture_device_writes(&f, p + LENGTH / 2, 1);
	CHECK_EQ(p[LENGTH / 2], 'C');
	CHECK(fixture_stats(&f).invalidations >= 1);
	fixture_close(&f);
}

#define AFTER(kind)                               \
	TEST(after_##kind)                        \
	{                                         \
		after_a_change(change_by_##kind); \
	}                                         \
	TWIN(after_##kind, no_notifier, BREAK_OPEN(CACHE_NOTIFIER))

AFTER(map_fixed);
AFTER(mremap_onto);
AFTER(dontneed);
AFTER(raw_calls);

/* ------------------------------------------------------------------------- while a region is made */

static char *changing;

static void change_once(void *addr, size_t length)
{
	if (addr != changing)
		return;
	changing = NULL;
	fixture_remap(addr, length, 'B');
}

/* A device that is slow to register leaves the memory time to change: the pages that it has pinned are the old ones. */
TEST(memory_changes_before_its_registration_ends)
{
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = changing = fixture_map(LENGTH, 'A');
	verbs_device_opts.pinned = change_once;
	CHECK_EQ(fixture_peek(&f, p), 'B');
	CHECK(!changing);
	CHECK_EQ(fixture_stats(&f).retries, 1);
	fixture_close(&f);
}

TWIN(memory_changes_before_its_registration_ends, no_retry, BREAK_OPEN(CACHE_RETRY));

/* ------------------------------------------------------------------------------------- in flight */

/* The memory goes while the device has yet to read it: the device reads what was there. */
TEST(a_region_in_use_outlives_its_memory)
{
	struct mrn_verbs_mr *mr, *again;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, MRN_ACCESS_READ, &mr), 0);
	pair_post(&f.pair, IBV_WR_RDMA_WRITE, p, mrn_verbs_lkey(mr), 4096, f.other,
		  f.other_mr->rkey);

	fixture_remap(p, 4096, 'B');
	/* Dead, still registered, and never handed out again. */
	CHECK_EQ(fixture_stats(&f).invalidations, 1);
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, MRN_ACCESS_READ, &again), 0);
	CHECK(again != mr);
	CHECK_NE(mrn_verbs_lkey(again), mrn_verbs_lkey(mr));

	CHECK_EQ(pair_wait(&f.pair), IBV_WC_SUCCESS);
	CHECK_EQ(f.other[0], 'A');
	CHECK_EQ(f.other[4095], 'A');

	/* The last put is what ends it. */
	CHECK_ERR(mrn_verbs_put(mr), 0);
	CHECK_EQ(fixture_stats(&f).deregistrations, 1);
	CHECK_ERR(mrn_verbs_put(again), 0);
	CHECK_EQ(fixture_peek(&f, p), 'B');
	fixture_close(&f);
}

TWIN(a_region_in_use_outlives_its_memory, no_references, BREAK_OPEN(CACHE_REFS));
TWIN(a_region_in_use_outlives_its_memory, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));

/* ------------------------------------------------------------------------------------------ peers */

/* What a peer that has the rkey does: here the peer is the first queue pair, and the target is the second's memory. */
static enum ibv_wc_status peer_does(struct fixture *f, enum ibv_wr_opcode opcode, const char *p,
				    uint32_t rkey)
{
	pair_post(&f->pair, opcode, f->other, f->other_mr->lkey, 1, p, rkey);
	return pair_wait(&f->pair);
}

static void peer_with(unsigned int remote, unsigned int access, enum ibv_wr_opcode opcode,
		      enum ibv_wc_status want)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	char *p;

	fixture_open(&f, remote);
	p = fixture_map(4096, 'A');
	f.other[0] = 'Z';
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, access, &mr), 0);
	CHECK_EQ(peer_does(&f, opcode, p, mrn_verbs_rkey(mr)), want);
	if (want != IBV_WC_SUCCESS) {
		CHECK_EQ(p[0], 'A');
		CHECK_EQ(f.other[0], 'Z');
	} else {
		CHECK_EQ(p[0], f.other[0]);
	}
	CHECK_ERR(mrn_verbs_put(mr), 0);
	fixture_close(&f);
}

TEST(a_peer_may_do_what_it_was_given)
{
	peer_with(IBV_ACCESS_REMOTE_READ, MRN_ACCESS_READ, IBV_WR_RDMA_READ, IBV_WC_SUCCESS);
	peer_with(FIXTURE_REMOTES, MRN_ACCESS_WRITE, IBV_WR_RDMA_WRITE, IBV_WC_SUCCESS);
}

TEST(a_peer_may_do_no_more)
{
	peer_with(0, MRN_ACCESS_READ | MRN_ACCESS_WRITE, IBV_WR_RDMA_READ, IBV_WC_REM_ACCESS_ERR);
	peer_with(0, MRN_ACCESS_READ | MRN_ACCESS_WRITE, IBV_WR_RDMA_WRITE, IBV_WC_REM_ACCESS_ERR);
	peer_with(IBV_ACCESS_REMOTE_READ, MRN_ACCESS_WRITE, IBV_WR_RDMA_WRITE,
		  IBV_WC_REM_ACCESS_ERR);
	/* The memory was only to be read. */
	peer_with(FIXTURE_REMOTES, MRN_ACCESS_READ, IBV_WR_RDMA_WRITE, IBV_WC_REM_ACCESS_ERR);
}

TWIN(a_peer_may_do_no_more, all_may_write, BREAK_OPEN(VERBS_RIGHTS));

TEST(an_rkey_works_until_it_is_taken_back)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	uint32_t rkey;
	char *p;

	fixture_open(&f, FIXTURE_REMOTES);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, MRN_ACCESS_WRITE, &mr), 0);
	rkey = mrn_verbs_rkey(mr);
	f.other[0] = 'Z';
	/* Held: not even flush takes it away. */
	CHECK_ERR(mrn_verbs_flush(f.v), 0);
	CHECK_EQ(peer_does(&f, IBV_WR_RDMA_WRITE, p, rkey), IBV_WC_SUCCESS);
	CHECK_EQ(p[0], 'Z');
	CHECK_ERR(mrn_verbs_put(mr), 0);
	CHECK_EQ(peer_does(&f, IBV_WR_RDMA_WRITE, p, rkey), IBV_WC_REM_ACCESS_ERR);
	fixture_close(&f);
}

TWIN(an_rkey_works_until_it_is_taken_back, no_references, BREAK_OPEN(CACHE_REFS));

TEST(flush_ends_the_keys_of_what_is_idle)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	uint32_t rkey;
	char *p;

	fixture_open(&f, FIXTURE_REMOTES);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, MRN_ACCESS_WRITE, &mr), 0);
	rkey = mrn_verbs_rkey(mr);
	CHECK_ERR(mrn_verbs_put(mr), 0);
	CHECK_ERR(mrn_verbs_flush(f.v), 0);
	CHECK_EQ(peer_does(&f, IBV_WR_RDMA_WRITE, p, rkey), IBV_WC_REM_ACCESS_ERR);
	CHECK_EQ(p[0], 'A');
	fixture_close(&f);
}
