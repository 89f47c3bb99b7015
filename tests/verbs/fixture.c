/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/verbs/fixture.h"

void fixture_open_device(struct fixture *f)
{
	f->source = fixture_source();
	pair_open(&f->pair);
	f->other = fixture_map(OTHER_LENGTH, 0);
	f->other_mr = ibv_reg_mr(f->pair.pd, f->other, OTHER_LENGTH,
				 IBV_ACCESS_LOCAL_WRITE | FIXTURE_REMOTES);
	CHECK(f->other_mr);
}

int fixture_create(struct fixture *f, struct mrn_verbs_opts opts, char *why, size_t why_size)
{
	memset(why, 0, why_size);
	opts.source = f->source;
	opts.why = why;
	opts.why_size = why_size;
	return mrn_verbs_create(f->pair.pd, &opts, &f->v);
}

void fixture_open(struct fixture *f, unsigned int access)
{
	struct mrn_verbs_opts opts = {.size = sizeof(opts), .access = access};
	char why[256];
	int r;

	fixture_open_device(f);
	r = fixture_create(f, opts, why, sizeof(why));
	CHECK_MSG(r == 0, "%d: %s", r, why);
	/* The source's thread runs already, and looks at it. */
	break_now(&fixture_break);
}

void fixture_close(struct fixture *f)
{
	CHECK_EQ(fixture_stats(f).entries_in_use, 0);
	CHECK_ERR(mrn_verbs_destroy(f->v), 0);
	CHECK_EQ(verbs_device_live(), 1);
	CHECK_ERR(ibv_dereg_mr(f->other_mr), 0);
	pair_close(&f->pair);
	CHECK_ERR(mrn_source_detach(f->source), 0);
}

char *fixture_remap(char *p, size_t length, char fill)
{
	CHECK(mmap(p, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
	memset(p, fill, length);
	return p;
}

struct mrn_regcache_stats fixture_stats(struct fixture *f)
{
	struct mrn_regcache_stats stats;

	CHECK_ERR(mrn_verbs_get_stats(f->v, &stats, sizeof(stats)), 0);
	return stats;
}

/* -------------------------------------------------------------------------------------- transfers */

static void transfer(struct fixture *f, enum ibv_wr_opcode opcode, const char *addr, size_t length,
		     unsigned int access)
{
	struct mrn_verbs_mr *mr;
	struct ibv_sge sge;

	CHECK_ERR(mrn_verbs_prep_sge(f->v, &sge, addr, length, access, &mr), 0);
	CHECK_EQ(sge.lkey, mrn_verbs_lkey(mr));
	pair_post(&f->pair, opcode, (void *)(uintptr_t)sge.addr, sge.lkey, sge.length, f->other,
		  f->other_mr->rkey);
	CHECK_EQ(pair_wait(&f->pair), IBV_WC_SUCCESS);
	CHECK_ERR(mrn_verbs_put(mr), 0);
}

void fixture_device_reads(struct fixture *f, const char *addr, size_t length)
{
	transfer(f, IBV_WR_RDMA_WRITE, addr, length, MRN_ACCESS_READ);
}

void fixture_device_writes(struct fixture *f, char *addr, size_t length)
{
	transfer(f, IBV_WR_RDMA_READ, addr, length, MRN_ACCESS_WRITE);
}

char fixture_peek(struct fixture *f, const char *addr)
{
	fixture_device_reads(f, addr, 1);
	return f->other[0];
}
