/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of CUDA's and HIP's calls, in front of programs/gpu_stand_in.c. */
#include "check/record/gpu.h"

#include "check/shared/check.h"
#include "os/behind.h"
#include "tests/check/stub.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"

#define LENGTH 4096

typedef int register_function(void *addr, size_t length, unsigned int flags);
typedef int unregister_function(void *addr);
register_function cuMemHostRegister, cuMemHostRegister_v2, cudaHostRegister, hipHostRegister;
unregister_function cuMemHostUnregister, cudaHostUnregister, hipHostUnregister;
int gpu_stand_in_count(void);
void *gpu_stand_in_use(int device, int context);
extern int gpu_stand_in_holders[2];
int cuCtxDestroy(void *context);
int cuCtxDestroy_v2(void *context);
int hipCtxDestroy(void *context);
int cuDevicePrimaryCtxReset(int device);
int cuDevicePrimaryCtxReset_v2(int device);
int cuDevicePrimaryCtxRelease(int device);
int cuDevicePrimaryCtxRelease_v2(int device);
int cudaDeviceReset(void);
int hipDeviceReset(void);

static const struct way {
	enum check_interface of;
	register_function *reg;
	unregister_function *unreg;
} ways[] = {
	{CHECK_CUDA, cuMemHostRegister_v2, cuMemHostUnregister},
	{CHECK_CUDA, cuMemHostRegister, cuMemHostUnregister},
	{CHECK_CUDA, cudaHostRegister, cudaHostUnregister},
	{CHECK_HIP, hipHostRegister, hipHostUnregister},
};

static char memory[4 * LENGTH] __attribute__((aligned(LENGTH)));

static void looked(const char *name)
{
	FAIL("%s is looked for when it is called", name);
}

/* A call needs no loader's lock if the library was there at the start. */
TEST(what_is_behind_is_looked_for_before)
{
	mrn_behind_look();
	mrn_check_behind_looks_hook = looked;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (ways[i].reg(memory, LENGTH, 0))
			SKIP("memory cannot be locked here");
		CHECK_EQ(ways[i].unreg(memory), 0);
	}
	CHECK_EQ(cudaDeviceReset(), 0);
}
TWIN(what_is_behind_is_looked_for_before, late, BREAK(BEHIND_EARLY));

/* The runtime calls the driver by name, which leads to ours: that is no second registration. */
TEST(a_registration_is_followed_once_until_it_ends)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		unsigned int before = stub_begun;
		const struct check_reg *reg;

		if (ways[i].reg(memory, LENGTH, 0))
			SKIP("memory cannot be locked here");
		CHECK_EQ(gpu_stand_in_count(), 1);
		reg = stub_newest();
		CHECK_EQ(stub_begun, before + 1);
		CHECK_EQ(reg->of, ways[i].of);
		CHECK_EQ(reg->addr, (uintptr_t)memory);
		CHECK_EQ(reg->length, LENGTH);
		CHECK_EQ(reg->flags, CHECK_UNSEEN_USES);
		CHECK_EQ(reg->name, (uintptr_t)memory);
		CHECK_EQ(reg->state, STUB_DONE);
		/* What is refused ends nothing. */
		CHECK_EQ(ways[i].reg(memory, LENGTH, 0), 712);
		CHECK_EQ(ways[i].reg(NULL, LENGTH, 0), 1);
		CHECK_EQ(ways[i].unreg(memory + LENGTH), 713);
		CHECK_EQ(reg->state, STUB_DONE);
		CHECK_EQ(stub_count(STUB_DONE), 1);
		CHECK_EQ(ways[i].unreg(memory), 0);
		CHECK_EQ(ways[i].unreg(memory), 713);
		CHECK_EQ(gpu_stand_in_count(), 0);
		CHECK_EQ(stub_count(STUB_BEGUN) + stub_count(STUB_DONE), 0);
	}
}
TWIN(a_registration_is_followed_once_until_it_ends, no_guard, MRN_BREAK(CHECK_GPU_TWICE));

TEST(a_forked_child_has_nothing)
{
	if (cudaHostRegister(memory, LENGTH, 0))
		SKIP("memory cannot be locked here");
	check_gpu_restart();
	CHECK_EQ(cudaHostUnregister(memory), 0);
	CHECK_EQ(stub_newest()->state, STUB_DONE);
}

