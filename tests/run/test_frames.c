/* Pixel formats against the formulas of BT.709, BT.601 and BT.2020 in double precision.
 *
 * The reference below is written from the definitions, sample by sample: which pixels a sample is
 * made of, their mean, the matrix, the code. Single precision may round a value the other way only
 * where the exact one lies next to a tie. Planes are surrounded by guard bytes. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/run/frames.h"
#include "../check.h"

enum { GUARD = 24, GUARD_BYTE = 0xa5, FORMATS = HYV_FORMAT_GBRPF32 + 1, WIDTH_MAX = 40 };

static const struct {
    int planes, bits, sub_w, sub_h;
    bool yuv;
} formats[FORMATS] = {{3, 8, 2, 2, true},  {3, 8, 2, 1, true},   {3, 8, 1, 1, true},
                      {3, 10, 2, 2, true}, {3, 10, 1, 1, true},  {3, 8, 1, 1, false},
                      {1, 8, 1, 1, false}, {3, 10, 1, 1, false}, {3, 32, 1, 1, false}};

typedef struct canvas {
    uint8_t *memory;
    size_t bytes;
    hyv_image image;
} canvas;

static double clamped(double x)
{
    const double v = x / 2 + 0.5;
    return v > 0 ? (v < 1 ? v : 1) : 0; /* also NaN */
}

/* Channel c of the picture, 0 to 1, coordinates limited to the picture. */
static double pixel(const float *rgb, int width, int height, int x, int y, int c)
{
    x = x < 0 ? 0 : x >= width ? width - 1 : x;
    y = y < 0 ? 0 : y >= height ? height - 1 : y;
    return clamped((double)rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c]);
}

/* The exact value of the code at column x, row y of a plane. */
static double exact(const hyv_image *image, const float *rgb, int plane, int x, int y)
{
    static const double kr[] = {0.2126, 0.299, 0.299, 0.2627},
                        kb[] = {0.0722, 0.114, 0.114, 0.0593};
    static const int gbr[] = {1, 2, 0};
    const int w = image->width, h = image->height, bits = formats[image->format].bits;
    if (bits == 32)
        return pixel(rgb, w, h, x, y, gbr[plane]);
    if (image->format == HYV_FORMAT_RGB24)
        return 255 * pixel(rgb, w, h, x / 3, y, x % 3);
    const double peak = pow(2, bits) - 1, unit = pow(2, bits - 8);
    if (!formats[image->format].yuv)
        return peak * pixel(rgb, w, h, x, y, gbr[plane]);
    double mean[3];
    for (int c = 0; c < 3; c++) {
        const int sw = plane ? formats[image->format].sub_w : 1;
        const int sh = plane ? formats[image->format].sub_h : 1;
        const int px = x * sw, py = y * sh;
        mean[c] = 0;
        for (int dy = 0; dy < sh; dy++)
            mean[c] += (sw == 1 ? pixel(rgb, w, h, px, py + dy, c)
                                : (pixel(rgb, w, h, px - 1, py + dy, c) +
                                   2 * pixel(rgb, w, h, px, py + dy, c) +
                                   pixel(rgb, w, h, px + 1, py + dy, c)) /
                                      4) /
                       sh;
    }
    const double r = kr[image->matrix], b = kb[image->matrix];
    const double luma = r * mean[0] + (1 - r - b) * mean[1] + b * mean[2];
    const double chroma =
        plane == 1 ? (mean[2] - luma) / (2 * (1 - b)) : (mean[0] - luma) / (2 * (1 - r));
    if (image->range == HYV_RANGE_FULL)
        return fmin(plane ? peak * chroma + 128 * unit : peak * luma, peak);
    return plane ? 224 * unit * chroma + 128 * unit : 219 * unit * luma + 16 * unit;
}

static int plane_samples(enum hyv_format f, int width, int plane)
{
    if (f == HYV_FORMAT_RGB24)
        return width * 3;
    return plane ? (width + formats[f].sub_w - 1) / formats[f].sub_w : width;
}

static int plane_rows(enum hyv_format f, int height, int plane)
{
    return plane ? (height + formats[f].sub_h - 1) / formats[f].sub_h : height;
}

