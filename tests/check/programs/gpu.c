/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory registered with a GPU's library (gpu_stand_in.c). WAY: driver, driver1 (its first version), runtime, hip; or
 * over:runtime, over:hip, where the device is reset first.
 */
#include <errno.h>
#include <string.h>

#include "tests/check/programs/steps.h"

typedef int register_function(void *addr, size_t length, unsigned int flags);
typedef int unregister_function(void *addr);
register_function cuMemHostRegister, cuMemHostRegister_v2, cudaHostRegister, hipHostRegister;
unregister_function cuMemHostUnregister, cudaHostUnregister, hipHostUnregister;

int cudaDeviceReset(void);
int hipDeviceReset(void);

static const struct way {
	const char *name;
	register_function *reg;
	unregister_function *unreg;
	int (*reset)(void);
} ways[] = {
	{"driver", cuMemHostRegister_v2, cuMemHostUnregister, NULL},
	{"driver1", cuMemHostRegister, cuMemHostUnregister, NULL},
	{"runtime", cudaHostRegister, cudaHostUnregister, NULL},
	{"hip", hipHostRegister, hipHostUnregister, NULL},
	{"over:runtime", cudaHostRegister, cudaHostUnregister, cudaDeviceReset},
	{"over:hip", hipHostRegister, hipHostUnregister, hipDeviceReset},
};
static const struct way *chosen;
static void *registered;

void steps_open(const char *way)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, way))
			chosen = &ways[i];
	if (!chosen)
		steps_fail(way, EINVAL);
}

void steps_register(char *p, size_t length)
{
	/* Twice: the second time is refused, and changes nothing. */
	if (chosen->reg(p, length, 0) || !chosen->reg(p, length, 0))
		steps_fail("register", EIO);
	registered = p;
	if (chosen->reset && chosen->reset())
		steps_fail("reset", EIO);
}

/* A GPU's: nobody sees it. */
void steps_use(char *p, size_t length)
{
}

void steps_unregister(void)
{
	if (!!chosen->reset != !!chosen->unreg(registered) || !chosen->unreg(registered))
		steps_fail("unregister", EIO);
}
