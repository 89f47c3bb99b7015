/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small program for tests/tools/watch_exec.c, which is built for several loaders and with several runtimes.
 *
 *	watched-small N [big]	unmaps so often, by munmap or by freeing large blocks
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int unmap(int big)
{
	enum { SIZE = 3 * 4096 };
	char *p;

	if (big) {
		char *volatile block = malloc(64 << 20);

		free(block);
		return block == NULL;
	}
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED || munmap(p, SIZE);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0;

	for (int i = 0; i < n; i++)
		if (unmap(argc > 2))
			return 98;
	puts("small");
	return 0;
}
