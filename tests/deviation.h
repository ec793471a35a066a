/* How far a run in reduced precision is from the same run in fp32: what tests/run/test_precision.c
 * bounds and tests/bench/bench_precision.c prints.
 *
 * A run is given by a set of options; precision and instruction set are set here.
 */
#ifndef HYV_TESTS_DEVIATION_H
#define HYV_TESTS_DEVIATION_H

#include <stddef.h>
#include <stdint.h>

#include "../engine/hunyuanvideo.h"
#include "golden.h"

typedef struct deviation {
    double cosine;  /* between the transformer's first predictions, of noise, text included */
    double psnr_db; /* of all frames in 8-bit RGB; infinite if they are equal */
    int worst;      /* largest difference of a value, of 255 */
} deviation;

/* The options of a golden case. */
hyv_options *deviation_options(const golden_case *c);

/* All frames as rgb24, or the first prediction. NULL after a failed check; the caller frees. */
uint8_t *deviation_frames(hyv_options *o, const char *precision, const char *isa, int threads,
                          size_t *size);
float *deviation_prediction(hyv_options *o, const char *precision, const char *isa, size_t *count);

/* Runs both precisions; false after a failed check. */
int deviation_measure(deviation *d, hyv_options *o, const char *precision, const char *isa);

#endif
