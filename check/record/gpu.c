/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declared here, so that no header of theirs is needed: an address, a length, flags, and an error's number or 0.
 *
 * A registration ends with its context, and all those of a device end when it is reset. NVIDIA's documents do not say that
 * one for all contexts (the flag PORTABLE) is an exception. Whose a registration is, is asked when it has been made; if
 * nobody can say, it ends with the first context that does. Those of a device's other contexts end with its primary one,
 * here: then changes are not reported, which is better than one that is wrong.
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
typedef int context_function(void *context);
typedef int device_function(int device);
typedef int here_function(void);
typedef void any_function(void);

register_function cuMemHostRegister, cuMemHostRegister_v2, cudaHostRegister, hipHostRegister;
unregister_function cuMemHostUnregister, cudaHostUnregister, hipHostUnregister;
context_function cuCtxDestroy, cuCtxDestroy_v2, hipCtxDestroy;
device_function cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2;
device_function cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2;
here_function cudaDeviceReset, hipDeviceReset;
/* Which are asked, and not stood in front of. */
int cuCtxGetCurrent(void **context);
int cuCtxGetDevice(int *device);
int cuDevicePrimaryCtxGetState(int device, unsigned int *flags, int *active);
int cudaGetDevice(int *device);
int hipCtxGetCurrent(void **context);
int hipGetDevice(int *device);

/* All three have this number for an error of no known kind. */
#define UNKNOWN 999

/* Their libraries' names. */
#define DRIVER	"libcuda.so.1"
#define RUNTIME "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2"
#define HIP	"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"

/* Whose function has been called. */
enum library { OF_DRIVER, OF_RUNTIME, OF_HIP };

/* By address: the registration, its context and its device. */
static struct check_keys registrations;
enum { REG, CONTEXT, DEVICE };
#define UNKNOWN_CONTEXT 0
#define UNKNOWN_DEVICE	(-1)
static const char cuda_scope, hip_scope;

/* CUDA's runtime registers by calling the driver. */
static MRN_TLS bool inside;

static enum check_interface interface_of(enum library library)
{
	return library == OF_HIP ? CHECK_HIP : CHECK_CUDA;
}

static struct check_key key_of(enum check_interface of, const void *addr)
{
	const char *scope = of == CHECK_HIP ? &hip_scope : &cuda_scope;

	return (struct check_key){(uintptr_t)scope, (uintptr_t)addr};
}

static struct check_reg *reg_of(const struct check_value *value)
{
	return (struct check_reg *)(uintptr_t)value->word[REG];
}

/* ------------------------------------------------------------------------------- contexts and devices */

/*
 * The function of this name in the library of another one, behind, which the program has called. It is looked for once: that
 * may take the loader's lock, which a thread may hold that waits for this one. So it is asked for only when it must be there,
 * and is not there later if it is not now.
 */
#define FOUND_WITH(behind, name, ...)                                                             \
	__extension__({                                                                           \
		static bool looked_; /* atomic */                                                 \
		static void *found_; /* atomic */                                                 \
                                                                                                  \
		/* Acquire pairs with the release. Threads that look together find the same. */   \
		if (!__atomic_load_n(&looked_, __ATOMIC_ACQUIRE)) {                               \
			__atomic_store_n(&found_,                                                 \
					 (void *)MRN_BEHIND_OF((const void *)(uintptr_t)(behind), \
							       name, __VA_ARGS__),                \
					 __ATOMIC_RELAXED);                                       \
			__atomic_store_n(&looked_, true, __ATOMIC_RELEASE);                       \
		}                                                                                 \
		(__typeof__(&(name)))__atomic_load_n(&found_, __ATOMIC_RELAXED);                  \
	})

/* What such a function says, or what stands for unknown. */
#define ASK(behind, unknown, type, name, ...)                                     \
	__extension__({                                                           \
		__typeof__(&(name)) ask_ = FOUND_WITH(behind, name, __VA_ARGS__); \
		type is_ = (unknown);                                             \
                                                                                  \
		ask_ && !ask_(&is_) ? is_ : (unknown);                            \
	})

/* Each library says it itself: the driver's calls need no runtime, and a device has the same number in both. */
static int device_now(enum library library, any_function *behind)
{
	switch (library) {
	case OF_DRIVER:
		return ASK(behind, UNKNOWN_DEVICE, int, cuCtxGetDevice, DRIVER);
	case OF_RUNTIME:
		return ASK(behind, UNKNOWN_DEVICE, int, cudaGetDevice, RUNTIME);
	default:
		return ASK(behind, UNKNOWN_DEVICE, int, hipGetDevice, HIP);
	}
}

/* After a registration by the runtime the driver is loaded. */
static uintptr_t context_now(enum library library, any_function *behind)
{
	return (uintptr_t)(library == OF_HIP ? ASK(behind, NULL, void *, hipCtxGetCurrent, HIP)
					     : ASK(behind, NULL, void *, cuCtxGetCurrent, DRIVER));
}

struct end {
	enum check_interface of;
	uintptr_t context; /* of a context; or UNKNOWN_CONTEXT, and then of a device */
	int device;
};

static bool is_ended(struct check_key key, const struct check_value *value, const void *arg)
{
	const struct end *end = arg;
	const uintptr_t context = (uintptr_t)value->word[CONTEXT];
	const int device = (int)value->word[DEVICE];

	if (key.scope != key_of(end->of, NULL).scope || MRN_BROKEN(CHECK_GPU_CONTEXTS))
		return false;
	if (MRN_BROKEN(CHECK_GPU_DEVICES))
		return true;
	if (end->context != UNKNOWN_CONTEXT)
		return context == end->context || context == UNKNOWN_CONTEXT;
	return device == end->device || device == UNKNOWN_DEVICE || end->device == UNKNOWN_DEVICE;
}

