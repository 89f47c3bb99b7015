/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program at fixed addresses that takes the addresses of functions which libmrn-interpose has in front: by its symbols,
 * they are in the program. What is watched for being written over is the library's all the same.
 */
#include <dlfcn.h>
#include <errno.h>
#include <mrn/source.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/harness/raw.h"
#include "tests/harness/test.h"

static void (*volatile taken_free)(void *block);
static int (*volatile taken_munmap)(void *addr, size_t length);

/* A jump to libc's own over our function. */
static void write_over(const char *name)
{
	unsigned char jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
	void *ours = dlopen("libmrn-interpose.so.0", RTLD_NOW | RTLD_NOLOAD);
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	void *function = ours ? dlsym(ours, name) : NULL, *next = libc ? dlsym(libc, name) : NULL;

	CHECK_MSG(function && next && function != next, "%s", name);
	memcpy(jump + 2, &next, sizeof(next));
	CHECK_EQ(test_raw4(SYS_mprotect, (long)((uintptr_t)function & -4096ul), 8192,
			   PROT_READ | PROT_WRITE | PROT_EXEC, 0),
		 0);
	memcpy(function, jump, sizeof(jump));
}

static void check_noticed(const char *name)
{
	struct mrn_source *source;

	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, NULL, &source))
		SKIP("the interposer is not to be had here");
	/* By instructions, not by data: a number of the program's. */
	taken_free = free;
	taken_munmap = munmap;
	CHECK_ERR(mrn_source_check(source), 0);
	write_over(name);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
}

TEST(free_is_written_over)
{
	check_noticed("free");
}

TEST(munmap_is_written_over)
{
	check_noticed("munmap");
}
