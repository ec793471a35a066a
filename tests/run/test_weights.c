/* Weights of GGUF files: every layout, part and type binds to the matrix that the decoded values
 * make, and whole pipelines give the bytes that they give with those values in F32.
 *
 * The files are written here, with the names of the diffusers layout.
 */
#include "../../engine/run/weights.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/hunyuanvideo.h"
#include "../../kernels/quant.h"
#include "../check.h"
#include "../gguf.h"
#include "../kernels/blocks.h"
#include "../tiny.h"

static void print_error(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level <= HYV_LEVEL_WARNING)
        printf("%s\n", message);
}

static hyv_log test_log = {.write = print_error};
static const hyv_names own_names = {0};

/* ---- one matrix ---- */

enum { ROWS = 24, COLS = 512, TAPS = 4, HEAD = 6 };

/* Element (row, col) of what the binder shall give: where it stands in the file's matrix. */
static int64_t source_of(const hyv_matrix_spec *s, int64_t row, int64_t col)
{
    int64_t from = row;
    if (s->layout == HYV_LAYOUT_HALVES) /* pair (2i, 2i + 1) comes from (i, i + d/2) of its head */
        from = row / HEAD * HEAD + row % HEAD / 2 + row % 2 * (HEAD / 2);
    if (s->layout == HYV_LAYOUT_DEPTH_LAST)
        from = row % (s->rows / TAPS) * TAPS + row / (s->rows / TAPS);
    if (s->layout == HYV_LAYOUT_TAPS)
        col = col % (s->cols / TAPS) * TAPS + col / (s->cols / TAPS);
    return (s->part * s->rows + from) * s->cols + col;
}

static void check_values(const hyv_weight *got, const float *values, const float *bias,
                         const hyv_matrix_spec *s, const char *what)
{
    float *row = malloc((size_t)s->cols * sizeof(*row));
    hyv_matrix_spec vertical = *s; /* the bias is a matrix of one column */
    int64_t bad = 0;
    vertical.cols = 1;
    if (s->layout == HYV_LAYOUT_TAPS)
        vertical.layout = HYV_LAYOUT_PLAIN;
    for (int64_t i = 0; i < s->rows && got->w.data && got->bias; i++) {
        hyv_decode(row, got->w.data, got->w.type, i * got->w.ld, s->cols);
        for (int64_t k = 0; k < s->cols; k++)
            bad += row[k] != values[source_of(s, i, k)];
        bad += got->bias[i] != bias[source_of(&vertical, i, 0)];
    }
    CHECK_MSG(got->w.data && got->bias && bad == 0 && got->w.rows == s->rows &&
                  got->w.cols == s->cols,
              "%s: %lld wrong", what, (long long)bad);
    free(row);
}

