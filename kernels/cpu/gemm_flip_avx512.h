/* Transposition by 16 x 16 blocks of 32-bit elements; included by gemm_avx512.c and
 * gemm_avx512bf16.c, each of which first says how STRETCH neighbours along k become a vector, and
 * by gemm_amx.c, which wants a block alone.
 */

/* Rows of a 16 x 16 block become columns: pairs, fours, then quarters change places. */
static inline void flip(__m512 r[LANES])
{
    __m512 t[LANES];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

#ifndef FLIP_ALONE
enum { ROW_AHEAD = 512 }; /* bytes: so many rows at once are more than a processor foresees */

/* A column, or the two that a column of pairs of bf16 is spread to. */
static inline __attribute__((always_inline)) void store_column(float *out, int width,
                                                               __mmask16 stored, __m512 v,
                                                               const bool spread)
{
    const __m512i bits = _mm512_castps_si512(v);
    if (!spread) {
        _mm512_mask_storeu_ps(out, stored, v);
        return;
    }
    _mm512_mask_storeu_epi32(out, stored, _mm512_slli_epi32(bits, 16));
    _mm512_mask_storeu_epi32(out + width, stored,
                             _mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000)));
}

/* Up to 16 rows; whole vectors of k, then one with zeros for what is not there. */
static inline __attribute__((always_inline)) void transpose_rows(float *out, int width,
                                                                 const float *const *in, int n,
                                                                 int lanes, int64_t depth,
                                                                 const bool spread)
{
    const int step = spread ? 2 * width : width;
    const __mmask16 stored = (__mmask16)((1u << lanes) - 1);
    __m512 r[LANES];
    int64_t k = 0;
    for (; k + STRETCH <= depth; k += STRETCH, out += LANES * step) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i < n)
                _mm_prefetch((const char *)(in[i] + k) + ROW_AHEAD, _MM_HINT_T0);
            r[i] = i < n ? gather(in[i] + k, STRETCH) : _mm512_setzero_ps();
        }
        flip(r);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            store_column(out + i * step, width, stored, r[i], spread);
    }
    if (k == depth)
        return;
    const int64_t elements = (depth - k) * LANES / STRETCH + (depth - k) % (STRETCH / LANES);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        r[i] = i < n ? gather(in[i] + k, depth - k) : _mm512_setzero_ps();
    flip(r);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (i < elements)
            store_column(out + i * step, width, stored, r[i], spread);
}

static void transpose(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int i = 0; i < width; i += LANES)
        transpose_rows(out + i, width, in + i, n - i, width - i < LANES ? width - i : LANES, depth,
                       false);
}
#endif
