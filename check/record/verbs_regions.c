/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdint.h>

#include "check/record/above.h"
#include "check/record/keys.h"
#include "check/record/registration.h"
#include "check/record/verbs.h"
#include "check/shared/check.h"
#include "os/behind.h"
#include "os/thread.h"

#include "os/event_path.h"

/* verbs.h has macros of these names, which choose between the functions. */
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

/* What is written or read by others, under an rkey: nobody here sees that. */
#define REMOTE                                                                         \
	(IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | \
	 IBV_ACCESS_MW_BIND)

/* By lkey. The words of each value: */
static struct check_keys regions;
enum {
	REG,	/* the registration */
	OFFSET, /* what to add to an address in a work request to get the program's */
	ACCESS	/* as it was registered */
};

/* libibverbs registers by calling its own functions, by names that lead here again. */
static MRN_TLS bool inside;

static struct check_key key_of(const struct ibv_context *context, uint32_t lkey)
{
	return (struct check_key){(uintptr_t)context, lkey};
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[REG];
}

/* ---------------------------------------------------------------------------------------- regions */

/*
 * A region that pages are faulted into on demand follows its memory. Libraries allow others more than the program does,
 * and know who can reach it.
 */
static struct check_reg *begin(const void *addr, size_t length, unsigned int access)
{
	bool unseen = access & REMOTE && !check_above.registers;

	if (access & IBV_ACCESS_ON_DEMAND)
		check_above.on_demand = check_above.registers;
	if (!addr || !length || access & IBV_ACCESS_ON_DEMAND)
		return NULL;
	return check_reg_begin(CHECK_VERBS, (uintptr_t)addr, length,
			       unseen ? CHECK_UNSEEN_USES : 0);
}

static void enter(const struct ibv_mr *mr, struct check_reg *reg, uint64_t offset,
		  unsigned int access)
{
	struct check_key key = key_of(mr->context, mr->lkey);
	struct check_value old, value = {.word = {(uintptr_t)reg, offset, access}};

	/* Whoever had this number has ended without our seeing it. */
	if (check_keys_take(&regions, key, &old))
		check_reg_end(reg_of(&old));
	check_reg_done(reg, mr->lkey);
	if (check_keys_put(&regions, key, value))
		check_reg_end(reg);
	else
		check_verbs_see_posts(mr->context);
}

/* What was begun has come to this: a region, or NULL. */
static struct ibv_mr *done(struct ibv_mr *mr, struct check_reg *reg, const void *addr,
			   uint64_t iova, unsigned int access)
{
	/* Work requests then count from the region's start. */
	if (access & IBV_ACCESS_ZERO_BASED)
		iova = 0;
	if (!mr)
		check_reg_end(reg);
	else if (reg)
		enter(mr, reg, MRN_BROKEN(CHECK_VERBS_IOVA) ? 0 : (uintptr_t)addr - iova, access);
	return mr;
}

#define REGISTER(name, iova, ...)                                       \
	do {                                                            \
		__typeof__(&(name)) behind = CHECK_VERBS_BEHIND(name);  \
		struct check_reg *reg;                                  \
		struct ibv_mr *mr;                                      \
                                                                        \
		if (!behind) {                                          \
			errno = ENOSYS;                                 \
			return NULL;                                    \
		}                                                       \
		if (inside && !MRN_BROKEN(CHECK_VERBS_TWICE))           \
			return behind(__VA_ARGS__);                     \
		inside = true;                                          \
		reg = begin(addr, length, (unsigned int)access);        \
		mr = behind(__VA_ARGS__);                               \
		inside = false;                                         \
		return done(mr, reg, addr, iova, (unsigned int)access); \
	} while (0)

CHECK_EXPORTED struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	REGISTER(ibv_reg_mr, (uintptr_t)addr, pd, addr, length, access);
}

CHECK_EXPORTED struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length,
					      uint64_t iova, int access)
{
	REGISTER(ibv_reg_mr_iova, iova, pd, addr, length, iova, access);
}

CHECK_EXPORTED struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length,
					       uint64_t iova, unsigned int access)
{
	REGISTER(ibv_reg_mr_iova2, iova, pd, addr, length, iova, access);
}

CHECK_EXPORTED int ibv_dereg_mr(struct ibv_mr *mr)
{
	__typeof__(&ibv_dereg_mr) behind = CHECK_VERBS_BEHIND(ibv_dereg_mr);
	struct check_key key = key_of(mr->context, mr->lkey);
	struct check_value value;
	bool known;
	int r;

	if (!behind)
		return ENOSYS;
	/* Before the call: after it the number may be another region's. */
	known = check_keys_take(&regions, key, &value);
	r = behind(mr);
	if (known &&
	    (!r || MRN_BROKEN(CHECK_VERBS_REFUSED) || check_keys_put(&regions, key, value)))
		check_reg_end(reg_of(&value));
	return r;
}

/*
 * The region has other memory, or is what it was, or is none any more. If only its access changes, its pages stay those
 * that it has; whether its uses can be seen is then still judged by how it was registered.
 */
CHECK_EXPORTED int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
				size_t length, int access)
{
	__typeof__(&ibv_rereg_mr) behind = CHECK_VERBS_BEHIND(ibv_rereg_mr);
	struct check_key key = key_of(mr->context, mr->lkey);
	bool moves = flags & IBV_REREG_MR_CHANGE_TRANSLATION, known;
	struct check_value old = {{0}};
	struct check_reg *reg = NULL;
	int r;

	if (!behind)
		return IBV_REREG_MR_ERR_INPUT;
	known = check_keys_take(&regions, key, &old);
	if (!(flags & IBV_REREG_MR_CHANGE_ACCESS))
		access = (int)old.word[ACCESS];
	/* A region that is not known may be one on demand. */
	if (moves && (known || flags & IBV_REREG_MR_CHANGE_ACCESS))
		reg = begin(addr, length, (unsigned int)access);
	r = behind(mr, flags, pd, addr, length, access);
	switch (r) {
	case 0:
	case IBV_REREG_MR_ERR_DO_FORK_OLD:
		if (moves) {
			check_reg_end(reg_of(&old));
			done(mr, reg, addr, (uintptr_t)addr, (unsigned int)access);
		} else if (known) {
			/* The number may be another one. */
			enter(mr, reg_of(&old), old.word[OFFSET], (unsigned int)access);
		}
		return r;
	case IBV_REREG_MR_ERR_INPUT:
	case IBV_REREG_MR_ERR_DONT_FORK_NEW:
		check_reg_end(reg);
		if (known && check_keys_put(&regions, key, old))
			check_reg_end(reg_of(&old));
		return r;
	default:
		check_reg_end(reg);
		check_reg_end(reg_of(&old));
		return r;
	}
}

/* ------------------------------------------------------------------------------------------- uses */

/* More than any device takes: such a list is refused, and may be shorter than it claims. */
#define MAX_PARTS 256

void check_verbs_use(const struct ibv_context *context, const struct ibv_sge *list, size_t nr,
		     const char *op)
{
	struct check_value value;

	for (size_t i = 0; i < nr && nr <= MAX_PARTS; i++) {
		uintptr_t addr = list[i].addr;

		if (!list[i].length ||
		    !check_keys_find(&regions, key_of(context, list[i].lkey), &value))
			continue;
		addr += value.word[OFFSET];
		if (!check_above_has_told(addr, list[i].length))
			check_use(reg_of(&value), addr, list[i].length, op);
	}
}

void check_verbs_restart(void)
{
	check_keys_clear(&regions);
	inside = false;
}
