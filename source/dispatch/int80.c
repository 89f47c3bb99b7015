/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * int $0x80 in a 64-bit program: i386's system calls, with its numbers, and arguments of 32 bits. Those that change memory
 * are bracketed as what they are on x86-64, and made as they came. All others go on, those too that x86-64's have more done
 * for: a thread or process that is made in this way is not caught, a program's end by exec not announced, and a mask may
 * block SIGSYS.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* asm/unistd_32.h cannot be had beside x86-64's. */
enum {
	I386_OPEN = 5,
	I386_CREAT = 8,
	I386_BRK = 45,
	I386_IOCTL = 54,
	I386_MMAP = 90,
	I386_MUNMAP = 91,
	I386_TRUNCATE = 92,
	I386_FTRUNCATE = 93,
	I386_IPC = 117,
	I386_MPROTECT = 125,
	I386_MREMAP = 163,
	I386_PRCTL = 172,
	I386_MMAP2 = 192,
	I386_TRUNCATE64 = 193,
	I386_FTRUNCATE64 = 194,
	I386_MADVISE = 219,
	I386_IO_DESTROY = 246,
	I386_REMAP_FILE_PAGES = 257,
	I386_OPENAT = 295,
	I386_FALLOCATE = 324,
	I386_OPEN_BY_HANDLE_AT = 342,
	I386_GETSOCKOPT = 365,
	I386_PKEY_MPROTECT = 380,
	I386_SHMAT = 397,
	I386_SHMDT = 398,
	I386_OPENAT2 = 437,
	I386_PROCESS_MADVISE = 440,
};
#define IPC_SHMAT     21
#define IPC_SHMDT     22
#define PAGE_OF_MMAP2 4096

/* An x86-64 call. */
struct call {
	long nr, a[6];
};

static uint64_t join(uint64_t low, uint64_t high)
{
	return low | high << 32;
}

static bool from_ipc(struct call *c, const uint64_t *arg)
{
	switch (arg[0] & 0xffff) {
	case IPC_SHMAT:
		*c = (struct call){SYS_shmat, {(int)arg[1], (long)arg[4], (int)arg[2]}};
		return true;
	case IPC_SHMDT:
		*c = (struct call){SYS_shmdt, {(long)arg[4]}};
		return true;
	default:
		return false;
	}
}

static bool from_old_mmap(struct call *c, const uint64_t *arg)
{
	uint32_t six[6];

	if (mrn_program_read(six, arg[0], sizeof(six)))
		return false;
	*c = (struct call){SYS_mmap, {six[0], six[1], six[2], six[3], (int)six[4], six[5]}};
	return true;
}

