/* Float pictures to pixel formats: one table of layouts, one loop for RGB, one for YUV.
 *
 * Matrices and quantisation follow ITU-T H.273: Y = Kr R + Kg G + Kb B, Cb = (B - Y) / (2 - 2 Kb),
 * Cr = (R - Y) / (2 - 2 Kr). Plain IEEE single precision in a fixed order, so the bytes are the
 * same everywhere. Must not allocate.
 */
#include "frames.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct layout {
    const char *name;
    int planes;
    int bits;           /* of a sample; 32: float */
    int log2_w, log2_h; /* chroma subsampling */
    bool yuv;
} layout;

static const layout layouts[] = {
    [HYV_FORMAT_YUV420P] = {"yuv420p", 3, 8, 1, 1, true},
    [HYV_FORMAT_YUV422P] = {"yuv422p", 3, 8, 1, 0, true},
    [HYV_FORMAT_YUV444P] = {"yuv444p", 3, 8, 0, 0, true},
    [HYV_FORMAT_YUV420P10] = {"yuv420p10", 3, 10, 1, 1, true},
    [HYV_FORMAT_YUV444P10] = {"yuv444p10", 3, 10, 0, 0, true},
    [HYV_FORMAT_GBRP] = {"gbrp", 3, 8, 0, 0, false},
    [HYV_FORMAT_RGB24] = {"rgb24", 1, 8, 0, 0, false},
    [HYV_FORMAT_GBRP10] = {"gbrp10", 3, 10, 0, 0, false},
    [HYV_FORMAT_GBRPF32] = {"gbrpf32", 3, 32, 0, 0, false},
};

enum { LAYOUTS = sizeof(layouts) / sizeof(layouts[0]) };

/* Kr and Kb. BT.470BG and SMPTE 170M share the numbers of BT.601. */
static const float primaries[][2] = {
    [HYV_MATRIX_BT709] = {0.2126f, 0.0722f},
    [HYV_MATRIX_SMPTE170M] = {0.299f, 0.114f},
    [HYV_MATRIX_BT470BG] = {0.299f, 0.114f},
    [HYV_MATRIX_BT2020_NCL] = {0.2627f, 0.0593f},
};

enum { MATRICES = sizeof(primaries) / sizeof(primaries[0]) };

/* Weights of R, G, B and an offset, for each of Y, Cb, Cr; the code's scale is in them. */
typedef struct converter {
    float weight[3][3];
    float offset[3];
    int max;
} converter;

static converter make_converter(enum hyv_matrix matrix, enum hyv_range range, int bits)
{
    const double kr = (double)primaries[matrix][0], kb = (double)primaries[matrix][1];
    const double kg = 1 - kr - kb, unit = 1 << (bits - 8), max = (1 << bits) - 1;
    const bool full = range == HYV_RANGE_FULL;
    const double luma = full ? max : 219 * unit, chroma = full ? max : 224 * unit;
    const double cb = chroma / (2 - 2 * kb), cr = chroma / (2 - 2 * kr);
    const double rows[3][3] = {{luma * kr, luma * kg, luma * kb},
                               {-cb * kr, -cb * kg, cb * (1 - kb)},
                               {cr * (1 - kr), -cr * kg, -cr * kb}};
    converter c = {.max = (int)max};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++)
            c.weight[i][k] = (float)rows[i][k];
        c.offset[i] = (float)(i ? 128 * unit : full ? 0 : 16 * unit);
    }
    return c;
}

/* The comparison is false for NaN, which becomes 0. */
static inline float unit_value(float x)
{
    const float v = x * 0.5f + 0.5f;
    return v > 0 ? (v < 1 ? v : 1) : 0;
}

static inline void store(uint8_t *row, int64_t index, int bits, int value)
{
    if (bits == 8) {
        row[index] = (uint8_t)value;
    } else {
        row[2 * index] = (uint8_t)(value & 255);
        row[2 * index + 1] = (uint8_t)(value >> 8);
    }
}

static inline void store_code(uint8_t *row, int64_t index, int bits, const converter *c, int i,
                              const float rgb[3])
{
    const float value =
        ((c->weight[i][0] * rgb[0] + c->weight[i][1] * rgb[1]) + c->weight[i][2] * rgb[2]) +
        c->offset[i];
    const int code = (int)lrintf(value);
    store(row, index, bits, code < 0 ? 0 : code > c->max ? c->max : code);
}

