/* The null backend: the published 13B's shapes in no time, and the CPU backend's working memory.
 *
 * The blocks are those of the published model in numbers only: width 3072, 24 heads of 128, MLP
 * of 12288, 20 double and 40 single blocks, 118800 image tokens (1280x720, 129 frames) and 256 of
 * text.
 */
#include <time.h>

#include "rig.h"

enum { WIDTH = 3072, MLP = 4 * WIDTH, HEADS = 24, IMAGE = 118800, TEXT = 256, CHUNK = 8192 };

static hyv_weight weight(int64_t out, int64_t in)
{
    static float somewhere[16];
    return (hyv_weight){.w = {somewhere, out, in, in, HYV_BF16}};
}

static void project(hyv_backend *be, hyv_mat y, hyv_mat x)
{
    const hyv_weight w = weight(y.cols, x.cols);
    for (int64_t first = 0; first < y.rows; first += CHUNK) {
        const int64_t n = y.rows - first < CHUNK ? y.rows - first : CHUNK;
        hyv_linear(be, hyv_rows(y, first, n), hyv_rows(x, first, n), &w);
    }
}

/* One block, double or single: both have the same products and one attention over all rows. */
static void block(hyv_backend *be, hyv_mat x)
{
    const size_t mark = hyv_mark(be);
    const hyv_mat qkv = hyv_new(be, x.rows, 3 * WIDTH), attn = hyv_new(be, x.rows, WIDTH);
    const hyv_mat mlp = hyv_new(be, CHUNK, MLP);
    const hyv_mat q = hyv_cols(qkv, 0, WIDTH), k = hyv_cols(qkv, WIDTH, WIDTH);
    hyv_layer_norm(be, attn, x, NULL, 1e-6f);
    project(be, qkv, attn);
    hyv_rms_norm(be, q, q, NULL, 128, 1e-6f);
    hyv_rms_norm(be, k, k, NULL, 128, 1e-6f);
    hyv_attention(be, attn, q, k, hyv_cols(qkv, 2 * WIDTH, WIDTH), HEADS, 0);
    project(be, x, attn);
    const hyv_weight up = weight(MLP, WIDTH), down = weight(WIDTH, MLP);
    for (int64_t first = 0; first < x.rows; first += CHUNK) {
        const int64_t n = x.rows - first < CHUNK ? x.rows - first : CHUNK;
        const hyv_mat hidden = hyv_rows(mlp, 0, n);
        hyv_linear(be, hidden, hyv_rows(attn, first, n), &up);
        hyv_act(be, hidden, hidden, HYV_NO_MAT, HYV_GELU_TANH);
        hyv_linear(be, hyv_rows(x, first, n), hidden, &down);
    }
    hyv_release(be, mark);
}

static hyv_calls all_sizes(const hyv_backend *be, hyv_kind kind)
{
    hyv_calls sum = {0};
    for (int size = 0; size < HYV_SIZES; size++) {
        const hyv_calls *c = &be->stats.done[kind][size];
        const hyv_example *e = &be->stats.example[kind][size];
        sum.count += c->count;
        sum.work += c->work;
        CHECK((e->work > 0.0) == (c->count > 0) && e->work <= c->work);
        CHECK(size == 0 || e->work == 0.0 || e->work > be->stats.example[kind][size - 1].work);
    }
    return sum;
}

/* The calls of 60 blocks by kind, each among others of its size. */
static void check_calls(const hyv_backend *be, double attention, double products)
{
    const uint64_t chunks = (IMAGE + TEXT + CHUNK - 1) / CHUNK;
    const double elements = 60.0 * (double)(IMAGE + TEXT);
    const hyv_calls linear = all_sizes(be, HYV_KIND_LINEAR);
    const hyv_calls norm = all_sizes(be, HYV_KIND_RMS_NORM), act = all_sizes(be, HYV_KIND_ACT);
    CHECK(linear.count == 60 * 4 * chunks && fabs(linear.work / products - 1.0) < 1e-12);
    CHECK(fabs(all_sizes(be, HYV_KIND_ATTENTION).work / attention - 1.0) < 1e-12);
    CHECK(all_sizes(be, HYV_KIND_LAYER_NORM).work == elements * WIDTH);
    CHECK(norm.count == 120 && norm.work == 2.0 * elements * WIDTH);
    CHECK(act.count == 60 * chunks && act.work == elements * MLP);
    CHECK(all_sizes(be, HYV_KIND_SILU).count == 0 && all_sizes(be, HYV_KIND_CONV).count == 0);
}

