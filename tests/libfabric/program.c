/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that knows nothing of mrn: it calls libfabric, over the verbs device that is preloaded (tests/verbs/device),
 * and registers memory that changes by bare system calls. Prints what the device finds: B, or A if it is stale.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/raw.h"
#include "tests/libfabric/domain.h"

#define LENGTH 65536

/* The device's one key of a registration, and what it reads there. */
static uint32_t look(struct fid_domain *domain, char *p, char *byte)
{
	int (*read_by)(uint32_t, const void *, size_t, void *) =
		(int (*)(uint32_t, const void *, size_t, void *))dlsym(RTLD_DEFAULT,
								       "verbs_device_read");
	struct fid_mr *mr;
	uint32_t key;

	if (fi_mr_reg(domain, p, LENGTH, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL))
		exit(77);
	key = (uint32_t)fi_mr_key(mr);
	if (!read_by || read_by(key, p, 1, byte))
		exit(3);
	fi_close(&mr->fid);
	return key;
}

int main(void)
{
	struct fid_domain *domain;
	char byte,
		*p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool kept;

	if (domain_open(&domain) || p == MAP_FAILED)
		return 77;
	memset(p, 'A', LENGTH);
	look(domain, p, &byte);
	kept = look(domain, p, &byte) == look(domain, p, &byte);
	test_raw4(SYS_munmap, (long)p, LENGTH, 0, 0);
	/* There may be no sixth argument, and none is needed. */
	if (test_raw4(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED) != (long)p)
		return 4;
	memset(p, 'B', LENGTH);
	look(domain, p, &byte);
	printf("%s %c\n", kept ? "kept" : "not kept", byte);
	return 0;
}
