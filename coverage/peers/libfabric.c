/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-peer-libfabric: libfabric's cache of memory registrations, over the device that pins.
 *
 *	mrn-peer-libfabric memhooks|uffd [cause ...]
 *	mrn-peer-libfabric-mrn mrn [cause ...]
 *
 * The second program is linked with libmrn-interpose, and has libmrn-libfabric's sources over the archive's libfabric.
 *
 * The cache is for libfabric's own providers: libfabric.so does not export it and no installed header declares it, but
 * libfabric.a has it. So this program declares what it needs, as laid out in the compiled library of version 1.17 on a
 * 64-bit machine; open_cache checks this.
 */
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mrn/libfabric.h>

#include "coverage/peers/peer.h"

/* Only in the second program. */
extern __typeof__(mrn_libfabric_begin) mrn_libfabric_begin __attribute__((weak));
extern __typeof__(mrn_libfabric_install) mrn_libfabric_install __attribute__((weak));

struct ofi_mem_monitor;
struct util_domain;

struct ofi_mr_info {
	struct iovec iov;
	int iface; /* enum fi_hmem_iface */
	char of_other_memory[84];
};

struct ofi_mr_entry {
	struct ofi_mr_info info;
	char state[40];
	struct pin pin; /* ours: the cache allocates entry_data_size more */
};

#define MEMORY_KINDS 6

struct ofi_mr_cache {
	struct util_domain *domain;
	struct ofi_mem_monitor *monitors[MEMORY_KINDS];
	char notify[MEMORY_KINDS][16];
	size_t entry_data_size;
	char state[136];
	size_t cached_count, cached_size;
	size_t uncached_count, uncached_size;
	size_t searches, deletes, hits, notifications;
	void *pool;
	int (*add_region)(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);
	void (*delete_region)(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);
	char slack[256];
};

_Static_assert(sizeof(struct ofi_mr_info) == 0x68 && offsetof(struct ofi_mr_entry, pin) == 0x90 &&
		       offsetof(struct ofi_mr_cache, entry_data_size) == 0x98 &&
		       offsetof(struct ofi_mr_cache, cached_count) == 0x128 &&
		       offsetof(struct ofi_mr_cache, add_region) == 0x170,
	       "as in libfabric 1.17");

extern struct ofi_mem_monitor *default_monitor, *memhooks_monitor, *uffd_monitor, *import_monitor;

int ofi_mr_cache_init(struct util_domain *domain, struct ofi_mem_monitor **monitors,
		      struct ofi_mr_cache *cache);
int ofi_mr_cache_search(struct ofi_mr_cache *cache, const struct ofi_mr_info *info,
			struct ofi_mr_entry **entry);
void ofi_mr_cache_delete(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);

static struct ofi_mr_cache cache;

/* What may be told to watch, and how libfabric's variable calls it: it must not be set for mrn. */
static const struct monitor {
	const char *word, *name, *variable;
	struct ofi_mem_monitor **is;
} all_monitors[] = {
	{"memhooks", "libfabric-memhooks", "memhooks", &memhooks_monitor},
	{"uffd", "libfabric-uffd", "userfaultfd", &uffd_monitor},
	{"mrn", "libfabric-mrn", NULL, &import_monitor},
};
static const struct monitor *chosen;

static int add_region(struct ofi_mr_cache *c, struct ofi_mr_entry *entry)
{
	/* As libmrn-libfabric-preload.so does in front of ibv_reg_mr. */
	if (mrn_libfabric_begin)
		mrn_libfabric_begin(entry->info.iov.iov_base, entry->info.iov.iov_len);
	return peer_register(&entry->pin, entry->info.iov.iov_base, entry->info.iov.iov_len);
}

static void delete_region(struct ofi_mr_cache *c, struct ofi_mr_entry *entry)
{
	pin_release(&entry->pin);
}

/* A domain of a provider that needs no device. Caches belong to a domain, and log in its name. */
static int open_domain(struct fid_domain **domain)
{
	struct fi_info *hints = fi_allocinfo(), *info = NULL;
	struct fid_fabric *fabric;
	int r;

	if (!hints)
		return -ENOMEM;
	hints->fabric_attr->prov_name = strdup("udp");
	hints->mode = ~0ULL;
	r = fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &info);
	if (!r)
		r = fi_fabric(info->fabric_attr, &fabric, NULL);
	if (!r)
		r = fi_domain(fabric, info, domain, NULL);
	fi_freeinfo(hints);
	fi_freeinfo(info);
	return r;
}

