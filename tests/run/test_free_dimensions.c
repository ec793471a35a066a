/* Model folders that no other test knows, made on the spot, through the public header alone.
 *
 * Each geometry must give frames, the same bytes for every instruction set, number of threads and
 * way of storing the same values, and nothing wrong in hyv_inspect. Damaged folders must be
 * refused with a message that names the tensor or the file. What values come out right is the
 * reference data's matter (test_golden).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"
#include "../tiny.h"

typedef struct geometry {
    const char *name;
    tiny_model model;
    int width, height, frames;
    const char *cfg;
} geometry;

#define DIT(h, d, a, b, c, doubles, singles, refiners, mlp, with_guidance, text, pooled, z, p) \
    {                                                                                          \
        .in_channels = z, .out_channels = z, .heads = h, .head_dim = d, .width = (h) * (d),    \
        .mlp_width = mlp, .double_blocks = doubles, .single_blocks = singles,                  \
        .refiner_blocks = refiners, .refiner_mlp_width = 4 * (h) * (d), .text_width = text,    \
        .pooled_width = pooled, .patch = p, .rope_dims = {a, b, c}, .rope_theta = 256.0,       \
        .guidance = with_guidance                                                              \
    }
#define LLAMA(w, n, h, kv, d, mlp)                                                                \
    {                                                                                             \
        .width = w, .layers = n, .layers_used = (n)-2, .heads = h, .kv_heads = kv, .head_dim = d, \
        .mlp_width = mlp, .vocabulary = 896, .eps = 1e-5, .theta = 500000.0                       \
    }
#define CLIP(w, n, h, mlp, act)                                                                    \
    {                                                                                              \
        .width = w, .layers = n, .heads = h, .mlp_width = mlp, .vocabulary = 774, .positions = 77, \
        .eps = 1e-5, .activation = act                                                             \
    }
#define VAE(n, layers, groups, z, space, time, attends, ...)                                       \
    {                                                                                              \
        .blocks = n, .block_out_channels = {__VA_ARGS__}, .layers_per_block = layers,              \
        .norm_num_groups = groups, .latent_channels = z, .out_channels = 3,                        \
        .spatial_compression = space, .temporal_compression = time, .mid_block_attention = attends \
    }

static const geometry geometries[] = {
    {"odd heads",
     {.config = {DIT(3, 12, 4, 4, 4, 1, 1, 1, 90, true, 28, 24, 6, 2), LLAMA(28, 3, 4, 1, 6, 44),
                 CLIP(24, 1, 3, 40, HYV_GELU_ERF), VAE(4, 1, 2, 6, 8, 4, true, 4, 6, 8, 10), 0.5,
                 5.0}},
     48,
     32,
     9,
     "1"},
    {"no double blocks",
     {.config = {DIT(1, 20, 8, 6, 6, 0, 3, 2, 40, false, 40, 16, 4, 2), LLAMA(40, 4, 5, 5, 8, 33),
                 CLIP(16, 3, 2, 20, HYV_QUICK_GELU), VAE(4, 2, 4, 4, 8, 4, false, 4, 8, 8, 12), 1.0,
                 7.0},
      .storage = {TINY_BF16, TINY_BF16, TINY_BF16, TINY_BF16}},
     32,
     64,
     1,
     "3"},
    {"no single blocks, no refiner",
     {.config = {DIT(5, 8, 4, 2, 2, 2, 0, 0, 160, true, 30, 20, 5, 1), LLAMA(30, 5, 3, 3, 10, 20),
                 CLIP(20, 2, 5, 30, HYV_GELU_ERF), VAE(4, 1, 16, 5, 8, 4, true, 16, 16, 16, 32),
                 0.3, 1.0},
      .storage = {TINY_F16, TINY_F16, TINY_F16, TINY_F16}},
     32,
     48,
     5,
     "1"},
    {"one level of two",
     {.config = {DIT(2, 24, 8, 8, 8, 1, 2, 1, 50, false, 36, 32, 3, 2), LLAMA(36, 3, 6, 2, 4, 50),
                 CLIP(32, 1, 1, 32, HYV_QUICK_GELU), VAE(2, 1, 1, 3, 2, 1, true, 5, 7), 2.0, 9.0},
      .storage = {TINY_F8, TINY_BF16, TINY_F8, TINY_BF16}},
     16,
     32,
     3 * 4 + 1,
     "2"},
    {"scaled fp8",
     {.config = {DIT(2, 34, 10, 12, 12, 1, 1, 2, 70, true, 26, 28, 7, 2),
                 LLAMA(26, 3, 2, 1, 14, 30), CLIP(28, 2, 7, 17, HYV_QUICK_GELU),
                 VAE(3, 2, 3, 7, 4, 2, true, 6, 9, 12), 0.7, 3.0},
      .storage = {TINY_F8_SCALED, TINY_F8_SCALED, TINY_F8_SCALED, TINY_F8_SCALED}},
     32,
     16,
     5,
     "1"},
    {"wide and shallow",
     {.config = {DIT(7, 6, 2, 2, 2, 2, 2, 1, 43, true, 66, 36, 9, 2), LLAMA(66, 4, 8, 2, 8, 70),
                 CLIP(36, 1, 6, 50, HYV_GELU_ERF), VAE(4, 1, 5, 9, 8, 4, true, 5, 10, 10, 15),
                 0.476986, 7.0},
      .storage = {TINY_BF16, TINY_F16, TINY_F32, TINY_F16}},
     80,
     16,
     17,
     "1"}};
enum { GEOMETRIES = sizeof(geometries) / sizeof(geometries[0]) };

static void keep_error(void *opaque, enum hyv_log_level level, const char *message)
{
    if (level == HYV_LOG_ERROR)
        snprintf(opaque, 2048, "%s", message);
}

static hyv_options *options_of(const geometry *g, const char *folder, const char *isa,
                               const char *threads)
{
    char number[3][32];
    snprintf(number[0], sizeof(number[0]), "%d", g->width);
    snprintf(number[1], sizeof(number[1]), "%d", g->height);
    snprintf(number[2], sizeof(number[2]), "%d", g->frames);
    const char *const pairs[][2] = {{"model", folder},
                                    {"prompt", "a fox in snow"},
                                    {"isa", isa},
                                    {"threads", threads},
                                    {"width", number[0]},
                                    {"height", number[1]},
                                    {"frames", number[2]},
                                    {"cfg", g->cfg},
                                    {"steps", "2"},
                                    {"seed", "7"},
                                    {"negative", strcmp(g->cfg, "1") ? "rain" : ""}};
    hyv_options *o = hyv_options_new();
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        CHECK_MSG(hyv_options_set(o, pairs[i][0], pairs[i][1]) == 0, "%s: %s", g->name,
                  hyv_options_get(o, "error"));
    return o;
}

static size_t frame_size(const geometry *g)
{
    return (size_t)g->width * (size_t)g->height * 3 * sizeof(float);
}

/* All frames as floats into `frames`; the number of frames, or the error with its message. */
static int generate(const geometry *g, const char *folder, const char *isa, const char *threads,
                    uint8_t *frames, char message[2048])
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *o = options_of(g, folder, isa, threads);
    hyv_context *c = NULL;
    int count = 0;
    message[0] = '\0';
    callbacks.opaque = message;
    callbacks.log = keep_error;
    int err = hyv_open(&c, o, &callbacks);
    if (err >= 0)
        err = hyv_start(c, o, NULL);
    while (err >= 0) {
        uint8_t *at = frames + (size_t)(count < g->frames ? count : 0) * frame_size(g);
        hyv_image image = HYV_INIT(hyv_image);
        image.format = HYV_FORMAT_GBRPF32;
        image.width = g->width;
        image.height = g->height;
        for (int i = 0; i < 3; i++) {
            image.data[i] = at + (size_t)i * frame_size(g) / 3;
            image.stride[i] = (ptrdiff_t)g->width * (ptrdiff_t)sizeof(float);
        }
        err = hyv_read(c, &image);
        if (err <= 0 || ++count > g->frames)
            break;
    }
    hyv_close(&c);
    hyv_options_free(&o);
    return err < 0 ? err : count;
}

