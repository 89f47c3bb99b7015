/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A module that calls back: built twice, so that the same functions have other frames in the other one. Without frame
 * pointers.
 */
#include <string.h>

void module_calls(void (*f)(void), int depth);
void module_realigns(void (*f)(void), int n);

static int sink;

/* Before the unwind table, which the other one has elsewhere, too. */
__attribute__((used)) static const char filler[ROOM * 8] = {1};

__attribute__((noinline)) void module_calls(void (*f)(void), int depth)
{
	volatile char room[ROOM];

	room[0] = (char)depth;
	if (depth)
		module_calls(f, depth - 1);
	else
		f();
	sink += room[0];
}

/* Its frame is found only where the stack keeps its address: aligned more than calls are, and of a size unknown here. */
__attribute__((noinline)) void module_realigns(void (*f)(void), int n)
{
	char aligned[ROOM] __attribute__((aligned(64))), some[n];

	__asm__ volatile("" : : "r"(aligned), "r"(some) : "memory");
	memset(aligned, n, sizeof(aligned));
	f();
	sink += aligned[n % ROOM];
	__asm__ volatile("" : : "r"(aligned), "r"(some) : "memory");
}
