/* SPDX-License-Identifier: BSD-3-Clause */
/* The brackets by system call number. */
#undef _FILE_OFFSET_BITS

#include <fcntl.h>
#include <sys/mman.h>

#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/bracket/other.h"
#include "source/exec.h"

#include "os/event_path.h"

/* An argument of the call, as in calls.def. */
#define INT(n)	    ((int)a[n])
#define UNSIGNED(n) ((unsigned int)a[n])
#define SIZE(n)	    ((size_t)a[n])
#define ADDR(n)	    ((const void *)a[n])

/* ---------------------------------------------------------------------------------- calls that change files */

/* openat2's argument; a longer one has more than is known here. */
struct how {
	uint64_t flags, mode, resolve;
};

/*
 * Another thread may change what is pointed to between our look and the kernel's: so the call is made with a copy. If
 * it cannot be read, as in some containers, the call is taken to truncate.
 */
static void open_how(struct mrn_file_change *change, int folder, const char *path, long how,
		     long size)
{
	uint64_t copy[3] = {0};
	bool own;

	if (mrn_file_change_nobody(change, MRN_CAUSE_OPEN_TRUNC))
		return;
	own = size == sizeof(struct how) && mrn_peek(copy, (uintptr_t)how, sizeof(struct how)) == 0;
	mrn_file_change_open(change, folder, path, own ? (int)copy[0] : O_TRUNC);
	if (!change->pending || !own)
		return;
	change->own_argument = 3;
	for (unsigned int i = 0; i < 3; i++)
		change->argument[i] = copy[i];
}

void mrn_file_change_number(struct mrn_file_change *change, const struct mrn_call *call)
{
	const long *a = call->a;

	switch (call->nr) {
#define FILES(name, i386, narrow, change) \
	case SYS_##name:                  \
		change;                   \
		break;
#define BY_ARGUMENT(name, i386, narrow, kind, bracket, change) FILES(name, i386, narrow, change)
#include "source/bracket/calls.def"
	default:
		mrn_file_change_none(change);
		break;
	}
}

static long change_file(mrn_real_call real, const struct mrn_call *call, long nr, const long *a)
{
	struct mrn_file_change change;
	struct mrn_held *held;
	long r;

	mrn_file_change_number(&change, call);
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	r = real(nr, a[0], mrn_file_change_argument(&change, 2, a[1]),
		 mrn_file_change_argument(&change, 3, a[2]), a[3], a[4], a[5]);
	mrn_held_end(held, mrn_sys_failed(r));
	return r;
}

/* ------------------------------------------------------------------------------------------------ all others */

