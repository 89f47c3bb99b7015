/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/frames.h"

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "watch/cfi.h"

#include "os/event_path.h"

/* Code of one library. */
struct span {
	uintptr_t start, end;
	bool ours; /* else libc's or ld.so's */
	struct watch_cfi cfi;
};

#define SPANS 16
static struct span spans[SPANS];
static unsigned int nr_spans;

/* ------------------------------------------------------------------------------------- at the start */

static bool holds(const struct dl_phdr_info *info, uintptr_t addr)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && addr - (info->dlpi_addr + ph->p_vaddr) < ph->p_memsz)
			return true;
	}
	return false;
}

static bool is_ours(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !strncmp(slash ? slash + 1 : path, "libmrn", 6);
}

static bool is_the_systems(const struct dl_phdr_info *info)
{
#ifdef __GLIBC__
	if (holds(info, (uintptr_t)gnu_get_libc_version))
		return true;
#endif
	return holds(info, (uintptr_t)&_r_debug);
}

static int add_spans(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct watch_cfi cfi = {NULL};
	bool ours = is_ours(info->dlpi_name);

	if (!ours && !is_the_systems(info))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
			cfi.table = (const uint8_t *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (int i = 0; i < info->dlpi_phnum && nr_spans < SPANS; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X))
			spans[nr_spans++] = (struct span){start, start + ph->p_memsz, ours, cfi};
	}
	return 0;
}

void watch_frames_start(void)
{
	nr_spans = 0;
	dl_iterate_phdr(add_spans, NULL);
}

/* ---------------------------------------------------------------------------------- on the event path */

static const struct span *span_of(uintptr_t pc)
{
	for (unsigned int i = 0; i < nr_spans; i++)
		if (pc - spans[i].start < spans[i].end - spans[i].start)
			return &spans[i];
	return NULL;
}

/* Along the frame pointer, which on x86-64 and aarch64 points to the caller's, and then where it goes on. */
static bool step_ours(struct watch_regs *r)
{
	enum { FRAME_MAX = 1 << 20 };
	const uintptr_t *frame = (const uintptr_t *)r->bp;

	if ((r->bp & 7) || r->bp < r->sp || r->bp - r->sp > FRAME_MAX)
		return false;
	r->pc = frame[1];
	r->bp = frame[0];
	r->sp = (uintptr_t)(frame + 2);
	return true;
}

/* The instructions by which every unwinder knows it. */
static bool is_sigreturn(uintptr_t pc)
{
#ifdef __x86_64__
	static const uint8_t code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

	return !memcmp((const void *)pc, code, sizeof(code));
#else
	return false;
#endif
}

__attribute__((noinline)) void watch_frames_capture(uint64_t *site, uint64_t *via)
{
	enum { STEPS = 64 };
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	struct watch_regs r = {(uintptr_t)watch_frames_capture, frame, frame};
	const struct span *in;

	*site = *via = 0;
	for (int i = 0; i < STEPS; i++) {
		in = span_of(r.pc);
		/* Of a signal whose handler is ours: dispatch's. What it has interrupted goes on. */
		if (in && in->ours && is_sigreturn(r.pc)) {
			watch_cfi_leave_signal(&r);
			continue;
		}
		if (!in) {
			*site = r.pc;
			return;
		}
		if (!in->ours)
			*via = r.pc;
		if (!(in->ours ? step_ours(&r) : watch_cfi_step(&in->cfi, &r)))
			return;
	}
}