static void end_taken(const struct check_value *value)
{
	check_reg_end(reg_of(value));
}

static void end_those(struct end end)
{
	check_keys_sweep(&registrations, is_ended, &end, end_taken);
}

static int destroy(enum check_interface of, context_function *behind, void *context)
{
	const int r = behind ? behind(context) : UNKNOWN;

	if (!r && context)
		end_those((struct end){.of = of, .context = (uintptr_t)context});
	return r;
}

static int reset_here(enum library library, here_function *behind)
{
	int device, r;

	if (!behind)
		return UNKNOWN;
	device = device_now(library, (any_function *)behind);
	r = behind();
	if (!r)
		end_those((struct end){.of = interface_of(library), .device = device});
	return r;
}

static int reset(device_function *behind, int device)
{
	const int r = behind ? behind(device) : UNKNOWN;

	if (!r)
		end_those((struct end){.of = CHECK_CUDA, .device = device});
	return r;
}

/* Others may have the device's primary context yet. */
static bool is_active(device_function *behind, int device)
{
	__typeof__(&cuDevicePrimaryCtxGetState) ask =
		FOUND_WITH(behind, cuDevicePrimaryCtxGetState, DRIVER);
	unsigned int flags;
	int active;

	return ask && !ask(device, &flags, &active) && active;
}

static int release(device_function *behind, int device)
{
	const int r = behind ? behind(device) : UNKNOWN;

	if (!r && !is_active(behind, device))
		end_those((struct end){.of = CHECK_CUDA, .device = device});
	return r;
}

/* -------------------------------------------------------------------------------------- registrations */

static void enter(enum library library, any_function *behind, const void *addr,
		  struct check_reg *reg)
{
	const enum check_interface of = interface_of(library);
	struct check_value old, value = {.word = {(uintptr_t)reg, context_now(library, behind),
						  (uint64_t)device_now(library, behind)}};

	/* It has ended without our seeing it. */
	if (check_keys_take(&registrations, key_of(of, addr), &old))
		check_reg_end(reg_of(&old));
	check_reg_done(reg, (uintptr_t)addr);
	if (check_keys_put(&registrations, key_of(of, addr), value))
		check_reg_end(reg);
}

static int follow(enum library library, register_function *behind, void *addr, size_t length,
		  unsigned int flags)
{
	struct check_reg *reg = NULL;
	int r;

	if (!behind)
		return UNKNOWN;
	if (inside && !MRN_BROKEN(CHECK_GPU_TWICE))
		return behind(addr, length, flags);
	if (addr && length)
		reg = check_reg_begin(interface_of(library), (uintptr_t)addr, length,
				      CHECK_UNSEEN_USES);
	inside = true;
	r = behind(addr, length, flags);
	inside = false;
	if (r || !reg)
		check_reg_end(reg);
	else
		enter(library, (any_function *)behind, addr, reg);
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

#define REGISTER(name, library, libraries)                                                \
	EXPORTED int name(void *addr, size_t length, unsigned int flags)                  \
	{                                                                                 \
		return follow(library, MRN_BEHIND(name, libraries), addr, length, flags); \
	}
#define UNREGISTER(name, of, libraries)                              \
	EXPORTED int name(void *addr)                                \
	{                                                            \
		return leave(of, MRN_BEHIND(name, libraries), addr); \
	}

#define DESTROY(name, of, library)                                      \
	EXPORTED int name(void *context)                                \
	{                                                               \
		return destroy(of, MRN_BEHIND(name, library), context); \
	}
#define OF_DEVICE(does, name)                                  \
	EXPORTED int name(int device)                          \
	{                                                      \
		return does(MRN_BEHIND(name, DRIVER), device); \
	}
#define RESET_HERE(name, library, libraries)                             \
	EXPORTED int name(void)                                          \
	{                                                                \
		return reset_here(library, MRN_BEHIND(name, libraries)); \
	}

REGISTER(cuMemHostRegister, OF_DRIVER, DRIVER)
REGISTER(cuMemHostRegister_v2, OF_DRIVER, DRIVER)
UNREGISTER(cuMemHostUnregister, CHECK_CUDA, DRIVER)
REGISTER(cudaHostRegister, OF_RUNTIME, RUNTIME)
UNREGISTER(cudaHostUnregister, CHECK_CUDA, RUNTIME)
REGISTER(hipHostRegister, OF_HIP, HIP)
UNREGISTER(hipHostUnregister, CHECK_HIP, HIP)
DESTROY(cuCtxDestroy, CHECK_CUDA, DRIVER)
DESTROY(cuCtxDestroy_v2, CHECK_CUDA, DRIVER)
DESTROY(hipCtxDestroy, CHECK_HIP, HIP)
OF_DEVICE(reset, cuDevicePrimaryCtxReset)
OF_DEVICE(reset, cuDevicePrimaryCtxReset_v2)
OF_DEVICE(release, cuDevicePrimaryCtxRelease)
OF_DEVICE(release, cuDevicePrimaryCtxRelease_v2)
RESET_HERE(cudaDeviceReset, OF_RUNTIME, RUNTIME)
RESET_HERE(hipDeviceReset, OF_HIP, HIP)

void check_gpu_restart(void)
{
	check_keys_clear(&registrations);
	inside = false;
}
