/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Atomic operations on others' memory: they count elements in place of bytes, and may have three operands here: what is
 * sent, what it is compared with, and where the result goes.
 */
#include "check/record/above.h"
#include "check/record/fabric.h"

#include "os/event_path.h"

/* By the type's number, which has stayed the same. 16 and further are of libfabric 2. */
static size_t size_of(unsigned int type)
{
	static const unsigned char bytes[] = {1, 1,  2,	 2,  4,	 4,  8, 8, 4, 8,
					      8, 16, 16, 32, 16, 16, 2, 2, 1, 1};

	return type < sizeof(bytes) ? bytes[type] : 0;
}

struct operand {
	const void *addr; /* of one part */
	const struct fi_ioc *part;
	size_t nr; /* elements of the one, or parts */
	void *one_desc, *const *desc;
};

#define ONE(addr_, nr_, desc_)                                     \
	(struct operand)                                           \
	{                                                          \
		.addr = (addr_), .nr = (nr_), .one_desc = (desc_), \
	}
#define PARTS(part_, nr_, desc_)                               \
	(struct operand)                                       \
	{                                                      \
		.part = (part_), .nr = (nr_), .desc = (desc_), \
	}

static void use(const struct fid_ep *ep, unsigned int type, const char *op, struct operand o)
{
	const size_t size = size_of(type);

	if (!o.part) {
		check_fabric_use(ep, o.addr, o.nr * size, o.one_desc, op);
		return;
	}
	for (size_t i = 0; o.desc && i < o.nr && o.nr <= CHECK_FABRIC_PARTS; i++)
		check_fabric_use(ep, o.part[i].addr, o.part[i].count * size, o.desc[i], op);
}

/* Reading sends nothing: its first operand is ignored, and may be anything. */
static void use_sent(const struct fid_ep *ep, unsigned int type, unsigned int what, const char *op,
		     struct operand o)
{
	if (what != FI_ATOMIC_READ)
		use(ep, type, op, o);
}

#define ATOMIC(member, ...) CHECK_FABRIC_TRANSFER(atomic, member, __VA_ARGS__)

ATOMIC(write,
       (struct fid_ep * ep, const void *addr, size_t nr, void *desc, fi_addr_t peer, uint64_t there,
	uint64_t key, enum fi_datatype type, enum fi_op what, void *context),
       use(ep, type, "fi_atomic", ONE(addr, nr, desc)), ep, addr, nr, desc, peer, there, key, type,
       what, context)
ATOMIC(writev,
       (struct fid_ep * ep, const struct fi_ioc *part, void **desc, size_t nr, fi_addr_t peer,
	uint64_t there, uint64_t key, enum fi_datatype type, enum fi_op what, void *context),
       use(ep, type, "fi_atomicv", PARTS(part, nr, desc)), ep, part, desc, nr, peer, there, key,
       type, what, context)

/* What a message sends. The CPU copies what is injected. */
static void use_message(const struct fid_ep *ep, const struct fi_msg_atomic *m, uint64_t flags,
			const char *op)
{
	if (!(flags & FI_INJECT))
		use_sent(ep, m->datatype, m->op, op, PARTS(m->msg_iov, m->iov_count, m->desc));
}

ATOMIC(writemsg, (struct fid_ep * ep, const struct fi_msg_atomic *message, uint64_t flags),
       use_message(ep, message, flags, "fi_atomicmsg"), ep, message, flags)
ATOMIC(
	readwrite,
	(struct fid_ep * ep, const void *addr, size_t nr, void *desc, void *result,
	 void *result_desc, fi_addr_t peer, uint64_t there, uint64_t key, enum fi_datatype type,
	 enum fi_op what, void *context),
	{
		use_sent(ep, type, what, "fi_fetch_atomic", ONE(addr, nr, desc));
		use(ep, type, "fi_fetch_atomic", ONE(result, nr, result_desc));
	},
	ep, addr, nr, desc, result, result_desc, peer, there, key, type, what, context)
