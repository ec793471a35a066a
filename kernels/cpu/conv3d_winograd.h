/* conv3d with kernel 3x3x3 and stride 1 in fewer products; conv3d.c chooses. */
#ifndef HYV_CPU_CONV3D_WINOGRAD_H
#define HYV_CPU_CONV3D_WINOGRAD_H

#include "gemm.h"

/* Whether such a convolution pays: where no tiles of bf16 are multiplied, for a picture that fills
 * tiles of 4x4. Depends on nothing else that differs between processors. */
bool hyv_conv3d_is_winograd(const hyv_gemm_functions *f, hyv_grid grid, hyv_grid kernel,
                            hyv_grid stride);

void hyv_cpu_conv3d_winograd(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                             hyv_grid grid);
size_t hyv_cpu_conv3d_winograd_scratch(const hyv_gemm_functions *gemm, int64_t rows,
                                       int64_t filters, int64_t channels, hyv_grid grid,
                                       int threads);

#endif
