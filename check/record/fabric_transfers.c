/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages, tagged messages, and reads and writes of others' memory: each names the program's memory by descriptors. */
#include <errno.h>

#include "check/record/above.h"
#include "check/record/fabric.h"

#include "os/event_path.h"

#define TRANSFER(...) CHECK_FABRIC_TRANSFER(__VA_ARGS__)
#define ONE(op)	      check_fabric_use(ep, addr, length, desc, op)
#define PARTS(op)     check_fabric_use_parts(ep, part, desc, nr, op)
/* The CPU copies what is injected, and nobody uses what is only looked for or thrown away. */
#define MESSAGE(op)                                        \
	if (!(flags & (FI_INJECT | FI_PEEK | FI_DISCARD))) \
	check_fabric_use_parts(ep, message->msg_iov, message->desc, message->iov_count, op)

/* ----------------------------------------------------------------------------------------- messages */

TRANSFER(msg, recv,
	 (struct fid_ep * ep, void *addr, size_t length, void *desc, fi_addr_t peer, void *context),
	 ONE("fi_recv"), ep, addr, length, desc, peer, context)
TRANSFER(msg, recvv,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  void *context),
	 PARTS("fi_recvv"), ep, part, desc, nr, peer, context)
TRANSFER(msg, recvmsg, (struct fid_ep * ep, const struct fi_msg *message, uint64_t flags),
	 MESSAGE("fi_recvmsg"), ep, message, flags)
TRANSFER(msg, send,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, fi_addr_t peer,
	  void *context),
	 ONE("fi_send"), ep, addr, length, desc, peer, context)
TRANSFER(msg, sendv,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  void *context),
	 PARTS("fi_sendv"), ep, part, desc, nr, peer, context)
TRANSFER(msg, sendmsg, (struct fid_ep * ep, const struct fi_msg *message, uint64_t flags),
	 MESSAGE("fi_sendmsg"), ep, message, flags)
TRANSFER(msg, senddata,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, uint64_t data,
	  fi_addr_t peer, void *context),
	 ONE("fi_senddata"), ep, addr, length, desc, data, peer, context)

static const struct check_fabric_slot msg_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_msg, recv, msg_recv),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, recvv, msg_recvv),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, recvmsg, msg_recvmsg),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, send, msg_send),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, sendv, msg_sendv),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, sendmsg, msg_sendmsg),
	CHECK_FABRIC_SLOT(struct fi_ops_msg, senddata, msg_senddata),
};

/* ---------------------------------------------------------------------------------- tagged messages */

TRANSFER(tagged, recv,
	 (struct fid_ep * ep, void *addr, size_t length, void *desc, fi_addr_t peer, uint64_t tag,
	  uint64_t ignore, void *context),
	 ONE("fi_trecv"), ep, addr, length, desc, peer, tag, ignore, context)
TRANSFER(tagged, recvv,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  uint64_t tag, uint64_t ignore, void *context),
	 PARTS("fi_trecvv"), ep, part, desc, nr, peer, tag, ignore, context)
TRANSFER(tagged, recvmsg, (struct fid_ep * ep, const struct fi_msg_tagged *message, uint64_t flags),
	 MESSAGE("fi_trecvmsg"), ep, message, flags)
TRANSFER(tagged, send,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, fi_addr_t peer,
	  uint64_t tag, void *context),
	 ONE("fi_tsend"), ep, addr, length, desc, peer, tag, context)
TRANSFER(tagged, sendv,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  uint64_t tag, void *context),
	 PARTS("fi_tsendv"), ep, part, desc, nr, peer, tag, context)
TRANSFER(tagged, sendmsg, (struct fid_ep * ep, const struct fi_msg_tagged *message, uint64_t flags),
	 MESSAGE("fi_tsendmsg"), ep, message, flags)
TRANSFER(tagged, senddata,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, uint64_t data,
	  fi_addr_t peer, uint64_t tag, void *context),
	 ONE("fi_tsenddata"), ep, addr, length, desc, data, peer, tag, context)

static const struct check_fabric_slot tagged_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, recv, tagged_recv),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, recvv, tagged_recvv),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, recvmsg, tagged_recvmsg),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, send, tagged_send),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, sendv, tagged_sendv),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, sendmsg, tagged_sendmsg),
	CHECK_FABRIC_SLOT(struct fi_ops_tagged, senddata, tagged_senddata),
};

/* --------------------------------------------------------------------------------- others' memory */

TRANSFER(rma, read,
	 (struct fid_ep * ep, void *addr, size_t length, void *desc, fi_addr_t peer, uint64_t there,
	  uint64_t key, void *context),
	 ONE("fi_read"), ep, addr, length, desc, peer, there, key, context)
TRANSFER(rma, readv,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  uint64_t there, uint64_t key, void *context),
	 PARTS("fi_readv"), ep, part, desc, nr, peer, there, key, context)
TRANSFER(rma, readmsg, (struct fid_ep * ep, const struct fi_msg_rma *message, uint64_t flags),
	 MESSAGE("fi_readmsg"), ep, message, flags)
TRANSFER(rma, write,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, fi_addr_t peer,
	  uint64_t there, uint64_t key, void *context),
	 ONE("fi_write"), ep, addr, length, desc, peer, there, key, context)
TRANSFER(rma, writev,
	 (struct fid_ep * ep, const struct iovec *part, void **desc, size_t nr, fi_addr_t peer,
	  uint64_t there, uint64_t key, void *context),
	 PARTS("fi_writev"), ep, part, desc, nr, peer, there, key, context)
TRANSFER(rma, writemsg, (struct fid_ep * ep, const struct fi_msg_rma *message, uint64_t flags),
	 MESSAGE("fi_writemsg"), ep, message, flags)
TRANSFER(rma, writedata,
	 (struct fid_ep * ep, const void *addr, size_t length, void *desc, uint64_t data,
	  fi_addr_t peer, uint64_t there, uint64_t key, void *context),
	 ONE("fi_writedata"), ep, addr, length, desc, data, peer, there, key, context)

static const struct check_fabric_slot rma_slots[] = {
	CHECK_FABRIC_SLOT(struct fi_ops_rma, read, rma_read),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, readv, rma_readv),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, readmsg, rma_readmsg),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, write, rma_write),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, writev, rma_writev),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, writemsg, rma_writemsg),
	CHECK_FABRIC_SLOT(struct fi_ops_rma, writedata, rma_writedata),
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

void check_fabric_see_transfers(struct fid_ep *ep)
{
	check_fabric_front(ep->msg, msg_slots, NR(msg_slots));
	check_fabric_front(ep->tagged, tagged_slots, NR(tagged_slots));
	/* One that only receives has none. */
	if (ep->fid.fclass != FI_CLASS_SRX_CTX)
		check_fabric_front(ep->rma, rma_slots, NR(rma_slots));
}