/* Guards before, between and behind all rows; with `upside_down` strides are negative. */
static canvas new_canvas(enum hyv_format f, int width, int height, bool upside_down)
{
    canvas c = {.image = HYV_INIT(hyv_image)};
    const size_t row = (size_t)width * 4 + GUARD;
    c.bytes = GUARD + row * (size_t)(height * 3);
    c.memory = malloc(c.bytes);
    memset(c.memory, GUARD_BYTE, c.bytes);
    c.image.format = f;
    c.image.width = width;
    c.image.height = height;
    for (int p = 0; p < formats[f].planes; p++) {
        const int rows = plane_rows(f, height, p);
        c.image.data[p] = c.memory + GUARD + row * (size_t)(height * p);
        c.image.stride[p] = (ptrdiff_t)row;
        if (upside_down) {
            c.image.data[p] += row * (size_t)(rows - 1);
            c.image.stride[p] = -(ptrdiff_t)row;
        }
    }
    return c;
}

static double get(const hyv_image *image, int plane, int x, int y)
{
    const uint8_t *row = image->data[plane] + y * image->stride[plane];
    float value;
    switch (formats[image->format].bits) {
    case 8:
        return row[x];
    case 10:
        return row[2 * x] + 256 * row[2 * x + 1];
    }
    memcpy(&value, row + 4 * x, sizeof(value));
    return (double)value;
}

static void check_picture(canvas *c, const float *rgb)
{
    const hyv_image *image = &c->image;
    const enum hyv_format f = image->format;
    const int bytes = (formats[f].bits + 7) / 8;
    int wrong = 0;
    hyv_frames_write(image, rgb);
    for (int p = 0; p < formats[f].planes; p++)
        for (int y = 0; y < plane_rows(f, image->height, p); y++)
            for (int x = 0; x < plane_samples(f, image->width, p); x++) {
                const double want = exact(image, rgb, p, x, y), is = get(image, p, x, y);
                const double slack = bytes == 4 ? 1e-7 : bytes == 1 ? 0.5002 : 0.501;
                wrong += !(fabs(want - is) <= slack) || (bytes < 4 && is != floor(is));
                for (int b = 0; b < bytes; b++)
                    image->data[p][y * image->stride[p] + x * bytes + b] = GUARD_BYTE;
            }
    CHECK_MSG(wrong == 0, "format %d matrix %d range %d %dx%d: %d samples wrong", (int)f,
              (int)image->matrix, (int)image->range, image->width, image->height, wrong);
    size_t touched = 0;
    for (size_t i = 0; i < c->bytes; i++)
        touched += c->memory[i] != GUARD_BYTE;
    CHECK_MSG(touched == 0, "format %d: %zu bytes outside the picture", (int)f, touched);
}

static void test_formats(void)
{
    static const int sizes[][2] = {{16, 16}, {32, 16}, {WIDTH_MAX, 24}, {17, 13}, {1, 1}, {2, 3}};
    check_random random = {11};
    float *rgb = malloc(sizeof(float) * WIDTH_MAX * WIDTH_MAX * 3);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (int i = 0; i < WIDTH_MAX * WIDTH_MAX * 3; i++)
            rgb[i] = check_random_float(&random) * (i % 7 ? 1.0f : 3.0f);
        rgb[0] = NAN;
        rgb[1] = INFINITY;
        rgb[2] = -INFINITY;
        for (int k = 0; k < FORMATS * 16; k++) {
            const enum hyv_format f = (enum hyv_format)(k / 16);
            canvas c = new_canvas(f, sizes[s][0], sizes[s][1], k & 1);
            c.image.matrix = (enum hyv_matrix)(k / 2 % 4);
            c.image.range = (enum hyv_range)(k / 8 % 2);
            hyv_log log = {0};
            CHECK(hyv_frames_check(&c.image, sizes[s][0], sizes[s][1], &log) == 0);
            check_picture(&c, rgb);
            free(c.memory);
        }
    }
    free(rgb);
}