static long make(mrn_real_call real, long nr, const long *a)
{
	return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long map(mrn_real_call real, const struct mrn_call *call, long nr, const long *came)
{
	const long *a = call->a;
	struct mrn_bracket bracket;
	long r;

	if (mrn_mmap_replaces(INT(3))) {
		mrn_bracket_mmap_fixed(&bracket, ADDR(0), SIZE(1), INT(3), INT(4));
		r = make(real, nr, came);
		mrn_bracket_end(&bracket, mrn_sys_failed(r));
		return r;
	}
	r = make(real, nr, came);
	if (!mrn_sys_failed(r))
		mrn_bracket_mapped((const void *)r, SIZE(1), INT(3), INT(4));
	return r;
}

static long move(mrn_real_call real, const struct mrn_call *call, long nr, const long *a)
{
	const void *addr = (const void *)call->a[0], *to = (const void *)call->a[4];
	const size_t old_size = (size_t)call->a[1], new_size = (size_t)call->a[2];
	const int flags = (int)call->a[3];
	struct mrn_bracket bracket;
	long r;

	mrn_bracket_mremap(&bracket, addr, old_size, new_size, flags, to);
	r = make(real, nr, a);
	mrn_bracket_end(&bracket, mrn_sys_failed(r) || mrn_mremap_stays(addr, old_size, new_size,
									(const void *)r));
	if (!mrn_sys_failed(r))
		mrn_bracket_moved(addr, old_size, new_size, flags, (const void *)r);
	return r;
}

static long execute(mrn_real_call real, const struct mrn_call *call, long nr, const long *a)
{
	long copy[6] = {a[0], a[1], a[2], a[3], a[4], a[5]}, r;
	struct mrn_bracket bracket;

	/* x32 has pointers of its own. */
	if (!call->compat)
		mrn_exec_before(call->nr, copy);
	mrn_bracket_exec_by_name(&bracket);
	r = make(real, nr, copy);
	mrn_bracket_end(&bracket, true);
	if (!call->compat)
		mrn_exec_failed();
	return r;
}

/* brk returns where the break is, whether or not it has moved. */
static long set_break(mrn_real_call real, const struct mrn_call *call, long nr, const long *a)
{
	uintptr_t to = (uintptr_t)call->a[0], was = 0;
	struct mrn_bracket bracket;
	long r;

	/* New memory matters only to notifiers that exist. */
	if (to && !mrn_bracket_tells_nobody())
		was = (uintptr_t)mrn_sys1(SYS_brk, 0);
	mrn_bracket_brk(&bracket, to);
	r = make(real, nr, a);
	mrn_bracket_end(&bracket, mrn_sys_failed(r) || (uintptr_t)r > to);
	if (was && !mrn_sys_failed((long)was) && (uintptr_t)r > was)
		mrn_bracket_fresh(mrn_page_up(was), mrn_page_up((uintptr_t)r));
	return r;
}

static enum mrn_call_kind kind_of_advice(int advice)
{
	if (mrn_advice_is_harmless(advice))
		return MRN_CALL_OTHER;
	return advice == MADV_REMOVE ? MRN_CALL_FILE : MRN_CALL_MEMORY;
}

enum mrn_call_kind mrn_call_kind(const struct mrn_call *call)
{
	const long *a = call->a;

	switch (call->nr) {
#define BRACKETED(name, i386, narrow) \
	case SYS_##name:              \
		return MRN_CALL_MEMORY;
#define FILES(name, i386, narrow, change) \
	case SYS_##name:                  \
		return MRN_CALL_FILE;
#define BY_ARGUMENT(name, i386, narrow, kind, bracket, change) \
	case SYS_##name:                                       \
		return kind;
#include "source/bracket/calls.def"
	default:
		return MRN_CALL_OTHER;
	}
}

static void of_many_ranges(struct mrn_bracket *bracket, const struct mrn_call *call)
{
	const long *a = call->a;

	if (call->compat)
		mrn_bracket_madvise_anywhere(bracket, (int)a[3]);
	else
		mrn_bracket_process_madvise(bracket, (const struct iovec *)a[1], (unsigned int)a[2],
					    (int)a[3]);
}

long mrn_bracket_number(mrn_real_call real, const struct mrn_call *call, long nr, const long *came)
{
	const long *a = call->a;
	struct mrn_bracket bracket;
	long r;

	switch (mrn_call_kind(call)) {
	case MRN_CALL_FILE:
		return change_file(real, call, nr, came);
	case MRN_CALL_OTHER:
		return make(real, nr, came);
	case MRN_CALL_MEMORY:
		break;
	}
	switch (call->nr) {
#define MEMORY(name, i386, narrow, bracket) \
	case SYS_##name:                    \
		bracket;                    \
		break;
#define BY_ARGUMENT(name, i386, narrow, kind, bracket, change) MEMORY(name, i386, narrow, bracket)
#define MADE(name, i386, narrow, make) \
	case SYS_##name:               \
		return make(real, call, nr, came);
#include "source/bracket/calls.def"
	default:
		return make(real, nr, came);
	}
	r = make(real, nr, came);
	mrn_bracket_end(&bracket, mrn_sys_failed(r) || mrn_bracket_is_part(&bracket, r));
	return r;
}
