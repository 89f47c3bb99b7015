/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The full fence, a pause, and the kind of build. Every other ordering in mrn is in the operation's own argument. No
 * read-modify-write, even a sequentially consistent one, replaces the fence: on ARMv8 and POWER a store before it and a
 * load after it may pass each other. Where one comes just before the fence, mrn_fence_after_rmw costs nothing on x86.
 */
#ifndef MRN_OS_ATOMIC_H
#define MRN_OS_ATOMIC_H

#if defined(__SANITIZE_THREAD__)
#define MRN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MRN_TSAN 1
#endif
#endif

static inline void mrn_fence_full(void)
{
#ifdef MRN_TSAN
	static int fence;

	/* ThreadSanitizer ignores fences, and gcc warns of this one under its new name. */
	__atomic_fetch_add(&fence, 0, __ATOMIC_SEQ_CST);
	__sync_synchronize();
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* A full fence that comes right after an atomic read-modify-write, which on x86 is one itself. */
static inline void mrn_fence_after_rmw(void)
{
#if defined(__x86_64__) && !defined(MRN_TSAN)
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	mrn_fence_full();
#endif
}

/* In a loop that waits for another processor. */
static inline void mrn_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
