/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In place of libcuda, libcudart and libamdhip64, which need a GPU: memory that is registered is locked, and that is all.
 * So it shows which registrations are followed, and not what a GPU would read. The runtime calls the driver by name. There
 * are two devices, and each has two contexts: number 0 is the primary one.
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
int cuCtxGetCurrent(void **context);
int cuCtxGetDevice(int *device);
int cuCtxDestroy_v2(void *context);
int cuCtxDestroy(void *context);
int cuDevicePrimaryCtxGetState(int device, unsigned int *flags, int *active);
int cuDevicePrimaryCtxReset_v2(int device);
int cuDevicePrimaryCtxReset(int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cuDevicePrimaryCtxRelease(int device);
int cudaGetDevice(int *device);
int cudaDeviceReset(void);
int hipGetDevice(int *device);
int hipDeviceReset(void);
int hipCtxGetCurrent(void **context);
int hipCtxDestroy(void *context);
/* How many are registered. */
int gpu_stand_in_count(void);
/* The current context, as a handle; and how many have a device's primary one. */
void *gpu_stand_in_use(int device, int context);
extern int gpu_stand_in_holders[2];

/* One thread's. */
static struct {
	void *addr;
	size_t length;
	const void *context;
} registered[MAX];

static char contexts[2][2];
static char *current = &contexts[0][0];
int gpu_stand_in_holders[2] = {1, 1};

static int device_of(const char *context)
{
	return context >= contexts[1];
}

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
	registered[i].context = current;
	return 0;
}

int cuMemHostRegister(void *addr, size_t length, unsigned int flags)
{
	return cuMemHostRegister_v2(addr, length, flags);
}

static int unregister(const void *addr)
{
	int i = find(addr);

	if (!addr || i < 0)
		return NOT_REGISTERED;
	munlock(addr, registered[i].length);
	registered[i].addr = NULL;
	return 0;
}

int cuMemHostUnregister(void *addr)
{
	return unregister(addr);
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

/* ---- contexts */

static int end_of(const void *context)
{
	for (int i = 0; i < MAX; i++)
		if (registered[i].addr && registered[i].context == context)
			unregister(registered[i].addr);
	return 0;
}

void *gpu_stand_in_use(int device, int context)
{
	current = &contexts[device][context];
	return current;
}

int cuCtxGetCurrent(void **context)
{
	*context = current;
	return 0;
}

int cuCtxGetDevice(int *device)
{
	*device = device_of(current);
	return 0;
}

/* No primary one. */
static int destroy(const void *context)
{
	return context == contexts[0] || context == contexts[1] ? INVALID : end_of(context);
}

int cuCtxDestroy_v2(void *context)
{
	return destroy(context);
}

int cuCtxDestroy(void *context)
{
	return destroy(context);
}

int cuDevicePrimaryCtxGetState(int device, unsigned int *flags, int *active)
{
	*flags = 0;
	*active = gpu_stand_in_holders[device] > 0;
	return 0;
}

int cuDevicePrimaryCtxReset_v2(int device)
{
	return end_of(contexts[device]);
}

int cuDevicePrimaryCtxReset(int device)
{
	return end_of(contexts[device]);
}

static int release(int device)
{
	return --gpu_stand_in_holders[device] ? 0 : end_of(contexts[device]);
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
	return release(device);
}

int cuDevicePrimaryCtxRelease(int device)
{
	return release(device);
}

int cudaGetDevice(int *device)
{
	return cuCtxGetDevice(device);
}

int cudaDeviceReset(void)
{
	return end_of(contexts[device_of(current)]);
}

int hipGetDevice(int *device)
{
	return cuCtxGetDevice(device);
}

int hipDeviceReset(void)
{
	return end_of(contexts[device_of(current)]);
}

int hipCtxGetCurrent(void **context)
{
	return cuCtxGetCurrent(context);
}

int hipCtxDestroy(void *context)
{
	return destroy(context);
}