/* rgb24 is the reference's rule to the bit: clamp(x / 2 + 0.5) * 255 in f32, half to even. */
static void test_rounding(void)
{
    enum { N = 4096 };
    float *rgb = malloc(sizeof(float) * N * 3);
    uint8_t *out = malloc(N * 3);
    int ties = 0, wrong = 0;
    for (int i = 0; i < N * 3; i++) {
        /* Every tie k + 0.5 and its neighbours, then others. */
        rgb[i] = ((float)(i / 3 % 256) + 0.5f) / 255.0f * 2.0f - 1.0f;
        for (int n = i / 768 - 4; n != 0; n += n < 0 ? 1 : -1)
            rgb[i] = nextafterf(rgb[i], n < 0 ? -2.0f : 2.0f);
    }
    hyv_image image = HYV_INIT(hyv_image);
    image.format = HYV_FORMAT_RGB24;
    image.width = N;
    image.height = 1;
    image.data[0] = out;
    image.stride[0] = N * 3;
    hyv_frames_write(&image, rgb);
    for (int i = 0; i < N * 3; i++) {
        const float v = rgb[i] / 2 + 0.5f, scaled = (v < 0 ? 0 : v > 1 ? 1 : v) * 255;
        const int below = (int)scaled;
        const float part = scaled - (float)below;
        const int even = below + (below & 1);
        ties += part == 0.5f;
        wrong += out[i] != (part == 0.5f ? even : part > 0.5f ? below + 1 : below);
    }
    CHECK_MSG(wrong == 0, "%d of %d differ", wrong, N * 3);
    CHECK_MSG(ties > 200, "only %d ties met", ties);
    free(rgb);
    free(out);
}

/* Known colours: BT.709 limited makes pure red 63, 102, 240; white and black reach the ends. */
static void test_colours(void)
{
    static const struct {
        float rgb[3];
        enum hyv_range range;
        int yuv[3];
    } rows[] = {{{1, -1, -1}, HYV_RANGE_LIMITED, {63, 102, 240}},
                {{1, 1, 1}, HYV_RANGE_LIMITED, {235, 128, 128}},
                {{-1, -1, -1}, HYV_RANGE_LIMITED, {16, 128, 128}},
                {{1, 1, 1}, HYV_RANGE_FULL, {255, 128, 128}},
                {{-1, -1, 1}, HYV_RANGE_FULL, {18, 255, 116}}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        canvas c = new_canvas(HYV_FORMAT_YUV444P, 1, 1, false);
        c.image.range = rows[i].range;
        hyv_frames_write(&c.image, rows[i].rgb);
        for (int p = 0; p < 3; p++)
            CHECK_MSG(c.image.data[p][0] == rows[i].yuv[p], "colour %zu plane %d: %d", i, p,
                      c.image.data[p][0]);
        free(c.memory);
    }
}

static void test_checks(void)
{
    canvas c = new_canvas(HYV_FORMAT_YUV420P10, 32, 16, false);
    hyv_log log = {0};
    CHECK(hyv_frames_check(NULL, 32, 16, &log) == -EINVAL && log.error[0]);
    for (int i = 0; i < 10; i++) {
        hyv_image bad = c.image;
        switch (i) {
        case 0:
            bad.size = 8;
            break;
        case 1:
            bad.format = (enum hyv_format)FORMATS;
            break;
        case 2:
            bad.format = (enum hyv_format) - 1;
            break;
        case 3:
            bad.width = 48;
            break;
        case 4:
            bad.height = -16;
            break;
        case 5:
            bad.matrix = (enum hyv_matrix)4;
            break;
        case 6:
            bad.range = (enum hyv_range)2;
            break;
        case 7:
            bad.data[2] = NULL;
            break;
        case 8:
            bad.stride[0] = 63;
            break;
        case 9:
            bad.stride[1] = -31;
            break;
        }
        hyv_log_clear(&log);
        CHECK_MSG(hyv_frames_check(&bad, 32, 16, &log) == -EINVAL && log.error[0], "case %d", i);
    }
    c.image.stride[0] = -64;
    c.image.stride[1] = 32;
    CHECK(hyv_frames_check(&c.image, 32, 16, &log) == 0);
    free(c.memory);
}

int main(void)
{
    test_formats();
    test_rounding();
    test_colours();
    test_checks();
    return check_done();
}
