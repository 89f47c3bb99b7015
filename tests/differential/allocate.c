/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that allocate, check, move and free, over whatever malloc there is: prints one sum of what they have read. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define BLOCKS	256
#ifndef STEPS
#define STEPS 20000
#endif

struct block {
	unsigned char *p;
	size_t size;
	unsigned char with;
};

static uint64_t next(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

static uint64_t take(struct block *b)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < b->size; i += 997) {
		if (b->p[i] != b->with)
			abort();
		sum += b->p[i];
	}
	free(b->p);
	b->p = NULL;
	return sum + b->size;
}

static void *work(void *arg)
{
	uint64_t x = (uintptr_t)arg, sum = 0;
	struct block block[BLOCKS] = {{NULL, 0, 0}};

	for (int i = 0; i < STEPS; i++) {
		struct block *b = &block[next(&x) % BLOCKS];
		size_t size = next(&x) % 8 ? next(&x) % 4096 + 1 : next(&x) % 400000 + 1;

		if (!b->p) {
			b->p = malloc(size);
			b->size = size;
			b->with = (unsigned char)next(&x);
			memset(b->p, b->with, size);
		} else if (next(&x) % 4) {
			sum += take(b);
		} else {
			b->p = realloc(b->p, size);
			if (size > b->size)
				memset(b->p + b->size, b->with, size - b->size);
			b->size = size;
		}
	}
	for (int i = 0; i < BLOCKS; i++)
		if (block[i].p)
			sum += take(&block[i]);
	return (void *)(uintptr_t)sum;
}

int main(void)
{
	uint64_t sum = 0;

	for (int round = 0; round < 3; round++) {
		pthread_t t[THREADS];
		void *r;

		for (uintptr_t i = 0; i < THREADS; i++)
			if (pthread_create(&t[i], NULL, work, (void *)(i + 1)))
				return 1;
		for (int i = 0; i < THREADS; i++) {
			pthread_join(t[i], &r);
			sum += (uintptr_t)r;
		}
	}
	printf("%llu\n", (unsigned long long)sum);
	return 0;
}
