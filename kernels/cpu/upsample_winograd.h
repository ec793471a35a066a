/* upsample_conv3d in fewer products; upsample_conv3d.c chooses. */
#ifndef HYV_CPU_UPSAMPLE_WINOGRAD_H
#define HYV_CPU_UPSAMPLE_WINOGRAD_H

#include "gemm.h"

/* Whether it pays: where f32 is multiplied, for enough channels and filters. Depends on nothing
 * that differs between processors. */
bool hyv_upsample_is_winograd(const hyv_gemm_functions *f, int64_t filters, int64_t channels);

void hyv_cpu_upsample_winograd(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                               hyv_grid grid, bool time);
size_t hyv_cpu_upsample_winograd_scratch(const hyv_gemm_functions *f, int64_t filters,
                                         int64_t channels, hyv_grid grid, bool time, int threads);

#endif
