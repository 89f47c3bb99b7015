/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fabrics, domains and endpoints that the program gets, each from one that it has. A provider may open others for itself,
 * by the same functions, in such a call or whenever a peer connects: they are none of the program's.
 *
 * An endpoint may get other tables, or another function in one, when it is bound, enabled or set: libfabric's rules say
 * that nothing else is done with it at that time. So it is looked at again afterwards.
 */
#include "check/record/fabric.h"
#include "check/record/keys.h"
#include "check/shared/check.h"
#include "os/behind.h"
#include "os/thread.h"

#include "os/event_path.h"

#define EXPORTED  __attribute__((visibility("default")))
#define LIBRARY	  "libfabric.so.1"
#define NR(array) (sizeof(array) / sizeof((array)[0]))

/* From 1.20 on; headers of earlier versions have no declaration. */
int fi_fabric2(struct fi_info *info, struct fid_fabric **fabric, uint64_t flags, void *context);

/* By address, while they are there. The words of each value: */
static struct check_keys objects;
static const char scope;
enum { DOMAIN, HAS_DEVICES, ON_DEMAND }; /* of an endpoint: its domain; of a domain: the others */

static MRN_TLS bool inside;

static struct check_key key_of(const void *object)
{
	return (struct check_key){(uintptr_t)&scope, (uintptr_t)object};
}

static bool is_known(const void *object, struct check_value *value)
{
	return check_keys_find(&objects, key_of(object), value);
}

/* False without memory. */
static bool enter(const void *object, struct check_value value)
{
	struct check_value old;

	/* It has ended without our seeing it. */
	while (check_keys_take(&objects, key_of(object), &old))
		;
	return !check_keys_put(&objects, key_of(object), value);
}

bool check_fabric_domain_is_known(const struct fid_domain *domain,
				  struct check_fabric_domain *known)
{
	struct check_value value;

	if (!is_known(domain, &value))
		return false;
	known->has_devices = value.word[HAS_DEVICES];
	known->on_demand = value.word[ON_DEMAND];
	return true;
}

void check_fabric_domain_follows(const struct fid_domain *domain)
{
	struct check_value value;

	if (!is_known(domain, &value))
		return;
	value.word[ON_DEMAND] = true;
	/* Without memory it is not known any more, rather than known as what it is not. */
	if (check_keys_replace(&objects, key_of(domain), value))
		check_keys_take(&objects, key_of(domain), &value);
}

uintptr_t check_fabric_domain_of(const struct fid_ep *ep)
{
	struct check_value value;

	return is_known(ep, &value) ? value.word[DOMAIN] : 0;
}

/* --------------------------------------------------------------------------------------- endpoints */

static int ep_setopt(fid_t fid, int level, int name, const void *value, size_t length);
static int ep_tx_ctx(struct fid_ep *sep, int index, struct fi_tx_attr *attr, struct fid_ep **ep,
		     void *context);
static int ep_rx_ctx(struct fid_ep *sep, int index, struct fi_rx_attr *attr, struct fid_ep **ep,
		     void *context);

static const struct check_fabric_slot ep_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_ep, setopt, ep_setopt),
	CHECK_FABRIC_SLOT(struct fi_ops_ep, tx_ctx, ep_tx_ctx),
	CHECK_FABRIC_SLOT(struct fi_ops_ep, rx_ctx, ep_rx_ctx),
};

/* It is known: ours are where they have not been so far. */
static void look_at(struct fid_ep *ep)
{
	check_fabric_front_fid(&ep->fid);
	check_fabric_front(ep->ops, ep_slots, NR(ep_slots));
	/* One that is shared by others, or by which they are made, transfers nothing. */
	if (ep->fid.fclass != FI_CLASS_SEP) {
		check_fabric_see_transfers(ep);
		check_fabric_see_atomics(ep);
	}
}

static void look_again(struct fid *fid)
{
	struct fid_ep *ep = container_of(fid, struct fid_ep, fid);

	if (check_fabric_domain_of(ep))
		look_at(ep);
}

/* Without its end being seen, another one might be taken for it. */
static void see_endpoint(struct fid_ep *ep, uintptr_t domain)
{
	if (domain && check_fabric_front_fid(&ep->fid) &&
	    enter(ep, (struct check_value){.word = {[DOMAIN] = domain}}))
		look_at(ep);
}

