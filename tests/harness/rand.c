/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#include <stdlib.h>

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void choose_seed(void)
{
	const char *given = getenv("MRN_TEST_SEED");

	if (given)
		seed = strtoull(given, NULL, 0);
	else if (test_raw4(SYS_getrandom, (long)&seed, sizeof(seed), 0, 0) < 0)
		seed = test_now_ns();
	NOTE("MRN_TEST_SEED=%#llx", (unsigned long long)seed);
}

/* splitmix64's mixer: neighbouring seeds and streams give unrelated states. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void test_rand_init(struct test_rand *r, uint64_t stream)
{
	pthread_once(&seed_once, choose_seed);
	r->state = mix(seed ^ mix(stream));
	/* The one state that xorshift never leaves. */
	if (r->state == 0)
		r->state = 1;
}

/* xorshift64* */
uint64_t test_rand(struct test_rand *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t test_rand_below(struct test_rand *r, uint64_t limit)
{
	/* The high half of the product: no bias that a test's limits could show. */
	return (uint64_t)(((__uint128_t)test_rand(r) * limit) >> 64);
}
