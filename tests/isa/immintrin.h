/* In place of the compiler's header when the kernels are built for `make check-isa`: AVX-512 and
 * AMX for processors without, so that every instruction set is tested on every machine.
 *
 * SIMDe computes most of AVX-512 with AVX2. What its release 0.7.4 lacks, or rounds twice, follows
 * in plain C after Intel's Intrinsics Guide: slow, and exact but for the order in which a tile adds
 * up its products of bf16, which tests of bf16 leave open.
 */
#ifndef HYV_TESTS_ISA_IMMINTRIN_H
#define HYV_TESTS_ISA_IMMINTRIN_H
#pragma GCC system_header /* its include_next is no standard C */

#include_next <immintrin.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

/* A register as its lanes, and back. */
typedef union isa_lanes {
    float f[16];
    int32_t i[16];
    uint16_t h[32];
    int8_t b[64];
} isa_lanes;

#define ISA_LANES(name, vector) \
    isa_lanes name = {{0}};     \
    memcpy(&(name), &(vector), sizeof(vector))

#define ISA_VECTOR(type, name) \
    type name##_vector;        \
    memcpy(&name##_vector, &(name), sizeof(name##_vector))

/* ---- memory -----------------------------------------------------------------------------------
 */

static inline __m512 isa_maskz_loadu(unsigned mask, const void *from)
{
    isa_lanes x = {{0}};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy(&x.f[i], (const char *)from + 4 * i, 4);
    ISA_VECTOR(__m512, x);
    return x_vector;
}

static inline void isa_mask_storeu(void *to, unsigned mask, const void *vector)
{
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy((char *)to + 4 * i, (const char *)vector + 4 * i, 4);
}

static inline void isa_mask_storeu_ps(void *to, unsigned mask, __m512 v)
{
    isa_mask_storeu(to, mask, &v);
}

static inline void isa_mask_storeu_epi32(void *to, unsigned mask, __m512i v)
{
    isa_mask_storeu(to, mask, &v);
}

static inline void isa_mask_cvtepi32_storeu_epi8(void *to, unsigned mask, __m512i v)
{
    ISA_LANES(x, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            ((int8_t *)to)[i] = (int8_t)x.i[i];
}

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_mask_storeu_epi32
#undef _mm512_mask_cvtepi32_storeu_epi8
#define _mm512_maskz_loadu_ps(mask, from)             isa_maskz_loadu(mask, from)
#define _mm512_mask_storeu_ps(to, mask, v)            isa_mask_storeu_ps(to, mask, v)
#define _mm512_mask_storeu_epi32(to, mask, v)         isa_mask_storeu_epi32(to, mask, v)
#define _mm512_mask_cvtepi32_storeu_epi8(to, mask, v) isa_mask_cvtepi32_storeu_epi8(to, mask, v)

/* ---- conversions ------------------------------------------------------------------------------
 */

static inline __m512i isa_maskz_cvtps_epi32(unsigned mask, __m512 v)
{
    ISA_LANES(x, v);
    for (int i = 0; i < 16; i++)
        x.i[i] = mask >> i & 1 ? (int32_t)nearbyintf(x.f[i]) : 0;
    ISA_VECTOR(__m512i, x);
    return x_vector;
}

/* The others as two conversions of AVX2. */
static inline __m512 isa_cvtepi32_ps(__m512i v)
{
    __m256i in[2];
    memcpy(in, &v, sizeof(in));
    const __m256 half[2] = {_mm256_cvtepi32_ps(in[0]), _mm256_cvtepi32_ps(in[1])};
    return _mm512_loadu_ps(half);
}

static inline __m512i isa_cvtepu16_epi32(__m256i v)
{
    const __m256i half[2] = {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                             _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1))};
    return _mm512_loadu_si512(half);
}

static inline __m512i isa_cvtepi8_epi32(__m128i v)
{
    const __m256i half[2] = {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
    return _mm512_loadu_si512(half);
}

static inline __m512 isa_cvtph_ps(__m256i v)
{
    const __m256 half[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                            _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))};
    return _mm512_loadu_ps(half);
}

/* Subnormals are zeros. */
static inline uint16_t isa_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    if (isnan(f))
        return (uint16_t)(u >> 16 | 0x40);
    if (fabsf(f) < 0x1p-126f)
        u &= 1u << 31;
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float isa_from_bf16(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof(f));
    return fabsf(f) < 0x1p-126f ? copysignf(0.0f, f) : f;
}

