/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check understands of CUDA's and HIP's calls, in front of programs/gpu_stand_in.c. */
#include "check/record/gpu.h"

#include "check/shared/check.h"
#include "tests/check/stub.h"
#include "tests/harness/test.h"

#define LENGTH 4096

typedef int register_function(void *addr, size_t length, unsigned int flags);
typedef int unregister_function(void *addr);
register_function cuMemHostRegister, cuMemHostRegister_v2, cudaHostRegister, hipHostRegister;
unregister_function cuMemHostUnregister, cudaHostUnregister, hipHostUnregister;
int gpu_stand_in_count(void);

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

static char memory[2 * LENGTH] __attribute__((aligned(LENGTH)));

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
