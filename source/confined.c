/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/confined.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

#include "source/check.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/bracket.h"
#include "source/filter_run.h"
#include "source/interposer.h"
#include "source/own_calls.h"

#include "os/event_path.h"

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static bool confined;

bool mrn_is_confined(void)
{
	return __atomic_load_n(&confined, __ATOMIC_RELAXED);
}

/* --------------------------------------------------------------------------------------- the filter */

/* One thread at a time has it; too large for a stack. May stay taken in a forked child. */
static struct sock_filter code[BPF_MAXINSNS];
static bool code_is_taken;

#define LOWEST_MAPPED 4096 /* nothing is mapped below, unless vm.mmap_min_addr has been lowered */

/* If the kernel may not be asked, the address is trusted. */
static int read_program(void *into, uint64_t addr, size_t size)
{
	int r = addr < LOWEST_MAPPED ? -EFAULT : mrn_peek(into, addr, size);

	if (r && r != -EFAULT) {
		memcpy(into, (const void *)(uintptr_t)addr, size);
		r = 0;
	}
	return r;
}

/* Reads the program at addr into code. Returns its length, or -EFAULT. */
static int read_filter(uint64_t addr, bool compat)
{
	struct {
		uint16_t length;
		uint32_t filter;
	} narrow;
	struct sock_fprog program;
	int r = compat ? read_program(&narrow, addr, sizeof(narrow))
		       : read_program(&program, addr, sizeof(program));

	if (r)
		return r;
	if (compat) {
		program.len = narrow.length;
		program.filter = (struct sock_filter *)(uintptr_t)narrow.filter;
	}
	if (!program.len || program.len > BPF_MAXINSNS)
		return -EINVAL;
	r = read_program(code, (uintptr_t)program.filter, program.len * sizeof(code[0]));
	return r ? r : program.len;
}

static bool lets_pass(unsigned int length, long nr, const long *a)
{
	struct seccomp_data data = {
		.nr = (int)nr,
		.arch = ARCHITECTURE,
		.instruction_pointer = (uintptr_t)mrn_sys6,
	};

	for (unsigned int i = 0; a && i < 6; i++)
		data.args[i] = (uint64_t)a[i];
	return mrn_filter_lets_pass(code, length, &data);
}

/* Tries our calls with their known arguments; any other call with none known. */
static void run_filter(unsigned int length, struct mrn_call_set *refused)
{
	struct mrn_call_set known = {0};

	for (unsigned int i = 0; i < mrn_nr_own_calls; i++) {
		const struct mrn_own_call *own = &mrn_own_calls[i];

		mrn_call_set_add(&known, (unsigned long)own->nr);
		if (!lets_pass(length, own->nr, own->a))
			mrn_call_set_add(refused, (unsigned long)own->nr);
	}
	for (long nr = 0; nr < MRN_NR_CALLS; nr++)
		if (!mrn_call_set_has(&known, (unsigned long)nr) && !lets_pass(length, nr, NULL))
			mrn_call_set_add(refused, (unsigned long)nr);
}

/* ---------------------------------------------------------------------------------------- the call */

static bool confines_strictly(struct mrn_confinement *c)
{
	const long allowed[] = {SYS_read, SYS_write, SYS_exit, SYS_rt_sigreturn};

	memset(&c->refused, 0xff, sizeof(c->refused));
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		c->refused.word[allowed[i] / 64] &= ~(UINT64_C(1) << (allowed[i] % 64));
	return true;
}

static bool confines_by_filter(struct mrn_confinement *c, uint64_t addr, bool compat)
{
	int length;

	if (__atomic_exchange_n(&code_is_taken, true, __ATOMIC_ACQUIRE)) {
		memset(&c->refused, 0xff, sizeof(c->refused));
		return true;
	}
	length = read_filter(addr, compat);
	if (length > 0 && !MRN_BROKEN(CONFINED_FILTER))
		run_filter((unsigned int)length, &c->refused);
	__atomic_store_n(&code_is_taken, false, __ATOMIC_RELEASE);
	return length > 0;
}

bool mrn_confines(const struct mrn_call *call, struct mrn_confinement *c)
{
	const long *a = call->a;

	*c = (struct mrn_confinement){0};
	if (call->nr == SYS_prctl && a[0] == PR_SET_SECCOMP) {
		if (a[1] == SECCOMP_MODE_STRICT)
			return confines_strictly(c);
		return a[1] == SECCOMP_MODE_FILTER &&
		       confines_by_filter(c, (uint64_t)a[2], call->compat);
	}
	if (call->nr != SYS_seccomp)
		return false;
	if (a[0] == SECCOMP_SET_MODE_STRICT)
		return !a[1] && !a[2] && confines_strictly(c);
	c->everywhere = a[1] & SECCOMP_FILTER_FLAG_TSYNC;
	return a[0] == SECCOMP_SET_MODE_FILTER &&
	       confines_by_filter(c, (uint64_t)a[2], call->compat);
}

void mrn_confine(const struct mrn_confinement *c)
{
	mrn_refuse(&c->refused, c->everywhere);
	__atomic_store_n(&confined, true, __ATOMIC_RELAXED);
}

/* For calls by name that dispatch does not catch. */
void mrn_confine_by_name(const struct mrn_call *call)
{
	struct mrn_confinement c;

	if (call->nr != SYS_seccomp && !(call->nr == SYS_prctl && call->a[0] == PR_SET_SECCOMP))
		return;
	if (mrn_is_to_be_caught())
		return;
	if (mrn_bracket_tells_nobody() && !mrn_source_is_attached())
		__atomic_store_n(&confined, true, __ATOMIC_RELAXED);
	else if (mrn_confines(call, &c))
		mrn_confine(&c);
}

long mrn_confined_lacks(const long *calls, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (mrn_is_refused(calls[i]))
			return calls[i];
	return -1;
}

bool mrn_confined_allows_threads(void)
{
	static const long needed[] = {SYS_clone3,	 SYS_set_robust_list,
				      SYS_rseq,		 SYS_mprotect,
				      SYS_brk,		 SYS_getrandom,
				      SYS_madvise,	 SYS_rt_sigaction,
				      SYS_rt_sigprocmask};

	return mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0])) < 0;
}