/* blocks[kind] in a matrix [ROWS, COLS] or a convolution; with or without pairs in order. */
static void bind_one(hyv_backend *be, int kind, const char *path, bool llama, check_random *random)
{
    const hyv_type type = blocks[kind].type;
    static const int64_t flat[2] = {ROWS, COLS}, vector[1] = {ROWS}, long_vector[1] = {COLS};
    static const int32_t conv[4] = {ROWS, COLS / TAPS, 2, 2};
    const hyv_matrix_spec specs[] = {
        {.rows = ROWS, .cols = COLS},
        {.rows = ROWS / 3, .cols = COLS, .parts = 3, .part = 2},
        {.rows = ROWS, .cols = COLS, .layout = HYV_LAYOUT_HALVES, .detail = HEAD},
        {.rows = ROWS, .cols = COLS, .layout = HYV_LAYOUT_DEPTH_LAST, .detail = TAPS},
        {.rows = ROWS, .cols = COLS, .layout = HYV_LAYOUT_TAPS, .detail = TAPS}};
    uint8_t *data = malloc(hyv_type_size(type, ROWS * COLS));
    float *values = malloc(ROWS * COLS * sizeof(float)), bias[ROWS], got[COLS];
    gguf_file f = {.alignment = 8}; /* so that nothing is aligned to a vector */
    hyv_checkpoint *c = NULL;
    hyv_weights *w = NULL;
    blocks_fill(data, kind, ROWS * COLS / hyv_type_block(type), random);
    hyv_quant_decode(values, data, type, ROWS * COLS);
    for (int i = 0; i < ROWS; i++)
        bias[i] = check_random_normal(random);
    gguf_key_u32(&f, "general.alignment", 8);
    gguf_key_string(&f, "general.architecture", llama ? "llama" : "hyvid");
    gguf_key(&f, "comfy.gguf.orig_shape.conv.weight", HYV_VALUE_ARRAY);
    gguf_put(&f.values, HYV_VALUE_I32, 4);
    gguf_put(&f.values, 4, 8);
    for (int i = 0; i < 4; i++)
        gguf_put(&f.values, (uint32_t)conv[i], 4);
    gguf_tensor(&f, "blk.0.attn_q.weight", 2, flat, type, data);
    gguf_tensor(&f, "blk.0.attn_q.bias", 1, vector, HYV_F32, bias);
    gguf_tensor(&f, "conv.weight", 2, flat, type, data);
    gguf_tensor(&f, "conv.bias", 1, vector, HYV_F32, bias);
    gguf_tensor(&f, "vector", 1, long_vector, type, data);
    gguf_write(&f, path);
    CHECK(hyv_checkpoint_open(&c, path, &test_log) == 0);
    CHECK(hyv_weights_new(&w, be, c, &own_names, "model", &test_log) == 0);
    const hyv_binder b = hyv_weights_binder(w);
    for (size_t i = 0; c && i < sizeof(specs) / sizeof(specs[0]); i++) {
        hyv_matrix_spec s = specs[i];
        hyv_weight out;
        s.bias = true;
        b.matrix(b.opaque, &out, s.layout == HYV_LAYOUT_TAPS ? "conv" : "blk.0.attn_q", &s);
        if (llama && s.layout == HYV_LAYOUT_HALVES)
            s.layout = HYV_LAYOUT_PLAIN;
        check_values(&out, values, bias, &s, hyv_type_name(type));
        CHECK(out.w.type == (s.layout == HYV_LAYOUT_TAPS ? HYV_F32 : type));
    }
    hyv_mat table = HYV_NO_MAT;
    const float *long_one = NULL;
    b.table(b.opaque, &table, "blk.0.attn_q.weight", ROWS, COLS);
    b.vector(b.opaque, &long_one, "vector", COLS);
    CHECK(hyv_weights_status(w) == 0 && table.data && long_one);
    if (table.data)
        hyv_table_row(got, table, 5);
    CHECK(memcmp(got, values + 5 * COLS, sizeof(got)) == 0);
    CHECK(long_one && memcmp(long_one, values, sizeof(got)) == 0);
    /* plain ones and the part are used where they lie */
    const size_t mapped = hyv_type_size(type, ROWS * COLS);
    CHECK(hyv_weights_mapped_bytes(w) == mapped + mapped / 3 + (llama ? mapped : 0));
    hyv_weights_free(&w);
    hyv_checkpoint_close(&c);
    free(values);
    free(data);
}

static void test_binding(const char *path)
{
    check_random random = {17};
    hyv_backend *be = NULL;
    if (!CHECK(hyv_backend_open(&be, "cpu", &(hyv_backend_config){.threads = 1}) == 0))
        return;
    for (int kind = 0; kind < BLOCK_TYPES; kind++)
        for (int llama = 0; llama < 2; llama++)
            bind_one(be, kind, path, llama, &random);
    hyv_backend_close(&be);
    unlink(path);
}

