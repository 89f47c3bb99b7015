/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the cache on this process's own memory share. Built without the interposer they run
 * on userfaultfd alone and ask for what it sees; with it, on all there is, and ask for everything.
 *
 * The stub notes the first eight bytes of each page when it registers. A test that compares them later
 * must therefore not write there while the page stays.
 */
#ifndef TESTS_REGCACHE_LIVE_H
#define TESTS_REGCACHE_LIVE_H

#include <sys/mman.h>

#include "os/syscall.h"
#include "source/interposer.h"
#include "tests/regcache/fixture.h"

struct live {
	struct rig rig;
	struct mrn_source *source;
	bool bracketed; /* the interposer is here */
};

HELPER void live_attach(struct live *l)
{
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	unsigned int kinds;
	int r;

	l->bracketed = mrn_interposer_is_present();
	kinds = l->bracketed ? MRN_SOURCE_AUTO : MRN_SOURCE_UFFD;
	opts.need = l->bracketed ? MRN_COVER_PAGES : MRN_COVER_UFFD;
	r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &l->source);
	if (r == -EPERM || r == -ENOSYS || r == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_ERR(r, 0);
}

HELPER void live_init(struct live *l, struct mrn_regcache_opts config)
{
	struct rig *rig = &l->rig;

	live_attach(l);
	stub_init(&rig->dev);
	rig->dev.memory = STUB_REAL;
	rig->mm = config.mm = mrn_mm_self();
	config.size = sizeof(config);
	config.source = l->source;
	if (!l->bracketed)
		config.need = MRN_COVER_UFFD;
	config.ops = &stub_ops;
	config.ctx = &rig->dev;
	CHECK_ERR(mrn_regcache_create(&config, &rig->cache), 0);
}

#define LIVE(name, ...)   \
	struct live name; \
	live_init(&name, (struct mrn_regcache_opts){__VA_ARGS__})

HELPER void live_exit(struct live *l)
{
	check_stats(l->rig.cache, &l->rig.dev);
	CHECK_ERR(mrn_regcache_destroy(l->rig.cache), 0);
	stub_exit(&l->rig.dev);
	CHECK(!l->rig.mm->index.root);
	CHECK_ERR(mrn_source_detach(l->source), 0);
}

/* Writes the pages' generations, as the stub reads them. */
HELPER void fill(void *at, size_t length, uint64_t generation)
{
	for (size_t i = 0; i < length; i += mrn_page_size())
		*(volatile uint64_t *)((char *)at + i) = generation;
}

HELPER void *map(void *at, size_t length, uint64_t generation)
{
	void *p = mmap(at, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(!at || p == at);
	fill(p, length, generation);
	return p;
}

/* Gets and puts; the registration must have been made of this generation. Returns which it was. */
HELPER uint64_t live_touch(struct live *l, void *at, size_t length, uint64_t generation)
{
	const struct mrn_regcache_entry *e = NULL;
	struct stub_reg *r;
	uint64_t serial;

	CHECK_ERR(mrn_regcache_get(l->rig.cache, at, length, RD | WR, &e), 0);
	accept_entry(&l->rig.dev, e, (uintptr_t)at, length, RD | WR);
	r = stub_reg(e);
	for (size_t i = 0; i < length; i += mrn_page_size())
		CHECK_EQ(stub_generation(r, (uintptr_t)at + i), generation);
	serial = r->serial;
	put(&l->rig, e);
	return serial;
}

#endif
