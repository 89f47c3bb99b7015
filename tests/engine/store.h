/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file whose content is known. Each sector begins and ends with a stamp, which says whose sector it is, and of which
 * generation. So there are stamps in every page of a transfer, however its buffer lies.
 */
#ifndef TESTS_ENGINE_STORE_H
#define TESTS_ENGINE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR ((size_t)512)
#define BLOCK  ((size_t)8 << 10)

struct store {
	int fd;		      /* a memfd */
	unsigned int number;  /* no other store's */
	unsigned int blocks;  /* of BLOCK bytes */
	uint32_t *generation; /* of each block's content */
};

/* The file has the first generation of all blocks. */
void store_open(struct store *s, unsigned int number, unsigned int blocks);
void store_close(struct store *s);

/* Puts the next generation of these blocks into memory. The last block may be a part of one, of whole sectors. */
void store_renew(struct store *s, unsigned int block, char *addr, size_t length);
/* Is the current generation in this memory? In the file? */
bool store_is(const struct store *s, unsigned int block, const char *addr, size_t length);
bool store_has(const struct store *s, unsigned int block, size_t length);

#endif