/* Matrices of blocks are repacked as their block is entered, into memory that the blocks share. */
static void test_late(const char *path)
{
    static const int64_t shape[2] = {ROWS, COLS};
    static const float bias[ROWS]; /* all the same, whatever the order */
    static const char *const names[] = {"a.weight", "b.weight"};
    const hyv_matrix_spec s = {
        .rows = ROWS, .cols = COLS, .layout = HYV_LAYOUT_HALVES, .detail = HEAD};
    const size_t bytes = ROWS * COLS * sizeof(float);
    float *values = malloc(2 * bytes);
    gguf_file f = {0};
    hyv_backend *be = NULL;
    hyv_checkpoint *c = NULL;
    hyv_weights *w = NULL;
    hyv_block block[2];
    hyv_weight out[2];
    check_random random = {5};
    for (int i = 0; i < 2 * ROWS * COLS; i++)
        values[i] = check_random_normal(&random);
    gguf_key_string(&f, "general.architecture", "hyvid");
    for (int i = 0; i < 2; i++)
        gguf_tensor(&f, names[i], 2, shape, HYV_F32, values + i * ROWS * COLS);
    gguf_write(&f, path);
    CHECK(hyv_backend_open(&be, "cpu", &(hyv_backend_config){.threads = 1}) == 0);
    CHECK(hyv_checkpoint_open(&c, path, &test_log) == 0);
    CHECK(hyv_weights_new(&w, be, c, &own_names, "model", &test_log) == 0);
    const hyv_binder b = hyv_weights_binder(w);
    for (int i = 0; i < 2; i++) {
        hyv_bind_block(&b, &block[i], false);
        hyv_bind_matrix(&b, &out[i], &s, "%c", "ab"[i]);
        out[i].bias = bias;
    }
    CHECK(hyv_weights_status(w) == 0 && out[0].w.data == out[1].w.data);
    CHECK(hyv_weights_owned_bytes(w) == bytes && hyv_weights_mapped_bytes(w) == 2 * bytes);
    for (int round = 0; round < 4; round++) {
        const int i = round & 1;
        hyv_enter(be, &block[i]);
        check_values(&out[i], values + i * ROWS * COLS, bias, &s, names[i]);
    }
    hyv_weights_free(&w);
    hyv_checkpoint_close(&c);
    hyv_backend_close(&be);
    free(values);
}

/* ---- pipelines ---- */

