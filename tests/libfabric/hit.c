/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that knows nothing of libmrn: prints how many ns one use of a registration takes that libfabric's cache of
 * the verbs provider already has (fi_mr_reg and fi_close). Linked with the device, since this machine may have none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/libfabric/domain.h"
#include "tests/verbs/device/device.h"

#define LENGTH	65536
#define BUFFERS 64
#define USES	1000000

/* The registration's key, or 0: it cannot be registered. */
static uint64_t use(struct fid_domain *domain, char *at)
{
	struct fid_mr *mr;
	uint64_t key;

	if (fi_mr_reg(domain, at, LENGTH, FI_SEND | FI_RECV, 0, 0, 0, &mr, NULL))
		return 0;
	key = fi_mr_key(mr);
	return fi_close(&mr->fid) ? 0 : key;
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
	struct fid_domain *domain;
	char *memory = aligned_alloc(LENGTH, (size_t)BUFFERS * LENGTH);
	uint64_t keys[BUFFERS];
	double start;
	char byte;

	if (domain_open(&domain) || !memory) {
		fputs("hit: no domain of the verbs provider\n", stderr);
		return 77;
	}
	memset(memory, 1, (size_t)BUFFERS * LENGTH);
	/* Twice: what the first attempt registers need not be kept. */
	for (size_t i = 0; i < (size_t)2 * BUFFERS; i++) {
		keys[i % BUFFERS] = use(domain, memory + i % BUFFERS * LENGTH);
		if (!keys[i % BUFFERS]) {
			fputs("hit: nothing can be registered here\n", stderr);
			return 77;
		}
	}
	start = now_ns();
	for (size_t i = 0; i < USES; i++)
		if (use(domain, memory + i % BUFFERS * LENGTH) != keys[i % BUFFERS]) {
			fputs("hit: the cache registers anew\n", stderr);
			return 1;
		}
	start = now_ns() - start;
	if (verbs_device_read((uint32_t)keys[0], memory, 1, &byte) || byte != 1) {
		fputs("hit: the device does not see the memory\n", stderr);
		return 1;
	}
	printf("%.1f\n", start / USES);
	return 0;
}
