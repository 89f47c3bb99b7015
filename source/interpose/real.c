/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looks the real calls up, before main and before almost every constructor. Does not run on the event path: dlsym may
 * allocate, and what it calls in turn uses the raw calls.
 */

#include "source/interpose/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <mrn/mmu_notifier.h>
#include <stdarg.h>
#include <link.h>
#include <malloc.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "os/thread.h"

#include "source/interpose/wrappers.h"
#include "source/interposer.h"
#include "source/process.h"

/* A call that the next library does not have stays raw. */
#define RESOLVE(into, name)                                                       \
	do {                                                                      \
		__typeof__(into) next = (__typeof__(into))dlsym(RTLD_NEXT, name); \
                                                                                  \
		if (next)                                                         \
			__atomic_store_n(&(into), next, __ATOMIC_RELAXED);        \
	} while (0)

struct library {
	uintptr_t start, end;
};

/*
 * glibc's segments. By one dladdr, which looks at all symbols of a library, and not by dl_iterate_phdr: sanitizers put
 * their own in front of that, which calls through NULL as long as they are not set up, and malloc is called before.
 */
static struct library glibc(void)
{
	struct library l = {0};
#ifdef __GLIBC__
	const ElfW(Phdr) * segment;
	const ElfW(Ehdr) * file;
	Dl_info found;

	if (!dladdr((void *)(uintptr_t)gnu_get_libc_version, &found))
		return l;
	l.start = (uintptr_t)found.dli_fbase;
	file = found.dli_fbase;
	segment = (const void *)(l.start + file->e_phoff);
	for (int i = 0; i < file->e_phnum; i++) {
		uintptr_t end = l.start + segment[i].p_vaddr + segment[i].p_memsz;

		if (segment[i].p_type == PT_LOAD && end > l.end)
			l.end = end;
	}
#endif
	return l;
}

static bool is_in(const struct library *l, const void *function)
{
	return (uintptr_t)function >= l->start && (uintptr_t)function < l->end;
}

const struct mrn_real_heap *mrn_real_heap_found;

const struct mrn_real_heap *mrn_real_heap_look_up(void)
{
	static struct mrn_real_heap heap;
	static MRN_TLS bool looking;
	bool is_glibcs = true, is_first = true;
	struct library libc;
	void *next;

	if (looking)
		return NULL;
	looking = true;
	libc = glibc();
	/* Threads that race here store the same values. */
#define FIND(type, name, arguments)                     \
	next = dlsym(RTLD_NEXT, #name);                 \
	heap.name = (type(*) arguments)(uintptr_t)next; \
	is_glibcs = is_glibcs && is_in(&libc, next);    \
	is_first = is_first && dlsym(RTLD_DEFAULT, #name) == (void *)(uintptr_t)name;
	MRN_HEAP_FUNCTIONS(FIND)
	heap.is_glibcs = is_glibcs;
	heap.is_seen = is_glibcs && is_first;
	looking = false;
	__atomic_store_n(&mrn_real_heap_found, &heap, __ATOMIC_RELEASE);
	return &heap;
}

int mrn_real_clone_look_up(int (*fn)(void *arg), void *stack, int flags, void *arg, ...)
{
	pid_t *parent_tid, *child_tid;
	void *tls;
	va_list ap;

	va_start(ap, arg);
	parent_tid = va_arg(ap, pid_t *);
	tls = va_arg(ap, void *);
	child_tid = va_arg(ap, pid_t *);
	va_end(ap);
	RESOLVE(mrn_real.clone, "clone");
	if (MRN_REAL(clone) == mrn_real_clone_look_up) {
		errno = ENOSYS;
		return -1;
	}
	return MRN_REAL(clone)(fn, stack, flags, arg, parent_tid, tls, child_tid);
}

__attribute__((constructor(101))) static void resolve(void)
{
	/* Set now, so that threads do not race for it. */
	mrn_mm_self();
	mrn_source_process_is(getpid());
	mrn_real_heap();
#define FUNCTION(name, call)
#define REAL(name, call)	RESOLVE(mrn_real.name, #name);
#define REAL_AS(name, as, call) RESOLVE(mrn_real.as, #name);
#include "source/interpose/functions.def"
	RESOLVE(mrn_real_syscall, "syscall");
	mrn_refused = mrn_source_refused();
	mrn_interposer_present(mrn_wrappers, MRN_WRAPPERS);
}