/* One in each context of each device, in this order. */
static void register_in_all(register_function *reg)
{
	for (int i = 0; i < 4; i++) {
		gpu_stand_in_use(i / 2, i % 2);
		if (reg(memory + i * LENGTH, LENGTH, 0))
			SKIP("memory cannot be locked here");
	}
}

/* Those that have not ended, of the newest four: a digit each. */
static int live(void)
{
	int r = 0;

	for (unsigned int i = stub_begun - 4; i < stub_begun; i++)
		r = r * 10 + (stub_regs[i].state == STUB_DONE);
	return r;
}

static void unregister_all(unregister_function *unreg)
{
	for (int i = 0; i < 4; i++)
		unreg(memory + i * LENGTH);
	CHECK_EQ(live(), 0);
	CHECK_EQ(gpu_stand_in_count(), 0);
}

TEST(a_registration_ends_with_its_context)
{
	static const struct {
		int (*destroy)(void *context);
		register_function *reg;
		unregister_function *unreg;
	} ends[] = {
		{cuCtxDestroy, cuMemHostRegister_v2, cuMemHostUnregister},
		{cuCtxDestroy_v2, cudaHostRegister, cudaHostUnregister},
		{hipCtxDestroy, hipHostRegister, hipHostUnregister},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		register_in_all(ends[i].reg);
		CHECK_EQ(live(), 1111);
		/* It is refused: this is a primary one. */
		CHECK(ends[i].destroy(gpu_stand_in_use(1, 0)) != 0);
		CHECK_EQ(live(), 1111);
		CHECK_EQ(ends[i].destroy(gpu_stand_in_use(1, 1)), 0);
		CHECK_EQ(live(), 1110);
		CHECK_EQ(gpu_stand_in_count(), 3);
		unregister_all(ends[i].unreg);
	}
}
TWIN(a_registration_ends_with_its_context, outlives, MRN_BREAK(CHECK_GPU_CONTEXTS));
TWIN(a_registration_ends_with_its_context, all, MRN_BREAK(CHECK_GPU_DEVICES));

static int reset_first(int device)
{
	(void)device;
	gpu_stand_in_use(0, 0);
	return cudaDeviceReset();
}

static int reset_hip_first(int device)
{
	(void)device;
	gpu_stand_in_use(0, 0);
	return hipDeviceReset();
}

TEST(a_device_s_registrations_end_when_it_is_reset)
{
	static const struct {
		int (*reset)(int device);
		register_function *reg;
		unregister_function *unreg;
	} ends[] = {
		{reset_first, cudaHostRegister, cudaHostUnregister},
		{reset_first, cuMemHostRegister_v2, cuMemHostUnregister},
		{reset_hip_first, hipHostRegister, hipHostUnregister},
		{cuDevicePrimaryCtxReset, cuMemHostRegister_v2, cuMemHostUnregister},
		{cuDevicePrimaryCtxReset_v2, cuMemHostRegister_v2, cuMemHostUnregister},
		{cuDevicePrimaryCtxRelease, cuMemHostRegister_v2, cuMemHostUnregister},
		{cuDevicePrimaryCtxRelease_v2, cuMemHostRegister_v2, cuMemHostUnregister},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		gpu_stand_in_holders[0] = 1;
		register_in_all(ends[i].reg);
		CHECK_EQ(ends[i].reset(0), 0);
		CHECK_EQ(live(), 11);
		unregister_all(ends[i].unreg);
	}
}
TWIN(a_device_s_registrations_end_when_it_is_reset, outlives, MRN_BREAK(CHECK_GPU_CONTEXTS));
TWIN(a_device_s_registrations_end_when_it_is_reset, all, MRN_BREAK(CHECK_GPU_DEVICES));

TEST(a_context_that_others_have_does_not_end)
{
	gpu_stand_in_holders[0] = 2;
	register_in_all(cuMemHostRegister_v2);
	CHECK_EQ(cuDevicePrimaryCtxRelease_v2(0), 0);
	CHECK_EQ(live(), 1111);
	CHECK_EQ(gpu_stand_in_count(), 4);
	CHECK_EQ(cuDevicePrimaryCtxRelease(0), 0);
	CHECK_EQ(live(), 11);
	unregister_all(cuMemHostUnregister);
}
