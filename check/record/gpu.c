/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declared here, so that no header of theirs is needed: an address, a length, flags, and an error's number or 0.
 *
 * Not seen: what a program calls by an address that it has asked the library itself for (dlsym, cuGetProcAddress). So does
 * CUDA's runtime with the driver; and it is linked statically unless nvcc is told otherwise, and then is not seen itself.
 */
#include "check/record/gpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/record/keys.h"
#include "check/record/registration.h"
#include "check/shared/check.h"
#include "os/behind.h"
#include "os/thread.h"

#include "os/event_path.h"

#define EXPORTED __attribute__((visibility("default")))

typedef int register_function(void *addr, size_t length, unsigned int flags);
typedef int unregister_function(void *addr);

register_function cuMemHostRegister, cuMemHostRegister_v2, cudaHostRegister, hipHostRegister;
unregister_function cuMemHostUnregister, cudaHostUnregister, hipHostUnregister;

/* All three have this number for an error of no known kind. */
#define UNKNOWN 999

/* Their libraries' names. */
#define DRIVER	"libcuda.so.1"
#define RUNTIME "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2"
#define HIP	"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"

/* By address: the registration. */
static struct check_keys registrations;
static const char cuda_scope, hip_scope;

/* CUDA's runtime registers by calling the driver. */
static MRN_TLS bool inside;

static struct check_key key_of(enum check_interface of, const void *addr)
{
	const char *scope = of == CHECK_HIP ? &hip_scope : &cuda_scope;

	return (struct check_key){(uintptr_t)scope, (uintptr_t)addr};
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[0];
}

static void enter(enum check_interface of, const void *addr, struct check_reg *reg)
{
	struct check_value old, value = {.word = {(uintptr_t)reg}};

	/* It has ended without our seeing it. */
	if (check_keys_take(&registrations, key_of(of, addr), &old))
		check_reg_end(reg_of(&old));
	check_reg_done(reg, (uintptr_t)addr);
	if (check_keys_put(&registrations, key_of(of, addr), value))
		check_reg_end(reg);
}

static int follow(enum check_interface of, register_function *behind, void *addr, size_t length,
		  unsigned int flags)
{
	struct check_reg *reg = NULL;
	int r;

	if (!behind)
		return UNKNOWN;
	if (inside && !MRN_BROKEN(CHECK_GPU_TWICE))
		return behind(addr, length, flags);
	if (addr && length)
		reg = check_reg_begin(of, (uintptr_t)addr, length, CHECK_UNSEEN_USES);
	inside = true;
	r = behind(addr, length, flags);
	inside = false;
	if (r || !reg)
		check_reg_end(reg);
	else
		enter(of, addr, reg);
	return r;
}

static int leave(enum check_interface of, unregister_function *behind, void *addr)
{
	struct check_key key = key_of(of, addr);
	struct check_value value;
	bool known;
	int r;

	if (!behind)
		return UNKNOWN;
	/* Before the call: after it another thread may register the address. */
	known = check_keys_take(&registrations, key, &value);
	r = behind(addr);
	if (known && (!r || check_keys_put(&registrations, key, value)))
		check_reg_end(reg_of(&value));
	return r;
}

#define REGISTER(name, of, libraries)                                                \
	EXPORTED int name(void *addr, size_t length, unsigned int flags)             \
	{                                                                            \
		return follow(of, MRN_BEHIND(name, libraries), addr, length, flags); \
	}
#define UNREGISTER(name, of, libraries)                              \
	EXPORTED int name(void *addr)                                \
	{                                                            \
		return leave(of, MRN_BEHIND(name, libraries), addr); \
	}

REGISTER(cuMemHostRegister, CHECK_CUDA, DRIVER)
REGISTER(cuMemHostRegister_v2, CHECK_CUDA, DRIVER)
UNREGISTER(cuMemHostUnregister, CHECK_CUDA, DRIVER)
REGISTER(cudaHostRegister, CHECK_CUDA, RUNTIME)
UNREGISTER(cudaHostUnregister, CHECK_CUDA, RUNTIME)
REGISTER(hipHostRegister, CHECK_HIP, HIP)
UNREGISTER(hipHostUnregister, CHECK_HIP, HIP)

void check_gpu_restart(void)
{
	check_keys_clear(&registrations);
	inside = false;
}