static int count_wrong(void *opaque, const hyv_tensor_info *info)
{
    *(int *)opaque += info->state == HYV_TENSOR_MISSING || info->state == HYV_TENSOR_MISSHAPEN ||
                      info->state == HYV_TENSOR_FOREIGN;
    return 0;
}

static void inspect(const geometry *g, const char *folder)
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *o = options_of(g, folder, "auto", "1");
    int wrong = 0;
    hyv_inspection inspection = HYV_INIT(hyv_inspection);
    callbacks.opaque = &wrong;
    inspection.tensor = count_wrong;
    const int status = hyv_inspect(o, &callbacks, &inspection);
    CHECK_MSG(status == 0 && wrong == 0, "%s: hyv_inspect gives %d, %d wrong", g->name, status,
              wrong);
    hyv_options_free(&o);
}

static bool available(const char *isa)
{
    return strcmp(isa, "avx2") == 0     ? __builtin_cpu_supports("avx2") != 0
           : strcmp(isa, "avx512") == 0 ? __builtin_cpu_supports("avx512bw") != 0
                                        : true;
}

static void compare(const geometry *g, const char *folder, const char *isa, const char *threads,
                    const uint8_t *want, const char *what)
{
    char message[2048];
    const size_t size = frame_size(g) * (size_t)g->frames;
    uint8_t *frames = calloc(1, size);
    if (!available(isa))
        check_skip(isa);
    else if (CHECK(frames != NULL)) {
        const int count = generate(g, folder, isa, threads, frames, message);
        CHECK_MSG(count == g->frames, "%s, %s: %d, %s", g->name, what, count, message);
        CHECK_MSG(memcmp(frames, want, size) == 0, "%s: other bytes with %s, isa %s, %s threads",
                  g->name, what, isa, threads);
    }
    free(frames);
}

