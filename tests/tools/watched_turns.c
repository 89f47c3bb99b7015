/* SPDX-License-Identifier: BSD-3-Clause */
/* Two small libraries that tests/tools/watched.c loads in turns: the loader puts them at the same address. */
#include <sys/mman.h>

int NAME(void);
int NAME(void)
{
	char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = p == MAP_FAILED ? -1 : munmap(p, 4096);

	/* Not a tail call. */
	return r ? 1 : 0;
}