/* Nobody's but the program's: not in a call of it to what opens others, nor by the module of what is behind. */
static bool is_the_program_s(const void *caller, check_fabric_function *behind)
{
	return !inside && !mrn_behind_is_one_module(caller, (const void *)(uintptr_t)behind);
}

/* In a function in front of one that opens something: calls what is behind. True if the program has got it. */
#define OPENS(r, behind, ...)                                                         \
	__extension__({                                                               \
		const bool was_ = inside;                                             \
		const bool is_ = is_the_program_s(__builtin_return_address(0),        \
						  (check_fabric_function *)(behind)); \
                                                                                      \
		inside = true;                                                        \
		(r) = (behind)(__VA_ARGS__);                                          \
		inside = was_;                                                        \
		is_ && !(r);                                                          \
	})

static int ep_setopt(fid_t fid, int level, int name, const void *value, size_t length)
{
	struct fid_ep *ep = container_of(fid, struct fid_ep, fid);
	__typeof__(&ep_setopt) behind = CHECK_FABRIC_BEHIND(ep->ops, setopt, ep_setopt);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	r = behind(fid, level, name, value, length);
	look_again(fid);
	return r;
}

/* A function that makes an endpoint, by what is behind it: one of that domain's, if that is the program's, else 0. */
#define ENDPOINT(table, member, parameters, domain_of, from, ...)                   \
	static int table##_##member parameters                                      \
	{                                                                           \
		__typeof__(&table##_##member) behind =                              \
			CHECK_FABRIC_BEHIND((from)->ops, member, table##_##member); \
		int r;                                                              \
                                                                                    \
		if (!behind)                                                        \
			return -FI_ENOSYS;                                          \
		if (OPENS(r, behind, from, __VA_ARGS__))                            \
			see_endpoint(*made, domain_of(from));                       \
		return r;                                                           \
	}

ENDPOINT(ep, tx_ctx,
	 (struct fid_ep * sep, int index, struct fi_tx_attr *attr, struct fid_ep **made,
	  void *context),
	 check_fabric_domain_of, sep, index, attr, made, context)
ENDPOINT(ep, rx_ctx,
	 (struct fid_ep * sep, int index, struct fi_rx_attr *attr, struct fid_ep **made,
	  void *context),
	 check_fabric_domain_of, sep, index, attr, made, context)

/* ----------------------------------------------------------------------------------------- domains */

static uintptr_t itself(const struct fid_domain *domain)
{
	struct check_value value;

	return is_known(domain, &value) ? (uintptr_t)domain : 0;
}

ENDPOINT(domain, endpoint,
	 (struct fid_domain * domain, struct fi_info *info, struct fid_ep **made, void *context),
	 itself, domain, info, made, context)
ENDPOINT(domain, endpoint2,
	 (struct fid_domain * domain, struct fi_info *info, struct fid_ep **made, uint64_t flags,
	  void *context),
	 itself, domain, info, made, flags, context)
ENDPOINT(domain, scalable_ep,
	 (struct fid_domain * domain, struct fi_info *info, struct fid_ep **made, void *context),
	 itself, domain, info, made, context)
ENDPOINT(domain, srx_ctx,
	 (struct fid_domain * domain, struct fi_rx_attr *attr, struct fid_ep **made, void *context),
	 itself, domain, attr, made, context)

static const struct check_fabric_slot domain_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_domain, endpoint, domain_endpoint),
	CHECK_FABRIC_SLOT(struct fi_ops_domain, endpoint2, domain_endpoint2),
	CHECK_FABRIC_SLOT(struct fi_ops_domain, scalable_ep, domain_scalable_ep),
	CHECK_FABRIC_SLOT(struct fi_ops_domain, srx_ctx, domain_srx_ctx),
};

/* A domain whose end is not seen is not followed: another one might be taken for it. */
static void see_domain(struct fid_domain *domain, const struct fi_info *info)
{
	const uint64_t caps = info->caps | (info->domain_attr ? info->domain_attr->caps : 0);
	const struct check_value value = {.word = {[HAS_DEVICES] = !!(caps & FI_HMEM)}};

	if (!check_fabric_front_fid(&domain->fid) || !enter(domain, value))
		return;
	check_fabric_front(domain->ops, domain_slots, NR(domain_slots));
	check_fabric_see_regions(domain);
}

/* ----------------------------------------------------------------------------------------- fabrics */

static int fabric_domain(struct fid_fabric *fabric, struct fi_info *info,
			 struct fid_domain **domain, void *context)
{
	__typeof__(&fabric_domain) behind = CHECK_FABRIC_BEHIND(fabric->ops, domain, fabric_domain);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (OPENS(r, behind, fabric, info, domain, context))
		see_domain(*domain, info);
	return r;
}