/* The same model, stored otherwise. */
static void compare_stored(const geometry *g, int shards, int storage, const uint8_t *want,
                           const char *what)
{
    tiny_model m = g->model;
    char folder[64];
    m.shards = shards;
    for (int i = 0; storage >= 0 && i < HYV_COMPONENTS; i++)
        m.storage[i] = (tiny_storage)storage;
    if (!tiny_write(&m, folder))
        return;
    inspect(g, folder);
    compare(g, folder, "auto", "2", want, what);
    tiny_remove(folder);
}

static bool varies(const uint8_t *frames, size_t size)
{
    size_t different = 0;
    for (size_t i = sizeof(float); i < size; i += sizeof(float))
        different += memcmp(frames, frames + i, sizeof(float)) != 0;
    return different > size / sizeof(float) / 2;
}

static void check_geometry(const geometry *g)
{
    static const char *const settings[][2] = {
        {"c", "2"}, {"avx2", "1"}, {"avx2", "7"}, {"avx512", "1"}, {"avx512", "7"}};
    const size_t size = frame_size(g) * (size_t)g->frames;
    char folder[64], message[2048];
    uint8_t *frames = calloc(1, size);
    if (!CHECK(frames != NULL) || !tiny_write(&g->model, folder)) {
        free(frames);
        return;
    }
    inspect(g, folder);
    const int count = generate(g, folder, "c", "1", frames, message);
    CHECK_MSG(count == g->frames, "%s: %d instead of %d frames; %s", g->name, count, g->frames,
              message);
    CHECK_MSG(varies(frames, size), "%s: pictures of one colour", g->name);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        compare(g, folder, settings[i][0], settings[i][1], frames, "one file");
    tiny_remove(folder);
    compare_stored(g, 3, -1, frames, "shards");
    if (g->model.storage[HYV_VAE] == TINY_F32 || g->model.storage[HYV_VAE] == TINY_BF16) {
        bool whole = true;
        for (int i = 0; i < HYV_COMPONENTS; i++)
            whole &= g->model.storage[i] == g->model.storage[HYV_VAE];
        if (whole)
            compare_stored(g, 1, g->model.storage[HYV_VAE] == TINY_F32 ? TINY_BF16 : TINY_F32,
                           frames, "the same values in another type");
    }
    free(frames);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void expect_refusal(const tiny_model *m, const char *what, const char *named, bool swap)
{
    const geometry *g = &geometries[0];
    char folder[64], message[2048], path[3][96];
    uint8_t *frames = calloc((size_t)g->frames, frame_size(g));
    if (CHECK(frames != NULL) && tiny_write(m, folder)) {
        snprintf(path[0], sizeof(path[0]), "%s/vae", folder);
        snprintf(path[1], sizeof(path[1]), "%s/transformer", folder);
        snprintf(path[2], sizeof(path[2]), "%s/third", folder);
        for (int i = 0; swap && i < 3; i++)
            CHECK(rename(path[i], path[(i + 2) % 3]) == 0);
        const int status = generate(g, folder, "auto", "2", frames, message);
        CHECK_MSG(status < 0 && status != -ENOMEM && strstr(message, named) != NULL,
                  "%s: status %d, \"%s\" does not name %s", what, status, message, named);
        tiny_remove(folder);
    }
    free(frames);
}

static void check_damage(void)
{
    static const char *const tensors[] = {
        "layers.0.self_attn.q_proj.weight", "encoder.layers.0.mlp.fc1.bias",
        "transformer_blocks.0.attn.to_q.weight", "decoder.conv_in.conv.weight"};
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++)
        for (int fault = TINY_MISSING; fault <= TINY_MISSHAPEN; fault++) {
            tiny_model m = geometries[0].model;
            m.damaged = tensors[i];
            m.fault = (tiny_fault)fault;
            /* A bias is a vector whatever its shape says. */
            if (fault == TINY_MISSING || strstr(tensors[i], ".weight"))
                expect_refusal(&m, tensors[i], tensors[i], false);
        }
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++) {
        static const char *const phases[] = {"text_encoder", "text_encoder_2",
                                             "transformer:", "vae:"};
        tiny_model m = geometries[0].model;
        m.damaged = tensors[i];
        m.fault = TINY_NAN;
        expect_refusal(&m, "NaN", phases[i], false);
    }
    tiny_model m = geometries[0].model;
    m.config.dit.text_width++;
    expect_refusal(&m, "text width", "text_embed_dim", false);
    m = geometries[0].model;
    m.class_name = "CogVideoXTransformer3DModel";
    expect_refusal(&m, "class", "transformer/config.json", false);
    m = geometries[0].model;
    m.condition = "latent_concat";
    expect_refusal(&m, "image to video", "image-to-video", false);
    expect_refusal(&geometries[0].model, "swapped folders", "this is the vae, not the transformer",
                   true);
}

int main(void)
{
    for (int i = 0; i < GEOMETRIES; i++)
        check_geometry(&geometries[i]);
    check_damage();
    return check_done();
}
