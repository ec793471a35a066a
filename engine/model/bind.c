/* Shorthands over the binder: they make names from formats, nothing else.
 *
 * Names follow the diffusers layout of HunyuanVideo. This file may format strings but reads and
 * writes no files.
 */
#include "bind.h"

#include <stdarg.h>
#include <stdio.h>

enum { NAME_MAX_BYTES = 256 };

static void format_name(char *name, const char *format, va_list args)
{
    if (vsnprintf(name, NAME_MAX_BYTES, format, args) < 0)
        name[0] = '\0';
}

void hyv_bind_matrix(const hyv_binder *b, hyv_weight *out, const hyv_matrix_spec *spec,
                     const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    format_name(name, format, args);
    va_end(args);
    b->matrix(b->opaque, out, name, spec);
}

void hyv_bind_linear(const hyv_binder *b, hyv_weight *out, int64_t rows, int64_t cols, bool bias,
                     const char *format, ...)
{
    const hyv_matrix_spec spec = {.rows = rows, .cols = cols, .bias = bias};
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    format_name(name, format, args);
    va_end(args);
    b->matrix(b->opaque, out, name, &spec);
}

void hyv_bind_large(const hyv_binder *b, hyv_weight *out, int64_t rows, int64_t cols,
                    const char *format, ...)
{
    const hyv_matrix_spec spec = {.rows = rows, .cols = cols, .bias = true};
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    format_name(name, format, args);
    va_end(args);
    b->matrix(b->opaque, out, name, &spec);
    out->int8 = true;
}

void hyv_bind_vector(const hyv_binder *b, const float **out, int64_t n, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    format_name(name, format, args);
    va_end(args);
    b->vector(b->opaque, out, name, n);
}

void hyv_bind_affine(const hyv_binder *b, hyv_affine *out, int64_t n, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    format_name(name, format, args);
    va_end(args);
    hyv_bind_vector(b, &out->weight, n, "%s.weight", name);
    hyv_bind_vector(b, &out->bias, n, "%s.bias", name);
}

void hyv_bind_block(const hyv_binder *b, hyv_block *out, bool once)
{
    if (out)
        *out = (hyv_block){0};
    if (b->block)
        b->block(b->opaque, out, once);
}
