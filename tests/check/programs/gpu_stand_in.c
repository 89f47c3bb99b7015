/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In place of libcuda, libcudart and libamdhip64, which need a GPU: memory that is registered is locked, and that is all.
 * So it shows which registrations are followed, and not what a GPU would read. The runtime calls the driver by name.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#define MAX		   64
#define ALREADY_REGISTERED 712
#define NOT_REGISTERED	   713
#define INVALID		   1

int cuMemHostRegister_v2(void *addr, size_t length, unsigned int flags);
int cuMemHostRegister(void *addr, size_t length, unsigned int flags);
int cuMemHostUnregister(void *addr);
int cudaHostRegister(void *addr, size_t length, unsigned int flags);
int cudaHostUnregister(void *addr);
int hipHostRegister(void *addr, size_t length, unsigned int flags);
int hipHostUnregister(void *addr);
/* How many are registered. */
int gpu_stand_in_count(void);

/* One thread's. */
static struct {
	void *addr;
	size_t length;
} registered[MAX];

static int find(const void *addr)
{
	for (int i = 0; i < MAX; i++)
		if (registered[i].addr == addr)
			return i;
	return -1;
}

int cuMemHostRegister_v2(void *addr, size_t length, unsigned int flags)
{
	int i = find(NULL);

	if (!addr || i < 0 || mlock(addr, length))
		return INVALID;
	if (find(addr) >= 0)
		return ALREADY_REGISTERED;
	registered[i].addr = addr;
	registered[i].length = length;
	return 0;
}

int cuMemHostRegister(void *addr, size_t length, unsigned int flags)
{
	return cuMemHostRegister_v2(addr, length, flags);
}

int cuMemHostUnregister(void *addr)
{
	int i = find(addr);

	if (!addr || i < 0)
		return NOT_REGISTERED;
	munlock(addr, registered[i].length);
	registered[i].addr = NULL;
	return 0;
}

int cudaHostRegister(void *addr, size_t length, unsigned int flags)
{
	return cuMemHostRegister_v2(addr, length, flags);
}

int cudaHostUnregister(void *addr)
{
	return cuMemHostUnregister(addr);
}

int hipHostRegister(void *addr, size_t length, unsigned int flags)
{
	return cuMemHostRegister_v2(addr, length, flags);
}

int hipHostUnregister(void *addr)
{
	return cuMemHostUnregister(addr);
}

int gpu_stand_in_count(void)
{
	int n = 0;

	for (int i = 0; i < MAX; i++)
		n += registered[i].addr != NULL;
	return n;
}
