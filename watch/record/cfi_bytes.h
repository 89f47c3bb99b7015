/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads a part of an unwind table from its beginning on, and never past its end. */
#ifndef MRN_WATCH_CFI_BYTES_H
#define MRN_WATCH_CFI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch_bytes {
	const uint8_t *p, *end;
	bool failed; /* there was less than asked for */
};

static inline uint32_t watch_u32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

/* What is n bytes long, and is passed over; or NULL. */
static inline const uint8_t *watch_bytes_skip(struct watch_bytes *b, uint64_t n)
{
	const uint8_t *p = b->p;

	if (n > (uint64_t)(b->end - b->p)) {
		b->failed = true;
		b->p = b->end;
		return NULL;
	}
	b->p += n;
	return p;
}

static inline uint8_t watch_bytes_u8(struct watch_bytes *b)
{
	const uint8_t *p = watch_bytes_skip(b, 1);

	return p ? *p : 0;
}

static inline uint32_t watch_bytes_u32(struct watch_bytes *b)
{
	const uint8_t *p = watch_bytes_skip(b, 4);

	return p ? watch_u32(p) : 0;
}

/* An address, as its distance from here. */
static inline uintptr_t watch_bytes_pcrel(struct watch_bytes *b)
{
	uintptr_t here = (uintptr_t)b->p;

	return here + (uintptr_t)(intptr_t)(int32_t)watch_bytes_u32(b);
}

static inline uint64_t watch_bytes_leb(struct watch_bytes *b, bool has_sign)
{
	uint64_t v = 0;
	unsigned int shift = 0;
	uint8_t c;

	do {
		c = watch_bytes_u8(b);
		if (shift < 64)
			v |= (uint64_t)(c & 0x7f) << shift;
		shift += 7;
	} while (c & 0x80);
	if (has_sign && shift < 64 && (c & 0x40))
		v |= ~UINT64_C(0) << shift;
	return v;
}

static inline uint64_t watch_bytes_uleb(struct watch_bytes *b)
{
	return watch_bytes_leb(b, false);
}

static inline uint64_t watch_bytes_sleb(struct watch_bytes *b)
{
	return watch_bytes_leb(b, true);
}

/* The next ones, whose number stands before them. */
static inline struct watch_bytes watch_bytes_block(struct watch_bytes *b)
{
	uint64_t n = watch_bytes_uleb(b);
	const uint8_t *p = watch_bytes_skip(b, n);

	return p ? (struct watch_bytes){p, p + n, false}
		 : (struct watch_bytes){b->end, b->end, true};
}

#endif
