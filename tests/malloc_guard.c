/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/malloc_guard.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "os/syscall.h"
#include "tests/harness/test.h"

#if defined(__GLIBC__) && !TEST_ASAN && !TEST_TSAN

static unsigned long calls;

/* glibc's own, under the names that it keeps for this. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);
void __libc_free(void *p);

static void guard(const char *who)
{
	static const char what[] = " on the event path\n";

	__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
	if (__builtin_expect(!mrn_check_event_path, 1))
		return;
	mrn_sys3(SYS_write, STDERR_FILENO, (long)who, (long)strlen(who));
	mrn_sys3(SYS_write, STDERR_FILENO, (long)what, sizeof(what) - 1);
	abort();
}

void *malloc(size_t size)
{
	guard("malloc");
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	guard("calloc");
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	guard("realloc");
	return __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	guard("reallocarray");
	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, bytes);
}

void free(void *p)
{
	guard("free");
	__libc_free(p);
}

void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
	guard("memalign");
	return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	guard("aligned_alloc");
	return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	void *p;

	guard("posix_memalign");
	if (!align || align % sizeof(void *) || (align & (align - 1)))
		return EINVAL;
	p = __libc_memalign(align, size);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *valloc(size_t size)
{
	guard("valloc");
	return __libc_valloc(size);
}

void *pvalloc(size_t size);
void *pvalloc(size_t size)
{
	guard("pvalloc");
	return __libc_pvalloc(size);
}

bool malloc_guard_works(void)
{
	return true;
}

unsigned long malloc_guard_calls(void)
{
	return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

#else

bool malloc_guard_works(void)
{
	return false;
}

unsigned long malloc_guard_calls(void)
{
	return 0;
}

#endif
