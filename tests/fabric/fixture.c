/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fabric/fixture.h"

#define ALL_MODES (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY)

static void open_side(struct side *s, const char *provider)
{
	struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};
	struct fi_av_attr av = {.type = FI_AV_MAP};
	struct fi_info *hints = fi_allocinfo();
	int r;

	hints->fabric_attr->prov_name = strdup(provider);
	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_RMA | FI_MSG;
	hints->domain_attr->mr_mode = ALL_MODES;
	hints->addr_format = FI_SOCKADDR_IN;
	r = fi_getinfo(FI_VERSION(1, 14), "127.0.0.1", NULL, FI_SOURCE, hints, &s->info);
	fi_freeinfo(hints);
	if (r)
		SKIP("no provider %s here (%s)", provider, fi_strerror(-r));
	CHECK_ERR(fi_fabric(s->info->fabric_attr, &s->fabric, NULL), 0);
	CHECK_ERR(fi_domain(s->fabric, s->info, &s->domain, NULL), 0);
	CHECK_ERR(fi_cq_open(s->domain, &cq, &s->cq, NULL), 0);
	CHECK_ERR(fi_av_open(s->domain, &av, &s->av, NULL), 0);
	CHECK_ERR(fi_endpoint(s->domain, s->info, &s->ep, NULL), 0);
	CHECK_ERR(fi_ep_bind(s->ep, &s->cq->fid, FI_TRANSMIT | FI_RECV), 0);
	CHECK_ERR(fi_ep_bind(s->ep, &s->av->fid, 0), 0);
	CHECK_ERR(fi_enable(s->ep), 0);
}

static void make_cache(struct side *s, struct mrn_source *source, uint64_t access,
		       unsigned int registrations)
{
	char why[256] = "";
	struct mrn_fabric_opts opts = {
		.size = sizeof(opts),
		.source = source,
		.access = access,
		.registrations = registrations,
		.why = why,
		.why_size = sizeof(why),
	};
	int r = mrn_fabric_create(s->domain, s->info, &opts, &s->f);

	CHECK_MSG(r == 0, "%d: %s", r, why);
}

void fixture_open(struct fixture *f, const char *provider, unsigned int registrations)
{
	char name[64];
	size_t length = sizeof(name);

	open_side(&f->here, provider);
	open_side(&f->there, provider);
	f->source = fixture_source();
	make_cache(&f->here, f->source, 0, registrations);
	make_cache(&f->there, f->source, FI_REMOTE_READ | FI_REMOTE_WRITE, registrations);
	CHECK_ERR(fi_getname(&f->there.ep->fid, name, &length), 0);
	CHECK_EQ(fi_av_insert(f->here.av, name, 1, &f->peer, 0, NULL), 1);
	break_now(&fixture_break);
}

static void close_side(struct side *s)
{
	struct mrn_regcache_stats stats;

	CHECK_ERR(mrn_fabric_get_stats(s->f, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.entries_in_use, 0);
	CHECK_EQ(mrn_fabric_stuck(s->f), 0);
	CHECK_ERR(mrn_fabric_destroy(s->f), 0);
	CHECK_ERR(fi_close(&s->ep->fid), 0);
	CHECK_ERR(fi_close(&s->av->fid), 0);
	CHECK_ERR(fi_close(&s->cq->fid), 0);
	/* With a registration left open it is busy. */
	CHECK_ERR(fi_close(&s->domain->fid), 0);
	CHECK_ERR(fi_close(&s->fabric->fid), 0);
	fi_freeinfo(s->info);
}

void fixture_close_sides(struct fixture *f)
{
	close_side(&f->here);
	close_side(&f->there);
}

void fixture_close(struct fixture *f)
{
	fixture_close_sides(f);
	CHECK_ERR(mrn_source_detach(f->source), 0);
}

void fixture_remap(char *p, size_t length, char fill)
{
	CHECK_EQ(munmap(p, length), 0);
	CHECK(mmap(p, length, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	memset(p, fill, length);
}

/* -------------------------------------------------------------------------------------- transfers */

/* Each side makes progress only when its queue is read. */
static int progress(struct fixture *f)
{
	struct fi_cq_err_entry error = {0};
	struct fi_cq_entry entry;
	ssize_t r;

	fi_cq_read(f->there.cq, &entry, 1);
	r = fi_cq_read(f->here.cq, &entry, 1);
	if (r == -FI_EAVAIL) {
		CHECK_EQ(fi_cq_readerr(f->here.cq, &error, 0), 1);
		return -error.err;
	}
	return (int)r;
}

static int transfer(struct fixture *f, char *local, size_t length, uint64_t addr, uint64_t key,
		    bool is_write)
{
	unsigned int access = is_write ? MRN_ACCESS_READ : MRN_ACCESS_WRITE;
	struct mrn_fabric_mr *mr;
	ssize_t r;

	CHECK_ERR(mrn_fabric_mr_get(f->here.f, local, length, access, &mr), 0);
	do {
		void *desc = mrn_fabric_mr_desc(mr);

		r = is_write ? fi_write(f->here.ep, local, length, desc, f->peer, addr, key, NULL)
			     : fi_read(f->here.ep, local, length, desc, f->peer, addr, key, NULL);
		if (r == -FI_EAGAIN)
			progress(f);
	} while (r == -FI_EAGAIN);
	CHECK_ERR(r, 0);
	do {
		r = progress(f);
	} while (r == -FI_EAGAIN);
	CHECK_ERR(mrn_fabric_mr_put(mr), 0);
	return r == 1 ? 0 : (int)r;
}

int fixture_write(struct fixture *f, const char *local, size_t length, uint64_t addr, uint64_t key)
{
	return transfer(f, (char *)(uintptr_t)local, length, addr, key, true);
}

int fixture_read(struct fixture *f, char *local, size_t length, uint64_t addr, uint64_t key)
{
	return transfer(f, local, length, addr, key, false);
}
