/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A provider with a cache may return a region that the program has already: then it has two registrations, which end one
 * after the other, and whose descriptor is the same. Which of them ends first does not matter: the pages are those that
 * the provider pinned first. A use is judged by the newest registration that has the bytes: memory that is registered
 * again is not stale.
 */
#include "check/record/above.h"
#include "check/record/calls.h"
#include "check/record/fabric.h"
#include "check/record/keys.h"
#include "check/record/registration.h"
#include "check/shared/check.h"
#include "os/thread.h"

#include "os/event_path.h"

#ifndef FI_MR_DMABUF
#define FI_MR_DMABUF (UINT64_C(1) << 40) /* from 1.20 on */
#endif

/* What others read or write, nobody here sees. */
#define REMOTE (FI_REMOTE_READ | FI_REMOTE_WRITE)

/* Further parts of one registration are not followed. */
#define MAX_PARTS 16

/* A part by its domain and descriptor; and again by the region's address. The words of each value: */
static struct check_keys regions;
static const char region_scope;
enum { REG, START, LENGTH, NUMBER };  /* NUMBER: the newest has the highest */
enum { REG_OF, DOMAIN, DESC, PARTS }; /* PARTS: how many its registration has */

static uint64_t newest;

/* A provider may register by calling a function of the same table. */
static MRN_TLS bool inside;

static struct check_key key_of(const struct fid *region)
{
	return (struct check_key){(uintptr_t)&region_scope, (uintptr_t)region};
}

static struct check_key used_by(uintptr_t domain, const void *desc)
{
	return (struct check_key){domain, (uintptr_t)desc};
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[REG];
}

/* ------------------------------------------------------------------------------------- registering */

struct parts {
	struct iovec part[MAX_PARTS];
	struct check_reg *reg[MAX_PARTS];
	size_t nr;
	struct check_above above; /* as it was before */
};

static bool is_followed(const struct fid_domain *domain)
{
	struct check_fabric_domain known;

	return !inside && check_fabric_domain_is_known(domain, &known) && !known.on_demand;
}

/*
 * Between begin and done, registrations of others in this thread are this one's. A provider may refuse a list for its
 * length alone, and then the list need not be there.
 */
static void begin(struct parts *parts, const struct iovec *part, size_t nr, uint64_t access)
{
	parts->nr = 0;
	for (size_t i = 0; i < nr && nr <= CHECK_FABRIC_PARTS && parts->nr < MAX_PARTS; i++) {
		struct check_reg *reg = NULL;
		struct iovec one;

		if (check_read(&one, (uintptr_t)&part[i], sizeof(one)))
			break;
		if (one.iov_base && one.iov_len)
			reg = check_reg_begin(CHECK_FABRIC, (uintptr_t)one.iov_base, one.iov_len,
					      access & REMOTE ? CHECK_UNSEEN_USES : 0);
		if (!reg)
			continue;
		parts->part[parts->nr] = one;
		parts->reg[parts->nr++] = reg;
	}
	parts->above = check_above;
	check_above = (struct check_above){.registers = !MRN_BROKEN(CHECK_FABRIC_TWICE)};
	inside = true;
}

static void enter(const struct fid_domain *domain, const struct fid_mr *mr,
		  const struct iovec *part, struct check_reg *reg, size_t nr)
{
	const struct check_value used = {
		.word = {
			[REG] = (uintptr_t)reg,
			[START] = (uintptr_t)part->iov_base,
			[LENGTH] = part->iov_len,
			[NUMBER] = __atomic_add_fetch(&newest, 1, __ATOMIC_RELAXED),
		}};
	const struct check_value own = {.word = {
						[REG_OF] = (uintptr_t)reg,
						[DOMAIN] = (uintptr_t)domain,
						[DESC] = (uintptr_t)mr->mem_desc,
						[PARTS] = nr,
					}};
	const struct check_key key = used_by((uintptr_t)domain, mr->mem_desc);
	struct check_value lost;

	check_reg_done(reg, mr->key);
	if (check_keys_put(&regions, key, used))
		check_reg_end(reg);
	else if (check_keys_put(&regions, key_of(&mr->fid), own) &&
		 check_keys_take_first(&regions, key, (uintptr_t)reg, &lost))
		check_reg_end(reg);
}