static void write_rgb(const hyv_image *image, const layout *l, const float *rgb)
{
    static const int plane_of[3] = {2, 0, 1}; /* planes are G, B, R */
    const float max = l->bits == 32 ? 1 : (float)((1 << l->bits) - 1);
    for (int y = 0; y < image->height; y++) {
        for (int c = 0; c < 3; c++) {
            const int plane = l->planes == 1 ? 0 : plane_of[c];
            const int64_t step = l->planes == 1 ? 3 : 1, first = l->planes == 1 ? c : 0;
            uint8_t *row = image->data[plane] + y * image->stride[plane];
            for (int64_t x = 0; x < image->width; x++) {
                const float v = unit_value(rgb[3 * x + c]);
                if (l->bits == 32)
                    memcpy(row + 4 * x, &v, sizeof(v));
                else
                    store(row, first + x * step, l->bits, (int)lrintf(v * max));
            }
        }
        rgb += (int64_t)image->width * 3;
    }
}

static void write_luma(const hyv_image *image, const layout *l, const converter *c,
                       const float *rgb)
{
    for (int y = 0; y < image->height; y++) {
        uint8_t *row = image->data[0] + y * image->stride[0];
        for (int64_t x = 0; x < image->width; x++, rgb += 3) {
            const float v[3] = {unit_value(rgb[0]), unit_value(rgb[1]), unit_value(rgb[2])};
            store_code(row, x, l->bits, c, 0, v);
        }
    }
}

/* The colour of a chroma sample: its column and the neighbours, in its one or two rows. */
static inline void filter_chroma(float out[3], const float *const rows[2], const int64_t columns[3])
{
    static const float weights[3] = {0.125f, 0.25f, 0.125f};
    out[0] = out[1] = out[2] = 0;
    for (int k = 0; k < 3; k++)
        for (int r = 0; r < 2; r++)
            for (int c = 0; c < 3; c++)
                out[c] += weights[k] * unit_value(rows[r][columns[k] * 3 + c]);
}

static void write_chroma(const hyv_image *image, const layout *l, const converter *c,
                         const float *rgb)
{
    const int64_t width = image->width, height = image->height;
    for (int64_t y = 0; y < height; y += 1 << l->log2_h) {
        const int64_t below = l->log2_h && y + 1 < height ? y + 1 : y;
        const float *const rows[2] = {rgb + y * width * 3, rgb + below * width * 3};
        uint8_t *cb = image->data[1] + (y >> l->log2_h) * image->stride[1];
        uint8_t *cr = image->data[2] + (y >> l->log2_h) * image->stride[2];
        for (int64_t x = 0; x < width; x += 1 << l->log2_w) {
            float v[3];
            if (l->log2_w) {
                filter_chroma(v, rows,
                              (const int64_t[3]){x ? x - 1 : 0, x, x + 1 < width ? x + 1 : x});
            } else {
                for (int k = 0; k < 3; k++)
                    v[k] = unit_value(rows[0][3 * x + k]);
            }
            store_code(cb, x >> l->log2_w, l->bits, c, 1, v);
            store_code(cr, x >> l->log2_w, l->bits, c, 2, v);
        }
    }
}

int hyv_frames_check(const hyv_image *image, int width, int height, hyv_log *log)
{
    if (!image || image->size < sizeof(*image))
        return hyv_log_error(log, -EINVAL, "image: incomplete; set size with HYV_INIT");
    if ((int)image->format < 0 || (int)image->format >= LAYOUTS)
        return hyv_log_error(log, -EINVAL, "image: there is no format %d", (int)image->format);
    if (image->width != width || image->height != height)
        return hyv_log_error(log, -EINVAL, "image: is %dx%d, the video %dx%d", image->width,
                             image->height, width, height);
    const layout *l = &layouts[image->format];
    if (l->yuv && ((int)image->matrix < 0 || (int)image->matrix >= MATRICES ||
                   (image->range != HYV_RANGE_LIMITED && image->range != HYV_RANGE_FULL)))
        return hyv_log_error(log, -EINVAL, "image: matrix %d or range %d is unknown",
                             (int)image->matrix, (int)image->range);
    for (int i = 0; i < l->planes; i++) {
        const int shift = i ? l->log2_w : 0;
        const ptrdiff_t samples = ((width + (1 << shift) - 1) >> shift) * (l->planes == 1 ? 3 : 1);
        const ptrdiff_t bytes = samples * ((l->bits + 7) / 8);
        const ptrdiff_t stride = image->stride[i];
        if (!image->data[i] || (stride < 0 ? -stride : stride) < bytes)
            return hyv_log_error(log, -EINVAL,
                                 "image: plane %d of %s is missing or its stride %td is less than "
                                 "%td bytes",
                                 i, l->name, stride, bytes);
    }
    return 0;
}

void hyv_frames_write(const hyv_image *image, const float *rgb)
{
    const layout *l = &layouts[image->format];
    if (!l->yuv) {
        write_rgb(image, l, rgb);
        return;
    }
    const converter c = make_converter(image->matrix, image->range, l->bits);
    write_luma(image, l, &c, rgb);
    write_chroma(image, l, &c, rgb);
}
