/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A registration cache over this process's own memory. The "device" is a pipe: registering splices the pages into one,
 * which keeps them as a device's pins would; deregistering closes it. Link with -lmrn-interpose and -lmrn.
 */
#include <errno.h>
#include <fcntl.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* One page: no pipe has less room, not even that of a user who has many (pipe-user-pages-soft). */
#define SIZE 4096u

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	const struct iovec pages = {(void *)entry->addr, entry->length};
	int end[2], r = 0;
	ssize_t n;

	if (pipe2(end, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	n = vmsplice(end[1], &pages, 1, 0);
	if (n < 0)
		r = -errno;
	else if ((size_t)n < entry->length)
		r = -ENOSPC;
	close(end[1]);
	if (r)
		close(end[0]);
	entry->handle.u64 = (uint64_t)end[0];
	return r;
}

/* By the handle, not by the address: other memory may be there by now. */
static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	close((int)entry->handle.u64);
}

static const struct mrn_regcache_ops ops = {register_range, deregister_range};

/* One transfer: take a registration, let the device use it, give it back. */
static int transfer(struct mrn_regcache *cache, const char *what, void *addr)
{
	const struct mrn_regcache_entry *entry;
	struct mrn_regcache_stats s;
	int r = mrn_regcache_get(cache, addr, SIZE, MRN_ACCESS_READ, &entry);

	if (r) {
		fprintf(stderr, "regcache: %s: %s\n", what, strerror(-r));
		return r;
	}
	mrn_regcache_put(entry);
	mrn_regcache_get_stats(cache, &s, sizeof(s));
	printf("%-16s registrations %llu, hits %llu, invalidations %llu\n", what,
	       (unsigned long long)s.registrations, (unsigned long long)s.hits,
	       (unsigned long long)s.invalidations);
	return 0;
}

int main(void)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char why[256] = "", *p = mmap(NULL, SIZE, prot, flags, -1, 0);
	struct mrn_regcache_opts cache_opts = {.size = sizeof(cache_opts), .ops = &ops};
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = MRN_COVER_PAGES};
	struct mrn_regcache_stats s;
	struct mrn_regcache *cache;

	if (p == MAP_FAILED)
		return 1;
	opts.why = why;
	opts.why_size = sizeof(why);
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &cache_opts.source)) {
		fprintf(stderr, "regcache: skipped: %s\n", why);
		return 77;
	}
	if (mrn_regcache_create(&cache_opts, &cache))
		return 1;
	if (transfer(cache, "first", p) || transfer(cache, "again", p))
		return 1;
	munmap(p, SIZE);
	if (mmap(p, SIZE, prot, flags | MAP_FIXED, -1, 0) != p)
		return 1;
	if (transfer(cache, "after munmap", p))
		return 1;
	mrn_regcache_get_stats(cache, &s, sizeof(s));
	mrn_regcache_destroy(cache);
	mrn_source_detach(cache_opts.source);
	return !(s.registrations == 2 && s.hits == 1 && s.invalidations_by[MRN_CAUSE_MUNMAP] == 1);
}
