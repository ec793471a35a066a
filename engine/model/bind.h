/* The visitor by which a model lists each of its tensors once.
 *
 * hyv_<model>_bind(model, binder) calls the binder for every tensor the forward pass needs, with
 * its canonical name (the diffusers layout's), its shape, and how the file's layout differs from
 * the kernels'. The same list checks a checkpoint, loads it, plans memory, and lets tests write
 * tiny checkpoints. Model code knows neither files nor types.
 */
#ifndef HYV_MODEL_BIND_H
#define HYV_MODEL_BIND_H

#include "../../kernels/ops.h"

/* How a matrix in the file becomes the matrix of the kernels. The kernels know one layout only. */
typedef enum hyv_layout {
    HYV_LAYOUT_PLAIN,  /* [rows, cols] as it is; trailing 1s (1x1x1 convolutions) are dropped */
    HYV_LAYOUT_TAPS,   /* file [out, in, kt, kh, kw] -> [out, kt*kh*kw*in], taps before channels */
    HYV_LAYOUT_HALVES, /* rows of each head come as two halves (k, k + d/2) -> rotary pairs (2k,
                          2k+1) adjacent */
    HYV_LAYOUT_DEPTH_LAST /* rows are (channel, tap), taps wanted first: (tap, channel); bias too */
} hyv_layout;

/* One matrix, or one convolution, with its bias. */
typedef struct hyv_matrix_spec {
    int64_t rows, cols; /* of the matrix the kernels see */
    int64_t parts; /* the file's matrix holds `parts` such matrices one above the other (0 means 1)
                      ... */
    int64_t part;  /* ... and this is the one wanted */
    bool bias;
    hyv_layout layout;
    int64_t detail; /* TAPS and DEPTH_LAST: taps; HALVES: head size */
} hyv_matrix_spec;

typedef struct hyv_binder {
    void *opaque;
    /* `module` is the path without ".weight"; the bias is module + ".bias". */
    void (*matrix)(void *opaque, hyv_weight *out, const char *module, const hyv_matrix_spec *spec);
    /* A vector of n floats by its full name, converted to f32. */
    void (*vector)(void *opaque, const float **out, const char *name, int64_t n);
    /* A table of which the host reads single rows (embeddings): stays where and what it is. */
    void (*table)(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols);
    /* Tensors from here to the next call belong to one block: the unit that is streamed. The
     * forward pass says hyv_enter(out) before it uses them; without `out` they are always wanted.
     * once: not used again after that. May be NULL. */
    void (*block)(void *opaque, hyv_block *out, bool once);
} hyv_binder;

/* Shorthands; `format` makes the module or tensor name. */
void hyv_bind_linear(const hyv_binder *b, hyv_weight *out, int64_t rows, int64_t cols, bool bias,
                     const char *format, ...) __attribute__((format(printf, 6, 7)));
/* The same with a bias, for one of the many large products that may be in 8-bit integers. */
void hyv_bind_large(const hyv_binder *b, hyv_weight *out, int64_t rows, int64_t cols,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
void hyv_bind_matrix(const hyv_binder *b, hyv_weight *out, const hyv_matrix_spec *spec,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
/* module.weight and module.bias, n floats each. */
void hyv_bind_affine(const hyv_binder *b, hyv_affine *out, int64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void hyv_bind_vector(const hyv_binder *b, const float **out, int64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void hyv_bind_block(const hyv_binder *b, hyv_block *out, bool once);

#endif