static void test_13b(void)
{
    const double n = IMAGE + TEXT, width = WIDTH;
    const hyv_backend_config config = {.threads = 2};
    hyv_backend *be = NULL;
    const clock_t began = clock();
    CHECK(hyv_backend_open(&be, "null", &config) == 0);
    const hyv_mat x = hyv_new(be, IMAGE + TEXT, WIDTH);
    for (int i = 0; i < 60; i++)
        block(be, x);
    const double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    CHECK(hyv_backend_error(be) == 0);
    CHECK_MSG(seconds < 0.5, "%.3f s", seconds);
    const double attention = 60.0 * 4.0 * n * n * width;
    const double products = 60.0 * 2.0 * n * width * width * 12.0;
    CHECK(fabs(be->stats.attention_flops / attention - 1.0) < 1e-12);
    CHECK_MSG(be->stats.flops > attention + products &&
                  be->stats.flops < (attention + products) * 1.01,
              "%g flops", be->stats.flops);
    const size_t rows = IMAGE + TEXT;
    check_calls(be, attention, products);
    CHECK(be->stats.arena_bytes_max == rows * WIDTH * 4 * 5 + (size_t)CHUNK * MLP * sizeof(float));
    CHECK(hyv_mark(be) == rows * WIDTH * 4);
    /* A head's keys and values, when the most activations are there. */
    CHECK(be->stats.arena_bytes_enough >= rows * (WIDTH * 4 * 4 + 128 * 2 * sizeof(float)));
    CHECK(be->stats.arena_bytes_enough < be->stats.arena_bytes_max + ((size_t)1 << 28));
    CHECK(be->ops->scratch(be) > 0 && be->ops->scratch(be) < (size_t)1 << 28);
    hyv_backend_close(&be);
}

/* ---- working memory ---- */

typedef void step(hyv_backend *be, hyv_mat block);

static void a_linear(hyv_backend *be, hyv_mat m)
{
    const hyv_weight w = {.w = hyv_cols(hyv_rows(m, 300, 70), 0, 50), .int8 = true};
    hyv_linear(be, hyv_cols(hyv_rows(m, 0, 90), 0, 70), hyv_cols(hyv_rows(m, 100, 90), 0, 50), &w);
}

static void a_vector(hyv_backend *be, hyv_mat m)
{
    const hyv_weight w = {.w = hyv_cols(hyv_rows(m, 300, 70), 0, 50)};
    hyv_linear(be, hyv_cols(hyv_rows(m, 0, 1), 0, 70), hyv_cols(hyv_rows(m, 100, 1), 0, 50), &w);
}

/* With a stride, which is not filtered minimally, and without. */
static void a_conv3d(hyv_backend *be, hyv_mat m)
{
    const hyv_weight w = {.w = hyv_cols(hyv_rows(m, 300, 40), 0, 81)};
    const hyv_mat y = hyv_cols(m, 0, 40), x = hyv_cols(hyv_rows(m, 100, 90), 0, 3);
    const hyv_grid grid = {2, 9, 5}, three = {3, 3, 3}, one = {1, 1, 1}, two = {1, 2, 2};
    hyv_conv3d(be, hyv_rows(y, 0, 30), x, &w, grid, three, two);
    hyv_conv3d(be, hyv_rows(y, 0, 90), x, &w, grid, three, one);
}

/* The last frame alone, and both. */
static void a_wide_conv3d(hyv_backend *be, hyv_mat m)
{
    const hyv_mat rows = hyv_rows(m, 300, 100), x = hyv_cols(hyv_rows(m, 100, 90), 0, 16);
    const hyv_weight w = {.w = {rows.data, 16, 27 * 16, 27 * 16, HYV_F32}};
    const hyv_grid grid = {2, 9, 5}, three = {3, 3, 3}, one = {1, 1, 1};
    hyv_conv3d(be, hyv_cols(hyv_rows(m, 0, 45), 0, 16), x, &w, grid, three, one);
    hyv_conv3d(be, hyv_cols(hyv_rows(m, 0, 90), 0, 16), x, &w, grid, three, one);
}