static int fabric_domain2(struct fid_fabric *fabric, struct fi_info *info,
			  struct fid_domain **domain, uint64_t flags, void *context)
{
	__typeof__(&fabric_domain2) behind =
		CHECK_FABRIC_BEHIND(fabric->ops, domain2, fabric_domain2);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (OPENS(r, behind, fabric, info, domain, flags, context))
		see_domain(*domain, info);
	return r;
}

static const struct check_fabric_slot fabric_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_fabric, domain, fabric_domain),
	CHECK_FABRIC_SLOT(struct fi_ops_fabric, domain2, fabric_domain2),
};

EXPORTED int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
	__typeof__(&fi_fabric) behind = MRN_BEHIND(fi_fabric, LIBRARY);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (OPENS(r, behind, attr, fabric, context))
		check_fabric_front((*fabric)->ops, fabric_slots, NR(fabric_slots));
	return r;
}

EXPORTED int fi_fabric2(struct fi_info *info, struct fid_fabric **fabric, uint64_t flags,
			void *context)
{
	__typeof__(&fi_fabric2) behind = MRN_BEHIND(fi_fabric2, LIBRARY);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (OPENS(r, behind, info, fabric, flags, context))
		check_fabric_front((*fabric)->ops, fabric_slots, NR(fabric_slots));
	return r;
}

/* ------------------------------------------------------------------------------ functions of all */

static int fid_close(struct fid *fid)
{
	__typeof__(&fid_close) behind = CHECK_FABRIC_BEHIND(fid->ops, close, fid_close);
	const size_t class = fid->fclass;
	struct check_value value;
	bool known;
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (class == FI_CLASS_MR)
		return check_fabric_close_region(fid, behind);
	/* Before the call: after it another object may be there. */
	known = check_keys_take(&objects, key_of(fid), &value);
	r = behind(fid);
	if (known && r)
		check_keys_put(&objects, key_of(fid), value);
	else if (known && class == FI_CLASS_DOMAIN)
		check_fabric_end_regions(container_of(fid, struct fid_domain, fid));
	return r;
}

static int fid_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
	__typeof__(&fid_bind) behind = CHECK_FABRIC_BEHIND(fid->ops, bind, fid_bind);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	r = behind(fid, to, flags);
	look_again(fid);
	return r;
}

/* Of an endpoint that has been made to be like this one. */
static void see_alias(struct fid *fid, const struct fi_alias *alias)
{
	see_endpoint(container_of(*alias->fid, struct fid_ep, fid),
		     check_fabric_domain_of(container_of(fid, struct fid_ep, fid)));
}

/* With FI_MR_ENDPOINT a region is pinned when it is enabled. */
static void pinned_again(const struct fid *fid, int command, const void *arg)
{
	const struct fi_mr_modify *modify = arg;

	if (command == FI_REFRESH)
		check_fabric_pin_again(fid, modify->attr.mr_iov, modify->attr.iov_count);
	else if (command == FI_ENABLE)
		check_fabric_pin_all_again(fid);
}

static int fid_control(struct fid *fid, int command, void *arg)
{
	__typeof__(&fid_control) behind = CHECK_FABRIC_BEHIND(fid->ops, control, fid_control);
	int r;

	if (!behind)
		return -FI_ENOSYS;
	if (OPENS(r, behind, fid, command, arg) && command == FI_ALIAS)
		see_alias(fid, arg);
	if (fid->fclass == FI_CLASS_MR && (!r || MRN_BROKEN(CHECK_FABRIC_REFUSED)))
		pinned_again(fid, command, arg);
	look_again(fid);
	return r;
}

bool check_fabric_front_fid(struct fid *fid)
{
	static const struct check_fabric_slot slots[] = {
		CHECK_FABRIC_SLOT(struct fi_ops, close, fid_close),
		CHECK_FABRIC_SLOT(struct fi_ops, bind, fid_bind),
		CHECK_FABRIC_SLOT(struct fi_ops, control, fid_control),
	};

	/* By its size a table may seem to have none. */
	return check_fabric_front(fid->ops, slots, NR(slots)) &&
	       __atomic_load_n(&fid->ops->close, __ATOMIC_RELAXED) == fid_close;
}

void check_fabric_objects_restart(void)
{
	inside = false;
}