/* The second operand's values come first. */
static inline __m512i isa_cvtne2ps_pbh(__m512 high, __m512 low)
{
    ISA_LANES(x, low);
    ISA_LANES(z, high);
    isa_lanes out;
    for (int i = 0; i < 16; i++) {
        out.h[i] = isa_to_bf16(x.f[i]);
        out.h[i + 16] = isa_to_bf16(z.f[i]);
    }
    ISA_VECTOR(__m512i, out);
    return out_vector;
}

#undef _mm512_maskz_cvtps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtne2ps_pbh
#define _mm512_maskz_cvtps_epi32(mask, v) isa_maskz_cvtps_epi32(mask, v)
#define _mm512_cvtepi32_ps(v)             isa_cvtepi32_ps(v)
#define _mm512_cvtepu16_epi32(v)          isa_cvtepu16_epi32(v)
#define _mm512_cvtepi8_epi32(v)           isa_cvtepi8_epi32(v)
#define _mm512_cvtph_ps(v)                isa_cvtph_ps(v)
#define _mm512_cvtne2ps_pbh(high, low)    isa_cvtne2ps_pbh(high, low)

/* ---- arithmetic -------------------------------------------------------------------------------
 */

/* The order of the compilers' own: halves, then quarters, ... */
static inline float isa_reduce(__m512 v, float (*join)(float, float))
{
    ISA_LANES(x, v);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            x.f[i] = join(x.f[i], x.f[i + half]);
    return x.f[0];
}

static inline float isa_sum(float a, float b)
{
    return a + b;
}

static inline float isa_larger(float a, float b)
{
    return a > b ? a : b;
}

static inline __mmask16 isa_cmpeq_epi16_mask(__m256i a, __m256i b)
{
    ISA_LANES(x, a);
    ISA_LANES(z, b);
    unsigned mask = 0;
    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(x.h[i] == z.h[i]) << i;
    return (__mmask16)mask;
}

static inline int32_t isa_reduce_add_epi32(__m512i v)
{
    ISA_LANES(x, v);
    uint32_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum += (uint32_t)x.i[i];
    return (int32_t)sum;
}

/* What is left of x after rounding down, which is all that the kernels ask for. */
static inline __m512 isa_reduce_down(__m512 v)
{
    ISA_LANES(x, v);
    for (int i = 0; i < 16; i++)
        x.f[i] = isinf(x.f[i]) ? 0.0f : x.f[i] - floorf(x.f[i]);
    ISA_VECTOR(__m512, x);
    return x_vector;
}

/* a 2^floor(b), rounded once. */
static inline __m512 isa_scalef(__m512 a, __m512 b)
{
    ISA_LANES(x, a);
    ISA_LANES(z, b);
    for (int i = 0; i < 16; i++)
        x.f[i] =
            isnan(z.f[i]) ? z.f[i] : scalbnf(x.f[i], (int)fmaxf(-999, fminf(floorf(z.f[i]), 999)));
    ISA_VECTOR(__m512, x);
    return x_vector;
}

/* The upper of each pair first; nothing in between is rounded. */
static inline __m512 isa_dpbf16_ps(__m512 sums, __m512i a, __m512i b)
{
    ISA_LANES(s, sums);
    ISA_LANES(x, a);
    ISA_LANES(z, b);
    for (int i = 0; i < 32; i++)
        s.f[i / 2] = fmaf(isa_from_bf16(x.h[i ^ 1]), isa_from_bf16(z.h[i ^ 1]), s.f[i / 2]);
    ISA_VECTOR(__m512, s);
    return s_vector;
}

#undef _mm256_cmpeq_epi16_mask
#undef _mm256_dpbusd_avx_epi32
#undef _mm512_shuffle_f32x4
#undef _mm512_reduce_add_ps
#undef _mm512_reduce_max_ps
#undef _mm512_reduce_add_epi32
#undef _mm512_reduce_ps
#undef _mm512_scalef_ps
#undef _mm512_dpbf16_ps
#undef __m512bh
#define _mm256_cmpeq_epi16_mask(a, b)       isa_cmpeq_epi16_mask(a, b)
#define _mm256_dpbusd_avx_epi32(sums, a, b) simde_mm256_dpbusd_epi32(sums, a, b)
#define _mm512_shuffle_f32x4(a, b, order)   simde_mm512_shuffle_f32x4(a, b, order)
#define _mm512_reduce_add_ps(v)             isa_reduce(v, isa_sum)
#define _mm512_reduce_max_ps(v)             isa_reduce(v, isa_larger)
#define _mm512_reduce_add_epi32(v)          isa_reduce_add_epi32(v)
#define _mm512_reduce_ps(v, down)           isa_reduce_down(v)
#define _mm512_scalef_ps(a, b)              isa_scalef(a, b)
#define _mm512_dpbf16_ps(sums, a, b)        isa_dpbf16_ps(sums, a, b)
#define __m512bh                            __m512i

