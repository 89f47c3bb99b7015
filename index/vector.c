/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/vector.h"

#include "index/check.h"
#include "os/atomic.h"

#if defined(__x86_64__) && !defined(MRN_TSAN)
#include <immintrin.h>
#define HAVE_VECTORS 1
#endif

#include "os/event_path.h"

#define LAST (MRN_VECTOR - 1)

/* -------------------------------------------------------------------------------------------- plain */

static uint32_t plain_within(const int16_t *first, const int16_t *last, int16_t from, int16_t to)
{
	uint32_t mask = 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++) {
		bool begins = __atomic_load_n(&first[i], __ATOMIC_ACQUIRE) <= to;
		bool ends = __atomic_load_n(&last[i], __ATOMIC_ACQUIRE) >= from;

		mask |= (uint32_t)(begins & ends) << i;
	}
	return mask;
}

static unsigned int plain_count(const int16_t *number, int16_t x)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++)
		n += __atomic_load_n(&number[i], __ATOMIC_ACQUIRE) <= x;
	return n;
}

static uint32_t plain_equal(const uint16_t *number, uint16_t x)
{
	uint32_t mask = 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++)
		mask |= (uint32_t)(__atomic_load_n(&number[i], __ATOMIC_ACQUIRE) == x) << i;
	return mask;
}

static bool plain_has(const uint16_t *number, uint16_t x)
{
	for (unsigned int i = 0; i < MRN_VECTOR; i++) {
		unsigned int at = MRN_BROKEN(FILTER_ORDER) ? LAST - i : i;
		uint16_t n = __atomic_load_n(&number[at], __ATOMIC_ACQUIRE);

		if ((at == LAST && n) || (n >> 8 == x >> 8 && n & x & 0xff))
			return true;
		MRN_HOOK(mark, i + 1);
	}
	return false;
}

/* ------------------------------------------------------------------------------------------ vectors */

#ifdef HAVE_VECTORS
#define AVX2 __attribute__((target("avx2")))

static bool have_avx2;

/* Only Intel and AMD promise that a load of 16 bytes is one access. */
__attribute__((constructor)) static void look_for_avx2(void)
{
	__builtin_cpu_init();
	have_avx2 = __builtin_cpu_supports("avx2") &&
		    (__builtin_cpu_is("intel") || __builtin_cpu_is("amd"));
}

/*
 * Loads eight numbers that may be written meanwhile, in one access: on processors with AVX, Intel's and AMD's manuals
 * promise this for this instruction with an aligned address, and for no wider one. The compiler emits it once, here,
 * and moves no other access across it; x86 keeps loads in order, so it is an acquire.
 */
AVX2 static inline __m128i load(const void *numbers, unsigned int i)
{
	const __m128i *at = (const __m128i *)numbers + i;
	__m128i piece;

	__asm__ volatile("vmovdqa %1, %0" : "=x"(piece) : "m"(*at) : "memory");
	return piece;
}

/* Loads all 32: pieces 0 and 2, 1 and 3. Packing works on halves of 128 bits, and so restores the order. */
AVX2 static inline void get(const void *numbers, __m256i n[2])
{
	for (unsigned int i = 0; i < 2; i++)
		n[i] = _mm256_set_m128i(load(numbers, i + 2), load(numbers, i));
}

/* A bit for each number that is all ones; numbers are all ones or 0. */
AVX2 static inline uint32_t bits(const __m256i n[2])
{
	return (uint32_t)_mm256_movemask_epi8(_mm256_packs_epi16(n[0], n[1]));
}

AVX2 static uint32_t avx2_within(const int16_t *first, const int16_t *last, int16_t from,
				 int16_t to)
{
	__m256i froms = _mm256_set1_epi16(from), tos = _mm256_set1_epi16(to), f[2], l[2], out[2];

	get(first, f);
	get(last, l);
	for (unsigned int i = 0; i < 2; i++)
		out[i] = _mm256_or_si256(_mm256_cmpgt_epi16(f[i], tos),
					 _mm256_cmpgt_epi16(froms, l[i]));
	return ~bits(out);
}

AVX2 static unsigned int avx2_count(const int16_t *number, int16_t x)
{
	__m256i xs = _mm256_set1_epi16(x), n[2], out[2];
	uint32_t above;

	get(number, n);
	for (unsigned int i = 0; i < 2; i++)
		out[i] = _mm256_cmpgt_epi16(n[i], xs);
	above = bits(out);
	return above ? (unsigned int)__builtin_ctz(above) : MRN_VECTOR;
}

AVX2 static uint32_t avx2_equal(const uint16_t *number, uint16_t x)
{
	__m256i xs = _mm256_set1_epi16((short)x), n[2], out[2];

	get(number, n);
	for (unsigned int i = 0; i < 2; i++)
		out[i] = _mm256_cmpeq_epi16(n[i], xs);
	return bits(out);
}

AVX2 static bool avx2_has(const uint16_t *number, uint16_t x)
{
	__m256i tag = _mm256_set1_epi16((short)(x & 0xff00));
	__m256i mask = _mm256_set1_epi16((short)(x | 0xff00)), ones = _mm256_set1_epi16(-1), d[2];
	__m128i piece[4], least;

#pragma GCC unroll 4
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int at = MRN_BROKEN(FILTER_ORDER) ? 3 - i : i;

		piece[at] = load(number, at);
		MRN_HOOK(mark, 8 * (i + 1));
	}
	/* A wanted number leaves 0x0001 to 0x00ff; less 1 that is below 0x00ff, and no other number's is. */
	for (unsigned int i = 0; i < 2; i++) {
		d[i] = _mm256_set_m128i(piece[2 * i + 1], piece[2 * i]);
		d[i] = _mm256_and_si256(_mm256_xor_si256(d[i], tag), mask);
		d[i] = _mm256_add_epi16(d[i], ones);
	}
	d[0] = _mm256_min_epu16(d[0], d[1]);
	least = _mm_min_epu16(_mm256_castsi256_si128(d[0]), _mm256_extracti128_si256(d[0], 1));
	return _mm_extract_epi16(_mm_minpos_epu16(least), 0) < 0xff ||
	       _mm_extract_epi16(piece[3], 7);
}

#define CHOOSE(what, ...)                                                \
	(have_avx2 && !MRN_BROKEN(NO_VECTORS) ? avx2_##what(__VA_ARGS__) \
					      : plain_##what(__VA_ARGS__))
#else
#define CHOOSE(what, ...) plain_##what(__VA_ARGS__)
#endif

/* ------------------------------------------------------------------------------------------- choice */

uint32_t mrn_vector_within(const int16_t *first, const int16_t *last, int16_t from, int16_t to)
{
	return CHOOSE(within, first, last, from, to);
}

unsigned int mrn_vector_count(const int16_t *number, int16_t x)
{
	return CHOOSE(count, number, x);
}

uint32_t mrn_vector_equal(const uint16_t *number, uint16_t x)
{
	return CHOOSE(equal, number, x);
}

bool mrn_vector_has(const uint16_t *number, uint16_t x)
{
	return CHOOSE(has, number, x);
}