ATOMIC(
	readwritev,
	(struct fid_ep * ep, const struct fi_ioc *part, void **desc, size_t nr,
	 struct fi_ioc *result, void **result_desc, size_t result_nr, fi_addr_t peer,
	 uint64_t there, uint64_t key, enum fi_datatype type, enum fi_op what, void *context),
	{
		use_sent(ep, type, what, "fi_fetch_atomicv", PARTS(part, nr, desc));
		use(ep, type, "fi_fetch_atomicv", PARTS(result, result_nr, result_desc));
	},
	ep, part, desc, nr, result, result_desc, result_nr, peer, there, key, type, what, context)
ATOMIC(
	readwritemsg,
	(struct fid_ep * ep, const struct fi_msg_atomic *message, struct fi_ioc *result,
	 void **result_desc, size_t result_nr, uint64_t flags),
	{
		use_message(ep, message, flags, "fi_fetch_atomicmsg");
		use(ep, message->datatype, "fi_fetch_atomicmsg",
		    PARTS(result, result_nr, result_desc));
	},
	ep, message, result, result_desc, result_nr, flags)
ATOMIC(
	compwrite,
	(struct fid_ep * ep, const void *addr, size_t nr, void *desc, const void *compare,
	 void *compare_desc, void *result, void *result_desc, fi_addr_t peer, uint64_t there,
	 uint64_t key, enum fi_datatype type, enum fi_op what, void *context),
	{
		use(ep, type, "fi_compare_atomic", ONE(addr, nr, desc));
		use(ep, type, "fi_compare_atomic", ONE(compare, nr, compare_desc));
		use(ep, type, "fi_compare_atomic", ONE(result, nr, result_desc));
	},
	ep, addr, nr, desc, compare, compare_desc, result, result_desc, peer, there, key, type,
	what, context)
ATOMIC(
	compwritev,
	(struct fid_ep * ep, const struct fi_ioc *part, void **desc, size_t nr,
	 const struct fi_ioc *compare, void **compare_desc, size_t compare_nr,
	 struct fi_ioc *result, void **result_desc, size_t result_nr, fi_addr_t peer,
	 uint64_t there, uint64_t key, enum fi_datatype type, enum fi_op what, void *context),
	{
		use(ep, type, "fi_compare_atomicv", PARTS(part, nr, desc));
		use(ep, type, "fi_compare_atomicv", PARTS(compare, compare_nr, compare_desc));
		use(ep, type, "fi_compare_atomicv", PARTS(result, result_nr, result_desc));
	},
	ep, part, desc, nr, compare, compare_desc, compare_nr, result, result_desc, result_nr, peer,
	there, key, type, what, context)
ATOMIC(
	compwritemsg,
	(struct fid_ep * ep, const struct fi_msg_atomic *message, const struct fi_ioc *compare,
	 void **compare_desc, size_t compare_nr, struct fi_ioc *result, void **result_desc,
	 size_t result_nr, uint64_t flags),
	{
		use_message(ep, message, flags, "fi_compare_atomicmsg");
		if (!(flags & FI_INJECT))
			use(ep, message->datatype, "fi_compare_atomicmsg",
			    PARTS(compare, compare_nr, compare_desc));
		use(ep, message->datatype, "fi_compare_atomicmsg",
		    PARTS(result, result_nr, result_desc));
	},
	ep, message, compare, compare_desc, compare_nr, result, result_desc, result_nr, flags)

void check_fabric_see_atomics(struct fid_ep *ep)
{
	static const struct check_fabric_slot slots[] = {
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, write, atomic_write),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, writev, atomic_writev),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, writemsg, atomic_writemsg),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, readwrite, atomic_readwrite),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, readwritev, atomic_readwritev),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, readwritemsg, atomic_readwritemsg),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, compwrite, atomic_compwrite),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, compwritev, atomic_compwritev),
		CHECK_FABRIC_SLOT(struct fi_ops_atomic, compwritemsg, atomic_compwritemsg),
	};

	if (ep->fid.fclass != FI_CLASS_SRX_CTX)
		check_fabric_front(ep->atomic, slots, sizeof(slots) / sizeof(slots[0]));
}