static void an_upsample_conv3d(hyv_backend *be, hyv_mat m)
{
    const hyv_weight w = {.w = hyv_cols(hyv_rows(m, 400, 40), 0, 81)};
    const hyv_mat x = hyv_cols(hyv_rows(m, 350, 45), 0, 3);
    hyv_upsample_conv3d(be, hyv_cols(hyv_rows(m, 0, 180), 0, 40), x, &w, (hyv_grid){1, 9, 5}, true);
    hyv_upsample_conv3d(be, hyv_cols(hyv_rows(m, 0, 108), 0, 40), hyv_rows(x, 0, 27), &w,
                        (hyv_grid){3, 9, 1}, false);
}

/* Enough channels to be filtered minimally. Doubled in time some products have fewer rows, and may
 * take more memory. */
static void a_wide_upsample_conv3d(hyv_backend *be, hyv_mat m)
{
    const hyv_mat y = hyv_cols(m, 0, 16), x = hyv_cols(hyv_rows(m, 420, 70), 0, 16);
    const hyv_weight w = {.w = {hyv_rows(m, 490, 100).data, 16, 27 * 16, 27 * 16, HYV_F32}};
    hyv_upsample_conv3d(be, hyv_rows(y, 0, 140), hyv_rows(x, 0, 35), &w, (hyv_grid){1, 7, 5}, true);
    hyv_upsample_conv3d(be, hyv_rows(y, 0, 280), x, &w, (hyv_grid){2, 7, 5}, false);
    hyv_upsample_conv3d(be, hyv_rows(y, 0, 420), x, &w, (hyv_grid){2, 7, 5}, true);
}

static void an_attention(hyv_backend *be, hyv_mat m)
{
    const hyv_mat k = hyv_rows(m, 100, 200), v = hyv_rows(m, 300, 200);
    hyv_attention(be, hyv_cols(hyv_rows(m, 0, 40), 0, 60), hyv_cols(hyv_rows(m, 50, 40), 0, 60),
                  hyv_cols(k, 0, 20), hyv_cols(v, 0, 20), 3, 0);
}

/* Columns of products count in whole groups, small calls apart from large ones. */
static void test_sizes(void)
{
    hyv_backend *be = NULL;
    float somewhere[4];
    CHECK(hyv_backend_open(&be, "null", &(hyv_backend_config){.threads = 1}) == 0);
    const hyv_mat x = hyv_new(be, 100, 64), y = hyv_new(be, 100, 3);
    const hyv_weight w = {.w = {somewhere, 3, 64, 64, HYV_F32}};
    hyv_linear(be, y, x, &w);
    hyv_linear(be, hyv_rows(y, 0, 64), hyv_rows(x, 0, 64), &w);
    hyv_act(be, hyv_rows(x, 0, 1), hyv_rows(x, 0, 1), HYV_NO_MAT, HYV_SILU);
    hyv_act(be, x, x, HYV_NO_MAT, HYV_SILU);
    hyv_copy(be, hyv_rows(x, 0, 1), hyv_rows(x, 1, 1));
    CHECK(all_sizes(be, HYV_KIND_LINEAR).work == 2.0 * 100 * 32 * 64);
    CHECK(all_sizes(be, HYV_KIND_LINEAR_FEW).work == 2.0 * 64 * 32 * 64);
    CHECK(be->stats.done[HYV_KIND_SILU][0].work == 64 &&
          be->stats.done[HYV_KIND_SILU][1].work == 6400);
    CHECK(all_sizes(be, HYV_KIND_MOVE).count == 1 && all_sizes(be, HYV_KIND_ACT).count == 0);
    hyv_backend_close(&be);
}

static void a_group_norm(hyv_backend *be, hyv_mat m)
{
    hyv_group_norm(be, m, m, 4, NULL, 1e-6f);
}

static void a_normalisation(hyv_backend *be, hyv_mat m)
{
    const hyv_mat statistics = hyv_rows(m, 0, HYV_STATISTICS), x = hyv_rows(m, 10, 400);
    hyv_group_statistics(be, statistics, x, 4, NULL, 1e-6f);
    hyv_normalise_silu(be, x, x, statistics);
}

static step *const steps[] = {
    a_normalisation, a_group_norm, a_vector,           an_attention,           a_linear,
    a_wide_conv3d,   a_conv3d,     an_upsample_conv3d, a_wide_upsample_conv3d, a_group_norm};

enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

