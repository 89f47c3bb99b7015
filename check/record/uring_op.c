/* SPDX-License-Identifier: BSD-3-Clause */
/* Which memory a request uses. */
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "check/record/uring_internal.h"

#include "os/event_path.h"

enum shape {
	PLAIN,
	FIXED = 1,
	VECTOR = 2,
	MESSAGE = 4,  /* addr is a msghdr's */
	SENDS = 8,    /* ioprio has IORING_RECVSEND_... */
	LIMITED = 16, /* of a provided buffer it uses as many bytes as len says, if it is not 0 */
};

static const struct known {
	const char *op;
	uint8_t opcode, shape;
} known[] = {
	{"READV", IORING_OP_READV, VECTOR},
	{"WRITEV", IORING_OP_WRITEV, VECTOR},
	{"READ_FIXED", IORING_OP_READ_FIXED, FIXED},
	{"WRITE_FIXED", IORING_OP_WRITE_FIXED, FIXED},
	{"SENDMSG", IORING_OP_SENDMSG, MESSAGE | SENDS},
	{"RECVMSG", IORING_OP_RECVMSG, MESSAGE},
	{"READ", IORING_OP_READ, LIMITED},
	{"READ_MULTISHOT", URING_OP_READ_MULTISHOT, LIMITED},
	{"WRITE", IORING_OP_WRITE, PLAIN},
	{"SEND", IORING_OP_SEND, SENDS | LIMITED},
	{"RECV", IORING_OP_RECV, LIMITED},
	{"SEND_ZC", IORING_OP_SEND_ZC, SENDS},
	{"SENDMSG_ZC", IORING_OP_SENDMSG_ZC, MESSAGE | SENDS},
	{"READV_FIXED", URING_OP_READV_FIXED, FIXED | VECTOR},
	{"WRITEV_FIXED", URING_OP_WRITEV_FIXED, FIXED | VECTOR},
};

/*
 * A command for a device has a form that only its driver knows. That of an NVMe drive has the address and the length
 * here; if they are something else, they are hardly those of memory inside the registered buffer.
 */
static void read_command(const struct io_uring_sqe *sqe, bool is_long, struct uring_request *q)
{
	const char *cmd = (const char *)sqe + 48;
	uint32_t length;

	if (!is_long || !(sqe->uring_cmd_flags & IORING_URING_CMD_FIXED))
		return;
	q->op = "URING_CMD";
	q->is_fixed = true;
	memcpy(&q->addr, cmd + 24, sizeof(q->addr));
	memcpy(&length, cmd + 36, sizeof(length));
	q->length = length;
}

static const struct known *find(uint8_t opcode)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].opcode == opcode)
			return &known[i];
	return NULL;
}

/* Bytes of a provided buffer that it uses at most; 0: all. If nobody can say, it does use the first. */
static uint64_t most_of(const struct io_uring_sqe *sqe, const struct known *k)
{
	uintptr_t vector = sqe->addr;
	uint64_t nr = sqe->len;
	struct msghdr message;
	struct iovec iov;

	if (k->shape & LIMITED)
		return sqe->len;
	if (k->shape & MESSAGE) {
		if (check_read(&message, vector, sizeof(message)))
			return 1;
		vector = (uintptr_t)message.msg_iov;
		nr = message.msg_iovlen;
	} else if (!(k->shape & VECTOR)) {
		return 0;
	}
	/* The kernel takes no other numbers than these. */
	if (!nr)
		return 0;
	return check_read(&iov, vector, sizeof(iov)) ? 1 : iov.iov_len;
}

/* Its memory is known when the kernel has chosen it. */
static void read_selecting(const struct io_uring_sqe *sqe, const struct known *k,
			   struct uring_request *q)
{
	q->op = k ? k->op : "BUFFER_SELECT";
	q->selects = true;
	q->bundles = (sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_RECV) &&
		     sqe->ioprio & URING_RECVSEND_BUNDLE;
	q->length = k ? most_of(sqe, k) : 0;
}

void uring_read_request(const struct io_uring_sqe *sqe, bool is_long, struct uring_request *q)
{
	const struct known *k = find(sqe->opcode);

	*q = (struct uring_request){.addr = sqe->addr, .length = sqe->len, .index = sqe->buf_index};
	if (sqe->opcode == IORING_OP_URING_CMD) {
		read_command(sqe, is_long, q);
		return;
	}
	if (sqe->flags & IOSQE_BUFFER_SELECT) {
		read_selecting(sqe, k, q);
		return;
	}
	if (!k)
		return;
	q->op = k->op;
	q->is_fixed = k->shape & FIXED ||
		      (k->shape & SENDS && sqe->ioprio & IORING_RECVSEND_FIXED_BUF);
	q->is_message = k->shape & MESSAGE;
	q->is_vector = k->shape & VECTOR ||
		       (k->shape & SENDS && !q->is_message && sqe->ioprio & URING_SEND_VECTORIZED);
}

#define MOST_RANGES 1024 /* as the kernel allows */

static void each_of(uintptr_t vector, uint64_t nr,
		    void (*use)(void *arg, uintptr_t addr, size_t length), void *arg)
{
	struct iovec iov[8];

	for (uint64_t i = 0; i < nr && i < MOST_RANGES; i += 8) {
		const uint64_t n = nr - i < 8 ? nr - i : 8;

		if (check_read(iov, vector + i * sizeof(iov[0]), n * sizeof(iov[0])))
			return;
		for (uint64_t k = 0; k < n; k++)
			use(arg, (uintptr_t)iov[k].iov_base, iov[k].iov_len);
	}
}

void uring_each_range(const struct uring_request *q,
		      void (*use)(void *arg, uintptr_t addr, size_t length), void *arg)
{
	struct msghdr message;

	if (q->is_message) {
		if (!check_read(&message, q->addr, sizeof(message)))
			each_of((uintptr_t)message.msg_iov, message.msg_iovlen, use, arg);
	} else if (q->is_vector) {
		each_of(q->addr, q->length, use, arg);
	} else {
		use(arg, q->addr, q->length);
	}
}
