/* Moving pictures from integer arithmetic.
 *
 * A drifting pattern of three triangle waves whose colours and speeds come from a hash (FNV-1a) of
 * prompt and seed, a disc that bounces once in about a hundred frames, and the frame's number in
 * figures of 3x5 blocks. Every 8-bit value k becomes the float that means k / 255. Must not depend
 * on anything but the parameters: tests compare bytes across machines.
 */
#include "testmodel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../base/util.h"

enum { SLICE_MS = 20, CHANNELS = 3, FIGURE_BITS = 15, NUMBER_FIGURES = 5 };

typedef struct testmodel {
    const hyv_run *run;
    const hyv_params *params;
    float *rgb;        /* [height * width, 3] */
    float levels[256]; /* k / 255 as the model's -1 to 1 */
    uint32_t colour[CHANNELS];
    int next; /* number of the frame to come */
} testmodel;

/* Rows of the figures 0 to 9 from the top, three bits a row, leftmost bit highest. */
static const uint16_t figures[10] = {075557, 026227, 071747, 071717, 055711,
                                     074717, 074757, 071111, 075757, 075717};

static uint32_t hash_text(uint32_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

/* A triangle wave of period 512 between 0 and 255. */
static uint32_t triangle(uint32_t x)
{
    x &= 511;
    return x < 256 ? x : 511 - x;
}

/* Where a point that bounces between 0 and `room` is after `way`. */
static int bounce(int64_t way, int room)
{
    if (room <= 0)
        return 0;
    const int64_t at = way % (2 * (int64_t)room);
    return (int)(at < room ? at : 2 * (int64_t)room - at);
}

static void paint_background(const testmodel *m, int frame)
{
    const int width = m->params->width, height = m->params->height;
    const uint32_t t = (uint32_t)frame;
    float *out = m->rgb;
    for (int y = 0; y < height; y++) {
        const uint32_t v = (uint32_t)y * 512 / (uint32_t)height;
        for (int x = 0; x < width; x++) {
            const uint32_t u = (uint32_t)x * 512 / (uint32_t)width;
            for (int c = 0; c < CHANNELS; c++) {
                const uint32_t h = m->colour[c];
                const uint32_t wave = triangle(u * (1 + (h & 1)) + triangle(v + (h >> 9)) +
                                               t * (1 + (h >> 4 & 3)) + (h >> 17));
                *out++ = m->levels[(wave * (96 + (h >> 25)) >> 8) + 16];
            }
        }
    }
}

static void paint_disc(const testmodel *m, int frame)
{
    const int width = m->params->width, height = m->params->height;
    const int radius = (width < height ? width : height) / 5;
    const int64_t square = (int64_t)radius * radius;
    const int left = bounce((int64_t)frame * width / 97 + m->colour[0] % 64, width - 2 * radius);
    const int top = bounce((int64_t)frame * height / 61 + m->colour[1] % 64, height - 2 * radius);
    for (int y = 0; y < 2 * radius; y++) {
        float *row = m->rgb + ((int64_t)(top + y) * width + left) * CHANNELS;
        for (int x = 0; x < 2 * radius; x++) {
            const int64_t dx = x - radius, dy = y - radius;
            const int64_t distance = dx * dx + dy * dy;
            if (distance >= square)
                continue;
            const int shade = (int)(255 - 160 * distance / square);
            for (int c = 0; c < CHANNELS; c++)
                row[x * CHANNELS + c] = m->levels[shade >> (m->colour[c] >> 12 & 1)];
        }
    }
}

/* Five figures across a third of the width, white on black, at the lower left. */
static void paint_number(const testmodel *m, int frame)
{
    const int width = m->params->width, height = m->params->height;
    const int columns = NUMBER_FIGURES * 4 + 1;
    const int block = width / 3 / columns > 0 ? width / 3 / columns : 1;
    for (int y = 0; y < 7 * block && y < height; y++) {
        for (int x = 0; x < columns * block && x < width; x++) {
            const int column = x / block - 1, line = y / block - 1;
            bool lit = false;
            if (column >= 0 && line >= 0 && line < 5 && column % 4 < 3) {
                int number = frame;
                for (int i = NUMBER_FIGURES - 1; i > column / 4; i--)
                    number /= 10;
                lit = figures[number % 10] >> (FIGURE_BITS - 1 - line * 3 - column % 4) & 1;
            }
            float *p =
                m->rgb + ((int64_t)(height - 1 - (7 * block - 1 - y)) * width + x) * CHANNELS;
            if (y + height >= 7 * block)
                p[0] = p[1] = p[2] = m->levels[lit ? 255 : 0];
        }
    }
}

/* -ECANCELED as soon as somebody asks for it. */
static int wait_ms(const testmodel *m, int ms)
{
    while (!m->run->interrupt(m->run->opaque)) {
        if (ms <= 0)
            return 0;
        const int slice = ms < SLICE_MS ? ms : SLICE_MS;
        nanosleep(&(struct timespec){.tv_nsec = slice * 1000000L}, NULL);
        ms -= slice;
    }
    return -ECANCELED;
}

static int report(const testmodel *m, enum hyv_phase phase, int step, int steps)
{
    return m->run->progress(m->run->opaque, phase, step, steps, (double)step / steps) ? -ECANCELED
                                                                                      : 0;
}

static void testmodel_stop(void *self)
{
    testmodel *m = self;
    hyv_free_host(m->rgb);
    m->rgb = NULL;
}

static void testmodel_close(void **self)
{
    if (!*self)
        return;
    testmodel_stop(*self);
    hyv_free_host(*self);
    *self = NULL;
}

static int testmodel_open(void **self, const hyv_params *params, const hyv_run *run)
{
    testmodel *m = hyv_calloc(1, sizeof(*m));
    if (!m)
        return hyv_log_error(run->log, -ENOMEM, "model test: not enough memory");
    m->run = run;
    m->params = params;
    for (int k = 0; k < 256; k++)
        m->levels[k] = (float)k * (2.0f / 255.0f) - 1.0f;
    *self = m;
    return 0;
}

static int count_words(const char *text)
{
    int words = 0;
    for (; *text; text++)
        words += *text != ' ' && (text[1] == ' ' || !text[1]);
    return words;
}

static int testmodel_start(void *self, const hyv_params *params, hyv_video *video)
{
    testmodel *m = self;
    size_t bytes;
    testmodel_stop(m);
    if (params->test_fail == HYV_FAIL_PLAN)
        return hyv_log_error(m->run->log, -ENOENT, "model test: fails at plan, as test_fail asks");
    if (params->checkpoint[0])
        hyv_log_write(m->run->log, HYV_LEVEL_WARNING,
                      "checkpoint: has no effect with model test, whose run is no loss");
    m->params = params;
    m->next = 0;
    const size_t pixels = (size_t)params->width * (size_t)params->height;
    if (!hyv_mul_size(pixels, CHANNELS * sizeof(float), &bytes) || !(m->rgb = hyv_malloc(bytes, 1)))
        return hyv_log_error(m->run->log, -ENOMEM, "model test: not enough memory for a frame");
    uint32_t hash = hash_text(2166136261u, params->prompt);
    for (int c = 0; c < CHANNELS; c++) {
        hash = (hash ^ (uint32_t)params->seed ^ (uint32_t)c) * 0x9e3779b1u;
        m->colour[c] = hash ^= hash >> 15;
    }
    *video = (hyv_video){
        .width = params->width,
        .height = params->height,
        .frames = params->frames,
        .fps_num = params->rate_num,
        .fps_den = params->rate_den,
        .seed = params->seed,
        .steps = params->steps,
        .guidance = params->guidance,
        .shift = params->shift > 0 ? params->shift : 7,
        .cfg = params->cfg,
        .model = "test",
        .device = "cpu (test pictures)",
        .weights = "",
        .text_tokens = count_words(params->prompt),
        .video_tokens =
            (int64_t)((params->frames - 1) / 4 + 1) * (params->width / 16) * (params->height / 16),
        .bytes = bytes,
    };
    video->phase[HYV_PHASE_DENOISE].seconds = params->steps * (params->test_step_ms / 1e3);
    video->phase[HYV_PHASE_DECODE].seconds = params->frames * (params->test_frame_ms / 1e3);
    video->phase[HYV_PHASE_DECODE].bytes = bytes;
    return 0;
}

/* What a real model does before its first frame: text, then steps. */
static int denoise(const testmodel *m)
{
    int err = report(m, HYV_PHASE_TEXT, 0, 1);
    if (err >= 0)
        err = report(m, HYV_PHASE_TEXT, 1, 1);
    for (int step = 0; err >= 0 && step <= m->params->steps; step++) {
        if (step > 0)
            err = wait_ms(m, m->params->test_step_ms);
        if (err >= 0)
            err = report(m, HYV_PHASE_DENOISE, step, m->params->steps);
    }
    return err < 0 ? err : report(m, HYV_PHASE_DECODE, 0, m->params->frames);
}

static int testmodel_read(void *self, const float **rgb)
{
    testmodel *m = self;
    const int frame = m->next;
    if (frame == m->params->frames)
        return 0;
    int err = frame == 0 ? denoise(m) : 0;
    if (err >= 0)
        err = wait_ms(m, m->params->test_frame_ms);
    if (err < 0)
        return err;
    if (frame == m->params->test_fail)
        return hyv_log_error(m->run->log, -ENOMEM,
                             "model test: fails at frame %d, as test_fail asks", frame);
    paint_background(m, frame);
    paint_disc(m, frame);
    paint_number(m, frame);
    *rgb = m->rgb;
    m->next++;
    err = report(m, HYV_PHASE_DECODE, m->next, m->params->frames);
    return err < 0 ? err : 1;
}

static int testmodel_inspect(const hyv_params *params, const hyv_run *run, const hyv_inspection *to,
                             void *opaque)
{
    hyv_component_info info = {.size = sizeof(info),
                               .component = "",
                               .file = "",
                               .config = "",
                               .family = "test",
                               .variant = "test pictures",
                               .naming = "",
                               .types = "",
                               .summary = "model test: built in, test pictures, no tensors"};
    (void)params;
    hyv_log_write(run->log, HYV_LEVEL_INFO, "%s", info.summary);
    return to->component && to->component(opaque, &info) ? -ECANCELED : 0;
}

const hyv_source hyv_testmodel = {
    .open = testmodel_open,
    .start = testmodel_start,
    .read = testmodel_read,
    .stop = testmodel_stop,
    .close = testmodel_close,
    .inspect = testmodel_inspect,
};