/* ---- tiles ------------------------------------------------------------------------------------
 */

typedef struct isa_tile {
    uint8_t rows, bytes, data[16][64];
} isa_tile;

/* A thread's, whichever file uses them. */
__attribute__((weak)) _Thread_local isa_tile isa_tiles[8];

/* A tile in use; one that no configuration gives a shape ends the program, as it would on a
 * processor that has tiles. */
static inline isa_tile *isa_shaped(int index)
{
    if (isa_tiles[index].rows == 0)
        abort();
    return &isa_tiles[index];
}

/* Of the 64 bytes, those 16 on are the bytes of a row, 2 each, and those 48 on the rows. */
static inline void isa_tile_loadconfig(const void *config)
{
    const uint8_t *from = config;
    memset(isa_tiles, 0, sizeof(isa_tiles));
    for (int i = 0; i < 8; i++) {
        isa_tiles[i].bytes = from[16 + 2 * i];
        isa_tiles[i].rows = from[48 + i];
    }
}

static inline void isa_tile_release(void)
{
    memset(isa_tiles, 0, sizeof(isa_tiles));
}

static inline void isa_tile_zero(int index)
{
    isa_tile *t = isa_shaped(index);
    memset(t->data, 0, sizeof(t->data));
}

static inline void isa_tile_loadd(int index, const void *from, int64_t stride)
{
    isa_tile *t = isa_shaped(index);
    for (int i = 0; i < t->rows; i++)
        memcpy(t->data[i], (const char *)from + i * stride, t->bytes);
}

static inline void isa_tile_stored(int index, void *to, int64_t stride)
{
    const isa_tile *t = isa_shaped(index);
    for (int i = 0; i < t->rows; i++)
        memcpy((char *)to + i * stride, t->data[i], t->bytes);
}

static inline void isa_tile_dpbf16ps(int to, int left, int right)
{
    isa_tile *c = isa_shaped(to);
    const isa_tile *a = isa_shaped(left), *b = isa_shaped(right);
    for (int m = 0; m < c->rows; m++) {
        ISA_LANES(sums, c->data[m]);
        ISA_LANES(x, a->data[m]);
        for (int k = 0; k < a->bytes / 4; k++) {
            ISA_LANES(z, b->data[k]);
            for (int n = 0; n < 32; n++)
                sums.f[n / 2] =
                    fmaf(isa_from_bf16(x.h[2 * k + n % 2]), isa_from_bf16(z.h[n]), sums.f[n / 2]);
        }
        memcpy(c->data[m], &sums, sizeof(sums));
    }
}

static inline void isa_tile_dpbssd(int to, int left, int right)
{
    isa_tile *c = isa_shaped(to);
    const isa_tile *a = isa_shaped(left), *b = isa_shaped(right);
    for (int m = 0; m < c->rows; m++) {
        ISA_LANES(sums, c->data[m]);
        ISA_LANES(x, a->data[m]);
        for (int k = 0; k < a->bytes / 4; k++) {
            ISA_LANES(z, b->data[k]);
            for (int n = 0; n < 64; n++)
                sums.i[n / 4] += x.b[4 * k + n % 4] * z.b[n];
        }
        memcpy(c->data[m], &sums, sizeof(sums));
    }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(config)        isa_tile_loadconfig(config)
#define _tile_release()                 isa_tile_release()
#define _tile_zero(index)               isa_tile_zero(index)
#define _tile_loadd(index, from, bytes) isa_tile_loadd(index, from, bytes)
#define _tile_stored(index, to, bytes)  isa_tile_stored(index, to, bytes)
#define _tile_dpbf16ps(to, a, b)        isa_tile_dpbf16ps(to, a, b)
#define _tile_dpbssd(to, a, b)          isa_tile_dpbssd(to, a, b)

#endif
