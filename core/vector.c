/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/vector.h"

#include <stdbool.h>

#include "core/check.h"
#include "os/atomic.h"

#if defined(__x86_64__) && !defined(MRN_TSAN)
#include <immintrin.h>
#define HAVE_VECTORS 1
#endif

#include "os/event_path.h"

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
		uint16_t n = __atomic_load_n(&number[i], __ATOMIC_ACQUIRE);

		if (n >> 8 == x >> 8 && n & x & 0xff)
			return true;
	}
	return false;
}

/* --------------------------------------------------------------------------------------- 256 bits */

#ifdef HAVE_VECTORS
#define AVX2 __attribute__((target("avx2")))

static bool have_avx2;

__attribute__((constructor)) static void look_for_avx2(void)
{
	__builtin_cpu_init();
	have_avx2 = __builtin_cpu_supports("avx2");
}

AVX2 static inline __m256i piece(const void *numbers, unsigned int i)
{
	return _mm256_load_si256((const __m256i *)numbers + i);
}

/* A bit for each of 32 numbers of 16 bits that are all ones or zeros. */
AVX2 static inline uint32_t bits(__m256i low, __m256i high)
{
	/* Packing goes by halves of 128 bits. */
	__m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);

	return (uint32_t)_mm256_movemask_epi8(bytes);
}

AVX2 static uint32_t avx2_within(const int16_t *first, const int16_t *last, int16_t from,
				 int16_t to)
{
	__m256i froms = _mm256_set1_epi16(from), tos = _mm256_set1_epi16(to), out[2];

	for (unsigned int i = 0; i < 2; i++)
		out[i] = _mm256_or_si256(_mm256_cmpgt_epi16(piece(first, i), tos),
					 _mm256_cmpgt_epi16(froms, piece(last, i)));
	return ~bits(out[0], out[1]);
}

AVX2 static unsigned int avx2_count(const int16_t *number, int16_t x)
{
	__m256i xs = _mm256_set1_epi16(x);
	uint32_t above = bits(_mm256_cmpgt_epi16(piece(number, 0), xs),
			      _mm256_cmpgt_epi16(piece(number, 1), xs));

	return above ? (unsigned int)__builtin_ctz(above) : MRN_VECTOR;
}

AVX2 static uint32_t avx2_equal(const uint16_t *number, uint16_t x)
{
	__m256i xs = _mm256_set1_epi16((short)x);

	return bits(_mm256_cmpeq_epi16(piece(number, 0), xs),
		    _mm256_cmpeq_epi16(piece(number, 1), xs));
}

AVX2 static bool avx2_has(const uint16_t *number, uint16_t x)
{
	__m256i high = _mm256_set1_epi16((short)0xff00), low = _mm256_set1_epi16(x & 0xff);
	__m256i tag = _mm256_set1_epi16((short)(x & 0xff00)), zero = _mm256_setzero_si256();
	__m256i found = zero;

	for (unsigned int i = 0; i < 2; i++) {
		__m256i n = piece(number, i);
		__m256i same = _mm256_cmpeq_epi16(_mm256_and_si256(n, high), tag);
		__m256i none = _mm256_cmpeq_epi16(_mm256_and_si256(n, low), zero);

		found = _mm256_or_si256(found, _mm256_andnot_si256(none, same));
	}
	return !_mm256_testz_si256(found, found);
}

#define CHOOSE(what, ...) \
	(have_avx2 && !MRN_NO_VECTORS() ? avx2_##what(__VA_ARGS__) : plain_##what(__VA_ARGS__))
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

int mrn_vector_has(const uint16_t *number, uint16_t x)
{
	return CHOOSE(has, number, x);
}