/* What it is on x86-64, if it changes memory. arg: ebx and on. */
static bool translate(struct call *c, long nr, const uint64_t *arg)
{
	const long a = (long)arg[0], b = (long)arg[1], d = (long)arg[2], e = (long)arg[3];

	switch (nr) {
	case I386_BRK:
		*c = (struct call){SYS_brk, {a}};
		break;
	case I386_MMAP:
		return from_old_mmap(c, arg);
	case I386_MMAP2:
		*c = (struct call){SYS_mmap,
				   {a, b, d, e, (int)arg[4], (long)arg[5] * PAGE_OF_MMAP2}};
		break;
	case I386_MUNMAP:
		*c = (struct call){SYS_munmap, {a, b}};
		break;
	case I386_MREMAP:
		*c = (struct call){SYS_mremap, {a, b, d, e, (long)arg[4]}};
		break;
	case I386_MPROTECT:
		*c = (struct call){SYS_mprotect, {a, b, d}};
		break;
	case I386_PKEY_MPROTECT:
		*c = (struct call){SYS_pkey_mprotect, {a, b, d, e}};
		break;
	case I386_MADVISE:
		*c = (struct call){SYS_madvise, {a, b, (int)d}};
		break;
	case I386_REMAP_FILE_PAGES:
		*c = (struct call){SYS_remap_file_pages, {a, b, d, e, (long)arg[4]}};
		break;
	case I386_IPC:
		return from_ipc(c, arg);
	case I386_SHMAT:
		*c = (struct call){SYS_shmat, {(int)a, b, (int)d}};
		break;
	case I386_SHMDT:
		*c = (struct call){SYS_shmdt, {a}};
		break;
	case I386_TRUNCATE:
		*c = (struct call){SYS_truncate, {a, (int)b}};
		break;
	case I386_TRUNCATE64:
		*c = (struct call){SYS_truncate, {a, (long)join(arg[1], arg[2])}};
		break;
	case I386_FTRUNCATE:
		*c = (struct call){SYS_ftruncate, {(int)a, (int)b}};
		break;
	case I386_FTRUNCATE64:
		*c = (struct call){SYS_ftruncate, {(int)a, (long)join(arg[1], arg[2])}};
		break;
	case I386_FALLOCATE:
		*c = (struct call){SYS_fallocate,
				   {(int)a, (int)b, (long)join(arg[2], arg[3]),
				    (long)join(arg[4], arg[5])}};
		break;
	case I386_IOCTL:
		*c = (struct call){SYS_ioctl, {(int)a, b, d}};
		break;
	case I386_PRCTL:
		*c = (struct call){SYS_prctl, {(int)a, b, d, e, (long)arg[4]}};
		break;
	case I386_IO_DESTROY:
		*c = (struct call){SYS_io_destroy, {a}};
		break;
	case I386_GETSOCKOPT:
		*c = (struct call){SYS_getsockopt, {(int)a, (int)b, (int)d, e}};
		break;
	case I386_OPEN:
		*c = (struct call){SYS_open, {a, (int)b}};
		break;
	case I386_CREAT:
		*c = (struct call){SYS_creat, {a}};
		break;
	case I386_OPENAT:
		*c = (struct call){SYS_openat, {(int)a, b, (int)d}};
		break;
	case I386_OPEN_BY_HANDLE_AT:
		*c = (struct call){SYS_open_by_handle_at, {(int)a, b, (int)d}};
		break;
	case I386_OPENAT2:
		*c = (struct call){SYS_openat2, {(int)a, b, d}};
		break;
	default:
		return false;
	}
	return true;
}

/* ------------------------------------------------------------------------------------- making it */

static MRN_TLS const uint64_t *as_it_came;

static long make(long nr, long a, long b, long c, long d, long e, long f)
{
	return mrn_int80(as_it_came);
}

/* False: it changes nothing, and goes on. */
static bool make_bracketed(const struct call *c, long *r)
{
	const long *a = c->a;
	struct mrn_file_change change;
	struct mrn_held *held;

	enum mrn_call_kind kind = mrn_call_kind(c->nr, a[0], a[1], a[2], a[3]);

	if (kind == MRN_CALL_OTHER)
		return false;
	if (kind == MRN_CALL_MEMORY) {
		*r = mrn_bracket_number(make, c->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		return true;
	}
	mrn_file_change_number(&change, c->nr, a[0], a[1], a[2], a[3]);
	if (!change.pending)
		return false;
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	*r = mrn_int80(as_it_came);
	mrn_held_end(held);
	return true;
}

static void go_on(struct mrn_caught *c)
{
	uint64_t segments = (uint64_t)c->reg[REG_CSGSFS];
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_int80);

	f->more[0] = f->rip;
	f->more[1] = segments & 0xffff;
	f->more[2] = f->flags;
	f->more[3] = f->rsp;
	f->more[4] = segments >> 48;
}

void mrn_caught_int80(struct mrn_caught *c)
{
	const greg_t *reg = c->reg;
	const uint64_t came[7] = {(uint32_t)reg[REG_RAX], (uint32_t)reg[REG_RBX],
				  (uint32_t)reg[REG_RCX], (uint32_t)reg[REG_RDX],
				  (uint32_t)reg[REG_RSI], (uint32_t)reg[REG_RDI],
				  (uint32_t)reg[REG_RBP]};
	struct mrn_bracket everything;
	int saved = errno;
	struct call call;
	long r;

	as_it_came = came;
	if (came[0] == I386_PROCESS_MADVISE) {
		/* Its ranges are in a form of their own. */
		mrn_bracket_none(&everything);
		mrn_bracket_add_everything(&everything, MMU_NOTIFY_CLEAR, MRN_CAUSE_MADVISE);
		c->reg[REG_RAX] = mrn_int80(came);
		mrn_bracket_end(&everything);
	} else if (translate(&call, (long)came[0], came + 1) && make_bracketed(&call, &r)) {
		c->reg[REG_RAX] = r;
	} else {
		go_on(c);
	}
	errno = saved;
}