/* What was begun has come to this: a region, or NULL. It is not followed if its end would not be seen. */
static void done(const struct parts *parts, const struct fid_domain *domain, struct fid_mr *mr)
{
	const bool on_demand = check_above.on_demand;

	check_above = parts->above;
	inside = false;
	if (on_demand)
		check_fabric_domain_follows(domain);
	if (on_demand || !mr || !check_fabric_front_fid(&mr->fid)) {
		for (size_t i = 0; i < parts->nr; i++)
			check_reg_end(parts->reg[i]);
		return;
	}
	for (size_t i = 0; i < parts->nr; i++)
		enter(domain, mr, &parts->part[i], parts->reg[i], parts->nr);
}

/* In a function of the table's; further arguments: its own. */
#define REGISTER(member, part, nr, access, ...)                                        \
	do {                                                                           \
		struct fid_domain *domain = container_of(fid, struct fid_domain, fid); \
		__typeof__(&mr_##member) behind =                                      \
			CHECK_FABRIC_BEHIND(domain->mr, member, mr_##member);          \
		struct parts parts;                                                    \
		int r;                                                                 \
                                                                                       \
		if (!behind)                                                           \
			return -FI_ENOSYS;                                             \
		if (!is_followed(domain))                                              \
			return behind(__VA_ARGS__);                                    \
		begin(&parts, part, nr, access);                                       \
		r = behind(__VA_ARGS__);                                               \
		done(&parts, domain, r ? NULL : *mr);                                  \
		return r;                                                              \
	} while (0)

static int mr_reg(struct fid *fid, const void *addr, size_t length, uint64_t access,
		  uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr, void *context)
{
	const struct iovec part = {(void *)(uintptr_t)addr, length};

	REGISTER(reg, &part, 1, access, fid, addr, length, access, offset, key, flags, mr, context);
}

static int mr_regv(struct fid *fid, const struct iovec *part, size_t nr, uint64_t access,
		   uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr, void *context)
{
	REGISTER(regv, part, nr, access, fid, part, nr, access, offset, key, flags, mr, context);
}

/* A program that has not asked for memory of devices may be of a time when attr did not say whose it is. */
static bool is_the_process_s(const struct fid_domain *domain, const struct fi_mr_attr *attr,
			     uint64_t flags)
{
	struct check_fabric_domain known;

	return !(flags & FI_MR_DMABUF) && (!check_fabric_domain_is_known(domain, &known) ||
					   !known.has_devices || attr->iface == FI_HMEM_SYSTEM);
}

static int mr_regattr(struct fid *fid, const struct fi_mr_attr *attr, uint64_t flags,
		      struct fid_mr **mr)
{
	const bool counts =
		is_the_process_s(container_of(fid, struct fid_domain, fid), attr, flags);

	REGISTER(regattr, attr->mr_iov, counts ? attr->iov_count : 0, attr->access, fid, attr,
		 flags, mr);
}

void check_fabric_see_regions(struct fid_domain *domain)
{
	static const struct check_fabric_slot slots[] = {
		CHECK_FABRIC_SLOT(struct fi_ops_mr, reg, mr_reg),
		CHECK_FABRIC_SLOT(struct fi_ops_mr, regv, mr_regv),
		CHECK_FABRIC_SLOT(struct fi_ops_mr, regattr, mr_regattr),
	};

	check_fabric_front(domain->mr, slots, sizeof(slots) / sizeof(slots[0]));
}

/* --------------------------------------------------------------------------------------- their ends */

/* Whoever takes what it is used by ends it. */
static void end(const struct check_value *own)
{
	struct check_value used;

	if (check_keys_take_first(&regions, (struct check_key){own->word[DOMAIN], own->word[DESC]},
				  own->word[REG_OF], &used))
		check_reg_end(reg_of(&used));
}

int check_fabric_close_region(struct fid *fid, int (*close)(struct fid *fid))
{
	struct check_value own[MAX_PARTS];
	size_t nr = 0;
	int r;

	/* Before the call: after it another region may be there. */
	while (nr < MAX_PARTS && (!nr || nr < own[0].word[PARTS]) &&
	       check_keys_take(&regions, key_of(fid), &own[nr]))
		nr++;
	r = close(fid);
	for (size_t i = 0; i < nr; i++)
		if (!r || MRN_BROKEN(CHECK_FABRIC_ENDED) ||
		    check_keys_put(&regions, key_of(fid), own[i]))
			end(&own[i]);
	return r;
}

static bool is_of(struct check_key key, const struct check_value *value, const void *domain)
{
	return key.scope == (uintptr_t)&region_scope && value->word[DOMAIN] == (uintptr_t)domain;
}

void check_fabric_end_regions(const struct fid_domain *domain)
{
	check_keys_sweep(&regions, is_of, domain, end);
}

/* ---------------------------------------------------------------------------------------- pinned anew */

static void pin_again(const struct check_value *own, void *arg)
{
	const struct iovec *part = arg;

	if (!MRN_BROKEN(CHECK_FABRIC_AGAIN))
		check_reg_again((struct check_reg *)(uintptr_t)own->word[REG_OF],
				(uintptr_t)part->iov_base, part->iov_len);
}

void check_fabric_pin_again(const struct fid *fid, const struct iovec *part, size_t nr)
{
	struct iovec one;

	for (size_t i = 0; i < nr && !check_read(&one, (uintptr_t)&part[i], sizeof(one)); i++)
		check_keys_each(&regions, key_of(fid), pin_again, &one);
}

void check_fabric_pin_all_again(const struct fid *fid)
{
	struct iovec all = {.iov_len = SIZE_MAX};

	check_keys_each(&regions, key_of(fid), pin_again, &all);
}

/* ------------------------------------------------------------------------------------------- uses */

struct search {
	uintptr_t addr;
	size_t length;
	struct check_value found; /* NUMBER: 0 if there is none so far */
};

static void consider(const struct check_value *value, void *arg)
{
	struct search *search = arg;
	const uint64_t offset = search->addr - value->word[START];

	if (offset < value->word[LENGTH] && search->length <= value->word[LENGTH] - offset &&
	    value->word[NUMBER] > search->found.word[NUMBER])
		search->found = *value;
}

void check_fabric_use(const struct fid_ep *ep, const void *addr, size_t length, const void *desc,
		      const char *op)
{
	struct search search = {.addr = (uintptr_t)addr, .length = length};
	const uintptr_t domain = desc && length ? check_fabric_domain_of(ep) : 0;

	if (!domain)
		return;
	check_keys_each(&regions, used_by(domain, desc), consider, &search);
	if (search.found.word[NUMBER] &&
	    check_use(reg_of(&search.found), search.addr, length, op) &&
	    !MRN_BROKEN(CHECK_FABRIC_TWICE))
		check_above_tell(search.addr, length);
}

void check_fabric_use_parts(const struct fid_ep *ep, const struct iovec *part, void *const *desc,
			    size_t nr, const char *op)
{
	for (size_t i = 0; desc && i < nr && nr <= CHECK_FABRIC_PARTS; i++)
		check_fabric_use(ep, part[i].iov_base, part[i].iov_len, desc[i], op);
}

void check_fabric_restart(void)
{
	check_fabric_objects_restart();
	check_keys_clear(&regions);
	inside = false;
	check_above = (struct check_above){0};
}
