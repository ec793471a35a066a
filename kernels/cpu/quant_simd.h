/* The steps of the block decoders that AVX2 and AVX-512 have in common: 32 bytes at once; included
 * by quant_avx2.c and quant_avx512.c, which bring `scale` and `scale_add`, the steps with floats.
 */
#define QUANT_STEPS

static inline float half_at(const uint8_t *p)
{
    return _cvtsh_ss((unsigned short)(p[0] | p[1] << 8));
}

static inline void nibbles(int8_t *restrict q, const uint8_t *restrict b, int n)
{
    const __m256i low = _mm256_set1_epi8(15);
    if (n == 16) {
        const __m128i v = _mm_loadu_si128((const void *)b);
        const __m256i both = _mm256_setr_m128i(v, _mm_srli_epi16(v, 4));
        _mm256_storeu_si256((void *)q, _mm256_and_si256(both, low));
        return;
    }
    for (int j = 0; j < n; j += 32) {
        const __m256i v = _mm256_loadu_si256((const void *)(b + j));
        _mm256_storeu_si256((void *)(q + j), _mm256_and_si256(v, low));
        _mm256_storeu_si256((void *)(q + j + n), _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
    }
}

/* Shifts of 16 bits bring bits of a neighbouring byte, which the mask takes off. */
static inline void or_bits(int8_t *restrict q, const uint8_t *restrict b, int from, int mask,
                           int to)
{
    const __m256i v = _mm256_loadu_si256((const void *)b), old = _mm256_loadu_si256((void *)q);
    const __m256i bits = _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(from)),
                                          _mm256_set1_epi8((char)mask));
    const __m256i moved = _mm256_sll_epi16(bits, _mm_cvtsi32_si128(to));
    _mm256_storeu_si256((void *)q, _mm256_or_si256(old, moved));
}

/* Byte j gets the byte of h that holds its bit, of which that bit is left. */
static inline void fifth_bits(int8_t *restrict q, const uint8_t *restrict h)
{
    int bits;
    memcpy(&bits, h, sizeof(bits));
    const __m256i places = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                              0x0202020202020202, 0x0303030303030303);
    const __m256i single = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), places);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, single), single);
    const __m256i old = _mm256_loadu_si256((void *)q);
    _mm256_storeu_si256((void *)q,
                        _mm256_or_si256(old, _mm256_and_si256(set, _mm256_set1_epi8(16))));
}

static inline void look_up(int8_t *restrict q, const uint8_t *restrict b, const int8_t values[16])
{
    const __m128i table = _mm_loadu_si128((const void *)values);
    int8_t places[32];
    nibbles(places, b, 16);
    const __m256i both = _mm256_loadu_si256((void *)places);
    _mm256_storeu_si256((void *)q, _mm256_shuffle_epi8(_mm256_setr_m128i(table, table), both));
}

#include "../quant_decode.h"
