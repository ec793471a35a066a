/* Reading the reference data of tests/golden, for the tests that compare with it.
 *
 * Run from the repository root. Tolerances are those that tests/golden/README.md derives.
 */
#ifndef HYV_TESTS_GOLDEN_H
#define HYV_TESTS_GOLDEN_H

#include <jansson.h>

#include "../engine/checkpoint/checkpoint.h"

#define GOLDEN_FOLDER "tests/golden"

/* The parameters of a run. */
typedef struct golden_case {
    const char *name, *model, *prompt, *negative; /* negative: "" if there is none */
    double cfg, guidance, shift;
    int width, height, frames, steps;
    int64_t seed, crop_start;
    int image_template;
} golden_case;

/* cases.json; walk with golden_next(&state, &c), which returns false at the end. */
typedef struct golden_cases {
    json_t *root;
    void *at;
} golden_cases;
int golden_open(golden_cases *all);
int golden_next(golden_cases *all, golden_case *c);
void golden_close(golden_cases *all);

/* The tensors of a run (cases/NAME.safetensors) or another file below tests/golden. NULL if it
 * cannot be opened. */
hyv_checkpoint *golden_file(const char *path);

/* An F32 tensor; counts a failed check and returns NULL if it is not there. */
const float *golden_floats(hyv_checkpoint *file, const char *name, int64_t *count);
const int32_t *golden_ints(hyv_checkpoint *file, const char *name, int64_t *count);
const uint8_t *golden_bytes(hyv_checkpoint *file, const char *name, int64_t *count);

/* Checks |got - want| <= tolerance everywhere; says the largest difference if not. Returns it. */
double golden_compare(const char *what, const float *got, const float *want, int64_t n,
                      double tolerance);

/* [channels, rows] -> [rows, channels] */
void golden_channels_last(float *out, const float *in, int64_t rows, int64_t channels);

#endif