/* The arena with which all steps find their working memory. */
static size_t enough_for_steps(const hyv_backend_config *config)
{
    hyv_backend *null = NULL;
    CHECK(hyv_backend_open(&null, "null", config) == 0);
    const hyv_mat fake = hyv_new(null, 600, 96);
    for (int i = 0; i < STEPS; i++)
        steps[i](null, fake);
    const size_t enough = null->stats.arena_bytes_enough;
    hyv_backend_close(&null);
    return enough;
}

/* The same calls on both backends: null must foresee what the other then holds, to a rounding of
 * each thread's block to 64 bytes. */
static void test_scratch(int threads, const char *isa, hyv_precision precision)
{
    const hyv_backend_config config = {.threads = threads, .isa = isa, .precision = precision};
    hyv_backend *cpu = NULL, *null = NULL;
    CHECK(hyv_backend_open(&cpu, "cpu", &config) == 0);
    CHECK(hyv_backend_open(&null, "null", &config) == 0);
    CHECK(hyv_arena_resize(cpu, enough_for_steps(&config)) == 0);
    const hyv_mat real = hyv_new(cpu, 600, 96), fake = hyv_new(null, 600, 96);
    memset(real.data, 0, 600 * 96 * sizeof(float));
    CHECK(cpu->ops->scratch(cpu) == 0 && null->ops->scratch(null) == 0);
    for (int i = 0; i < STEPS; i++) {
        steps[i](cpu, real);
        steps[i](null, fake);
        const size_t held = cpu->ops->scratch(cpu), planned = null->ops->scratch(null);
        CHECK_MSG(held >= planned && held <= planned + 64 * (size_t)threads,
                  "%d threads, step %d: holds %zu, planned %zu", threads, i, held, planned);
        CHECK_MSG(cpu->stats.arena_bytes_enough == null->stats.arena_bytes_enough,
                  "%d threads, step %d: arena of %zu, planned %zu", threads, i,
                  cpu->stats.arena_bytes_enough, null->stats.arena_bytes_enough);
    }
    CHECK(cpu->stats.flops == null->stats.flops && cpu->stats.calls == null->stats.calls);
    CHECK(cpu->stats.arena_bytes_max == null->stats.arena_bytes_max);
    CHECK(hyv_backend_error(cpu) == 0 && hyv_backend_error(null) == 0);
    hyv_backend_close(&cpu);
    hyv_backend_close(&null);
}

/* An arena without room for working memory: the backend finds its own, which it gives back when
 * there is one with room, and the bytes are the same. */
static void test_no_room(void)
{
    const hyv_backend_config config = {.threads = 2, .isa = "auto"};
    const size_t bytes = 600 * 96 * sizeof(float), enough = enough_for_steps(&config);
    const size_t sizes[2] = {bytes, enough};
    static float results[2][600 * 96];
    size_t held[2];
    hyv_backend *be = NULL;
    CHECK(hyv_backend_open(&be, "cpu", &config) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(hyv_arena_resize(be, sizes[i]) == 0);
        const hyv_mat m = hyv_new(be, 600, 96);
        for (size_t k = 0; k < 600 * 96; k++)
            ((float *)m.data)[k] = (float)(k * 2654435761u % 1000) / 500.0f - 1.0f;
        for (int k = 0; k < STEPS; k++)
            steps[k](be, m);
        CHECK(hyv_backend_error(be) == 0);
        memcpy(results[i], m.data, bytes);
        held[i] = be->ops->scratch(be);
        hyv_release(be, 0);
    }
    hyv_backend_close(&be);
    CHECK(memcmp(results[0], results[1], bytes) == 0);
    CHECK_MSG(held[0] > held[1] && held[0] - held[1] >= enough - bytes, "%zu and %zu of %zu",
              held[0], held[1], enough - bytes);
}

int main(void)
{
    test_13b();
    test_sizes();
    test_no_room();
    for (int threads = 1; threads <= 7; threads += 3) {
        test_scratch(threads, "auto", HYV_PRODUCTS_FP32);
        test_scratch(threads, "auto", HYV_PRODUCTS_BF16);
        test_scratch(threads, "c", HYV_PRODUCTS_BF16);
        test_scratch(threads, "auto", HYV_PRODUCTS_INT8);
        test_scratch(threads, "c", HYV_PRODUCTS_INT8);
    }
    return check_done();
}