/* Blocks for the values x: encoded where there is an encoder, else random ones of their size. */
static void make_blocks(void *out, const float *x, int64_t count, int kind, check_random *random)
{
    static const float ranges[BLOCK_TYPES] = {8,   15,  16,   31,   127, 45,
                                              128, 945, 1953, 4096, 127, 4064};
    const hyv_type type = blocks[kind].type;
    float most = 0.0f;
    if (hyv_quant_encodes(type)) {
        hyv_quant_encode(out, x, type, count);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    blocks_fill(out, kind, count / hyv_type_block(type), random);
    for (int64_t i = 0; i < count / hyv_type_block(type); i++) {
        uint8_t *b = (uint8_t *)out + (size_t)i * hyv_type_bytes(type);
        const bool adds = type == HYV_Q4_1 || type == HYV_Q5_1;
        block_put_half(b, blocks[kind].scale, 2.0f * most / ranges[kind]);
        block_put_half(b, blocks[kind].minimum, adds ? -most : most / (type == HYV_Q2_K ? 15 : 63));
    }
}

/* Which kind of blocks a tensor gets: one of those that fit, by its number; -1: it stays. */
static int choose_kind(const hyv_tensor *t, int64_t number)
{
    if (t->rank != 2 || t->shape[1] % 32 != 0 || !hyv_type_is_float(t->type))
        return -1;
    for (int i = 0; i < BLOCK_TYPES; i++) {
        const int kind = (int)((number + i) % BLOCK_TYPES);
        if (t->shape[1] % hyv_type_block(blocks[kind].type) == 0)
            return kind;
    }
    return -1;
}

/* Writes the tensors of a component as GGUF, in blocks or in their values; how many are in blocks.
 */
static int requantise(const char *from, const char *to, bool decoded)
{
    hyv_checkpoint *c = NULL;
    gguf_file f = {0};
    int quantised = 0;
    if (!CHECK(hyv_checkpoint_open(&c, from, &test_log) == 0))
        return 0;
    for (int64_t i = 0; i < hyv_checkpoint_count(c); i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        check_random random = {(uint64_t)i + 1};
        const int kind = choose_kind(t, i);
        if (kind < 0) {
            gguf_tensor(&f, t->name, t->rank, t->shape, t->type, t->data);
            continue;
        }
        const hyv_type type = blocks[kind].type;
        float *values = malloc((size_t)t->count * sizeof(*values));
        void *bytes = malloc(hyv_type_size(type, t->count));
        hyv_decode(values, t->data, t->type, 0, t->count);
        make_blocks(bytes, values, t->count, kind, &random);
        hyv_quant_decode(values, bytes, type, t->count);
        gguf_tensor(&f, t->name, 2, t->shape, decoded ? HYV_F32 : type, decoded ? values : bytes);
        quantised++;
        free(values);
        free(bytes);
    }
    hyv_checkpoint_close(&c);
    gguf_write(&f, to);
    return quantised;
}

enum { WIDTH = 32, HEIGHT = 32, FRAMES = 5, FRAME_BYTES = WIDTH * HEIGHT * 3 };

static void generate(const char *folder, const char *isa, uint8_t *frames)
{
    static const char *const pairs[][2] = {{"prompt", "a fox in snow"},
                                           {"width", "32"},
                                           {"height", "32"},
                                           {"frames", "5"},
                                           {"steps", "2"},
                                           {"seed", "7"},
                                           {"threads", "2"}};
    hyv_options *o = hyv_options_new();
    hyv_context *c = NULL;
    hyv_image image = HYV_INIT(hyv_image);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        CHECK(hyv_options_set(o, pairs[i][0], pairs[i][1]) == 0);
    CHECK(hyv_options_set(o, "model", folder) == 0 && hyv_options_set(o, "isa", isa) == 0);
    image.format = HYV_FORMAT_RGB24;
    image.width = WIDTH;
    image.height = HEIGHT;
    image.stride[0] = WIDTH * 3;
    CHECK_MSG(hyv_open(&c, o, NULL) == 0 && hyv_start(c, o, NULL) == 0, "%s: %s", folder,
              c ? hyv_error(c) : "no context");
    for (int i = 0; i < FRAMES; i++) {
        image.data[0] = frames + i * FRAME_BYTES;
        CHECK_MSG(c && hyv_read(c, &image) == 1, "%s, frame %d: %s", folder, i,
                  c ? hyv_error(c) : "");
    }
    hyv_close(&c);
    hyv_options_free(&o);
}

/* Replaces the weights of `component` below folder by a GGUF file. `from` has them. */
static int replace(const char *folder, const char *from, const char *component, bool decoded)
{
    char source[160], target[160];
    snprintf(source, sizeof(source), "%s/%s", from, component);
    snprintf(target, sizeof(target), "%s/%s/model.gguf", folder, component);
    return requantise(source, target, decoded);
}

static void compare(const char *blocked, const char *plain)
{
    static const char *const isas[] = {"c", "avx2", "avx512"};
    uint8_t *want = calloc(FRAMES, FRAME_BYTES), *got = calloc(FRAMES, FRAME_BYTES);
    int64_t varies = 0;
    generate(plain, "c", want);
    for (int i = FRAME_BYTES; i < FRAMES * FRAME_BYTES; i++)
        varies += want[i] != want[i - 3];
    CHECK(varies > FRAME_BYTES);
    for (int i = 0; i < 3; i++) {
        if ((i == 1 && !__builtin_cpu_supports("avx2")) ||
            (i == 2 && !__builtin_cpu_supports("avx512bw"))) {
            check_skip(isas[i]);
            continue;
        }
        generate(blocked, isas[i], got);
        CHECK_MSG(memcmp(want, got, FRAMES * FRAME_BYTES) == 0, "%s: other bytes with isa %s",
                  blocked, isas[i]);
    }
    free(want);
    free(got);
}

/* Widths of 256 and more: every type occurs in every component but the VAE. */
static void test_wide(void)
{
    static const char *const components[] = {"text_encoder", "text_encoder_2", "transformer"};
    static const tiny_model model = {.config = {.dit = {.in_channels = 4,
                                                        .out_channels = 4,
                                                        .heads = 4,
                                                        .head_dim = 64,
                                                        .width = 256,
                                                        .mlp_width = 512,
                                                        .double_blocks = 1,
                                                        .single_blocks = 1,
                                                        .refiner_blocks = 1,
                                                        .refiner_mlp_width = 1024,
                                                        .text_width = 256,
                                                        .pooled_width = 256,
                                                        .patch = 2,
                                                        .rope_dims = {16, 24, 24},
                                                        .rope_theta = 256.0,
                                                        .guidance = true},
                                                .llama = {.width = 256,
                                                          .layers = 4,
                                                          .layers_used = 2,
                                                          .heads = 8,
                                                          .kv_heads = 4,
                                                          .head_dim = 32,
                                                          .mlp_width = 512,
                                                          .vocabulary = 896,
                                                          .eps = 1e-5,
                                                          .theta = 500000.0},
                                                .clip = {.width = 256,
                                                         .layers = 2,
                                                         .heads = 4,
                                                         .mlp_width = 512,
                                                         .vocabulary = 774,
                                                         .positions = 77,
                                                         .eps = 1e-5,
                                                         .activation = HYV_QUICK_GELU},
                                                .vae = {.blocks = 4,
                                                        .block_out_channels = {4, 4, 8, 32},
                                                        .layers_per_block = 1,
                                                        .norm_num_groups = 2,
                                                        .latent_channels = 4,
                                                        .out_channels = 3,
                                                        .spatial_compression = 8,
                                                        .temporal_compression = 4,
                                                        .mid_block_attention = true},
                                                .scaling_factor = 0.5,
                                                .shift = 7.0}};
    char blocked[64], plain[64], original[64], path[160];
    if (!tiny_write(&model, original) || !tiny_write(&model, blocked) || !tiny_write(&model, plain))
        return;
    for (size_t i = 0; i < sizeof(components) / sizeof(components[0]); i++) {
        for (int decoded = 0; decoded < 2; decoded++) {
            const char *folder = decoded ? plain : blocked;
            const int n = replace(folder, original, components[i], decoded);
            CHECK_MSG(n >= BLOCK_TYPES, "%s: only %d matrices in blocks", components[i], n);
            snprintf(path, sizeof(path), "%s/%s/%smodel.safetensors", folder, components[i],
                     i == 2 ? "diffusion_pytorch_" : "");
            CHECK(unlink(path) == 0);
        }
    }
    compare(blocked, plain);
    tiny_remove(original);
    tiny_remove(blocked);
    tiny_remove(plain);
}

static void link_to(const char *folder, const char *name)
{
    char from[96], to[160];
    snprintf(from, sizeof(from), "tests/golden/t2v/%s", name);
    char *target = realpath(from, NULL);
    snprintf(to, sizeof(to), "%s/%s", folder, name);
    CHECK(target && symlink(target, to) == 0);
    free(target);
}

/* The golden model with its transformer in blocks of 32. */
static void test_golden(void)
{
    static const char *const names[] = {
        "model_index.json", "scheduler",   "text_encoder", "text_encoder_2",
        "tokenizer",        "tokenizer_2", "vae",          "transformer/config.json"};
    char folders[2][64] = {"/tmp/hyv-weights-XXXXXX", "/tmp/hyv-weights-XXXXXX"};
    for (int decoded = 0; decoded < 2; decoded++) {
        char path[160];
        if (!CHECK(mkdtemp(folders[decoded]) != NULL))
            return;
        snprintf(path, sizeof(path), "%s/transformer", folders[decoded]);
        CHECK(mkdir(path, 0700) == 0);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            link_to(folders[decoded], names[i]);
        CHECK(replace(folders[decoded], "tests/golden/t2v", "transformer", decoded) > 60);
    }
    compare(folders[0], folders[1]);
    tiny_remove(folders[0]);
    tiny_remove(folders[1]);
}

int main(void)
{
    char path[] = "/tmp/hyv-weights-XXXXXX";
    const int file = mkstemp(path);
    if (!CHECK(file >= 0))
        return check_done();
    close(file);
    test_late(path);
    test_binding(path);
    test_wide();
    test_golden();
    return check_done();
}
