/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/check/stub.h"

#include <errno.h>

#include "tests/harness/test.h"

struct check_reg stub_regs[STUB_MAX];
unsigned int stub_begun, stub_wrong_uses;

struct check_reg *check_reg_begin(enum check_interface of, uintptr_t addr, size_t length,
				  uint32_t flags)
{
	unsigned int n = __atomic_fetch_add(&stub_begun, 1, __ATOMIC_RELAXED);
	struct check_reg *reg = &stub_regs[n];

	CHECK(n < STUB_MAX);
	CHECK(length > 0);
	*reg = (struct check_reg){
		.of = of, .addr = addr, .length = length, .flags = flags, .state = STUB_BEGUN};
	return reg;
}

void check_reg_done(struct check_reg *reg, uint64_t name)
{
	if (!reg)
		return;
	/* Again, if it goes by another name from now on. */
	CHECK(reg->state == STUB_BEGUN || reg->state == STUB_DONE);
	reg->name = name;
	__atomic_store_n(&reg->state, STUB_DONE, __ATOMIC_RELAXED);
}

void check_reg_end(struct check_reg *reg)
{
	if (!reg)
		return;
	CHECK(reg->state == STUB_BEGUN || reg->state == STUB_DONE);
	__atomic_store_n(&reg->state, STUB_ENDED, __ATOMIC_RELAXED);
}

bool check_use(struct check_reg *reg, uintptr_t addr, size_t length, const char *op)
{
	if (__atomic_load_n(&reg->state, __ATOMIC_RELAXED) != STUB_DONE || addr < reg->addr ||
	    length > reg->addr + reg->length - addr)
		__atomic_fetch_add(&stub_wrong_uses, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&reg->uses, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&reg->used, addr, __ATOMIC_RELAXED);
	__atomic_store_n(&reg->used_length, length, __ATOMIC_RELAXED);
	__atomic_store_n(&reg->op, op, __ATOMIC_RELAXED);
	return __atomic_load_n(&reg->stale, __ATOMIC_RELAXED);
}

void check_reg_again(struct check_reg *reg, uintptr_t addr, size_t length)
{
	CHECK(reg->state == STUB_DONE);
	reg->again++;
	reg->again_addr = addr;
	reg->again_length = length;
}

unsigned int stub_count(enum stub_state state)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < stub_begun; i++)
		n += stub_regs[i].state == state;
	return n;
}