static int get(char *addr, size_t length, void **entry, const struct pin **pin)
{
	const struct ofi_mr_info info = {.iov = {.iov_base = addr, .iov_len = length},
					 .iface = FI_HMEM_SYSTEM};
	struct ofi_mr_entry *found = NULL;
	int r = ofi_mr_cache_search(&cache, &info, &found);

	if (r)
		return r;
	*entry = found;
	*pin = &found->pin;
	return 0;
}

static void put(void *entry)
{
	ofi_mr_cache_delete(&cache, entry);
}

/* True if the library lays the structures out as declared here; otherwise it would crash. */
static bool is_laid_out_so(void)
{
	static char memory[65536];
	const struct pin *pin;
	struct ofi_mr_entry *mine;
	void *entry;
	bool so;

	for (size_t i = 0; i < sizeof(cache.slack); i++)
		if (cache.slack[i])
			return false;
	if (get(memory, sizeof(memory), &entry, &pin))
		return false;
	mine = entry;
	so = cache.searches == 1 && cache.hits == 0 && cache.deletes == 0 &&
	     cache.cached_count + cache.uncached_count == 1 &&
	     cache.cached_size + cache.uncached_size == sizeof(memory) &&
	     mine->info.iov.iov_base == memory && mine->info.iov.iov_len == sizeof(memory) &&
	     pin->addr == memory && pin->length == sizeof(memory);
	put(entry);
	return so && cache.deletes == 1;
}

/*
 * In front of libibverbs', which asks for RDMA hardware: the pins here are io_uring's, whose pages stay the parent's after
 * a fork (Linux 5.12). IBV_FORK_UNNEEDED.
 */
int ibv_is_fork_initialized(void);
int ibv_is_fork_initialized(void)
{
	return 2;
}

static int choose(void)
{
	char why[256] = "";
	struct mrn_libfabric_opts opts = {.size = sizeof(opts),
					  .why = why,
					  .why_size = sizeof(why)};
	int r;

	if (chosen->variable)
		return setenv("FI_MR_CACHE_MONITOR", chosen->variable, 1) ? -errno : 0;
	r = mrn_libfabric_install(&opts);
	if (r)
		fprintf(stderr, "%s\n", why);
	return r;
}

static int open_cache(void)
{
	struct ofi_mem_monitor *monitors[MEMORY_KINDS] = {NULL};
	struct fid_domain *domain;
	int r;

	r = choose();
	if (!r)
		r = open_domain(&domain);
	if (r)
		return r;
	if (default_monitor != *chosen->is) {
		fprintf(stderr, "libfabric uses another monitor\n");
		return -EOPNOTSUPP;
	}
	monitors[FI_HMEM_SYSTEM] = default_monitor;
	cache.entry_data_size = sizeof(struct pin);
	cache.add_region = add_region;
	cache.delete_region = delete_region;
	/* A util_domain begins with the domain's handle. */
	r = ofi_mr_cache_init((struct util_domain *)domain, monitors, &cache);
	if (r)
		return r;
	if (!is_laid_out_so()) {
		fprintf(stderr, "libfabric's cache is laid out differently\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct peer peer = {.open = open_cache, .get = get, .put = put};

	for (size_t i = 0; argc > 1 && i < sizeof(all_monitors) / sizeof(all_monitors[0]); i++)
		if (!strcmp(argv[1], all_monitors[i].word))
			chosen = &all_monitors[i];
	if (!chosen || (!chosen->variable && !mrn_libfabric_install)) {
		fprintf(stderr, "usage: mrn-peer-libfabric memhooks|uffd [cause ...]\n"
				"       mrn-peer-libfabric-mrn mrn [cause ...]\n");
		return 2;
	}
	peer.name = chosen->name;
	if (fi_version() < FI_VERSION(1, 17) || fi_version() >= FI_VERSION(1, 18)) {
		fprintf(stderr, "this needs libfabric 1.17\n");
		return 77;
	}
	return peer_main(&peer, argc - 1, argv + 1);
}
