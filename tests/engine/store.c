/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/engine/store.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness/test.h"

#define SECTORS (BLOCK / SECTOR) /* in a block */

static uint64_t stamp_of(const struct store *s, size_t sector)
{
	return (uint64_t)s->generation[sector / SECTORS] << 32 | (uint64_t)s->number << 24 | sector;
}

static uint64_t *first_of(const char *sector)
{
	return (uint64_t *)(uintptr_t)sector;
}

static uint64_t *last_of(const char *sector)
{
	return first_of(sector + SECTOR) - 1;
}

void store_renew(struct store *s, unsigned int block, char *addr, size_t length)
{
	for (size_t at = 0; at < length; at += BLOCK)
		s->generation[block + at / BLOCK]++;
	for (size_t at = 0; at < length; at += SECTOR)
		*first_of(addr + at) = *last_of(addr + at) =
			stamp_of(s, block * SECTORS + at / SECTOR);
}

bool store_is(const struct store *s, unsigned int block, const char *addr, size_t length)
{
	for (size_t at = 0; at < length; at += SECTOR) {
		uint64_t stamp = stamp_of(s, block * SECTORS + at / SECTOR);

		if (*first_of(addr + at) != stamp || *last_of(addr + at) != stamp)
			return false;
	}
	return true;
}

bool store_has(const struct store *s, unsigned int block, size_t length)
{
	_Alignas(uint64_t) char piece[BLOCK];

	for (size_t at = 0; at < length; at += BLOCK) {
		size_t n = length - at < BLOCK ? length - at : BLOCK;

		CHECK_EQ(pread(s->fd, piece, n, (off_t)(block * BLOCK + at)), n);
		if (!store_is(s, block + (unsigned int)(at / BLOCK), piece, n))
			return false;
	}
	return true;
}

void store_open(struct store *s, unsigned int number, unsigned int blocks)
{
	_Alignas(uint64_t) char block[BLOCK] = {0};

	*s = (struct store){.fd = memfd_create("store", MFD_CLOEXEC),
			    .number = number,
			    .blocks = blocks};
	s->generation = calloc(blocks, sizeof(*s->generation));
	CHECK(s->fd >= 0 && s->generation);
	for (unsigned int i = 0; i < blocks; i++) {
		store_renew(s, i, block, BLOCK);
		CHECK_EQ(pwrite(s->fd, block, BLOCK, (off_t)(i * BLOCK)), BLOCK);
	}
}

void store_close(struct store *s)
{
	free(s->generation);
	close(s->fd);
}
