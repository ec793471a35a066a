/* Seed to normal noise, bit for bit what PyTorch's CPU generator gives for torch.randn in f32.
 *
 * A Mersenne twister (Matsumoto and Nishimura 1998) and PyTorch's Box-Muller over blocks of 16,
 * with the Cephes polynomials that its AVX2 build uses for ln, sin and cos. Plain C on the host,
 * so the same on every backend. Knows no latents.
 */
#ifndef HYV_RUN_RNG_H
#define HYV_RUN_RNG_H

#include <stdint.h>

/* Fills a dense out [rows, cols] with the numbers of a contiguous tensor [cols, rows]: latents are
 * drawn as [channels, t, h, w] and kept as [t*h*w, channels]. With cols = 1 the numbers come in
 * the order they are drawn. Only the low 32 bits of the seed count. */
void hyv_rng_normal(float *out, int64_t rows, int64_t cols, uint64_t seed);

#endif
