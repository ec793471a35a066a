/* Time of whole pieces of the published 13B model at their true widths, with random weights.
 *
 * A piece a call: a block of the transformer, the VAE's halves, a layer of Llama, CLIP. Prints one
 * line of JSON that another program can set beside its own measurement. A block's time is that
 * between two outputs which the watch sees, so nothing around it counts.
 *
 * bench_model [-t threads] [-r repetitions] [-i isa] [-p fp32|bf16|int8] [-w f32|bf16] [-d] PIECE
 * NUMBERS
 *
 * -d, for double and single: instead of the time, how far what the block adds to its input is from
 * that in fp32.
 *
 * - double T H W TEXT, single T H W TEXT: T x H x W video tokens and TEXT text tokens
 * - decode T H W: latents of that grid, in one piece
 * - encode T H W: pictures of that grid, in one piece
 * - llama N, clip N: N tokens
 * - linear M N K: one product of M rows
 * - attention N: N tokens of the transformer's heads, without a mask
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../../engine/model/clip.h"
#include "../../engine/model/dit.h"
#include "../../engine/model/embed.h"
#include "../../engine/model/llama.h"
#include "../../engine/model/vae.h"
#include "../../kernels/half.h"
#include "../check.h"
#include "../published.h"

enum { REPS_MAX = 99, NUMBERS = 4, OWNED_MAX = 2048, WIDTH = 3072 /* of the transformer */ };

typedef struct bench {
    hyv_backend *be;
    hyv_type type;      /* of the weights */
    const char *module; /* whose output ends the interval; NULL: the whole call counts */
    int index;
    double before, interval;
    float *input, *change; /* of the block in the interval, where not NULL */
    void *owned[OWNED_MAX];
    int owns;
    size_t weights; /* bytes */
    int64_t number[NUMBERS];
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- random weights ---------------------------------------------------------------------------
 */

static void *allocate(bench *b, size_t bytes)
{
    void *p = b->owns < OWNED_MAX ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    if (!p) {
        fprintf(stderr, "bench_model: out of memory\n");
        exit(1);
    }
    return b->owned[b->owns++] = p;
}

/* Of both signs, at most 0.03: hundreds of millions of them, so from a cheap generator. */
static void fill(void *out, hyv_type type, int64_t n)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        const float value = ((float)(state >> 8) / 8388608.0f - 1.0f) * 0.03f;
        const uint16_t half = hyv_f32_to_bf16(value);
        if (type == HYV_F32)
            memcpy((float *)out + i, &value, sizeof(value));
        else
            memcpy((uint16_t *)out + i, &half, sizeof(half));
    }
}

static void bind_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    float *v = allocate(opaque, (size_t)n * sizeof(float));
    (void)name;
    for (int64_t i = 0; i < n; i++)
        v[i] = 1.0f / 64;
    *out = v;
}

static void bind_matrix(void *opaque, hyv_weight *out, const char *module,
                        const hyv_matrix_spec *spec)
{
    bench *b = opaque;
    const int64_t n = spec->rows * spec->cols;
    const size_t bytes = hyv_type_size(b->type, n);
    *out = (hyv_weight){.w = {allocate(b, bytes), spec->rows, spec->cols, spec->cols, b->type}};
    fill(out->w.data, b->type, n);
    b->weights += bytes;
    if (spec->bias)
        bind_vector(b, &out->bias, module, spec->rows);
}

/* Look-ups are the host's and not measured. */
static void bind_table(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols)
{
    (void)opaque, (void)name;
    *out = (hyv_mat){NULL, rows, cols, cols, HYV_F32};
}

static hyv_binder binder(bench *b)
{
    return (hyv_binder){
        .opaque = b, .matrix = bind_matrix, .vector = bind_vector, .table = bind_table};
}

static hyv_mat random_rows(bench *b, int64_t rows, int64_t cols)
{
    hyv_mat m = {allocate(b, (size_t)(rows * cols) * sizeof(float)), rows, cols, cols, HYV_F32};
    fill(m.data, HYV_F32, rows * cols);
    return m;
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

/* What the block before leaves is its input. */
static void keep_change(bench *b, hyv_mat value, int index)
{
    const float *x = value.data;
    for (int64_t i = 0; i < value.rows * value.cols && index == b->index - 1; i++)
        b->input[i] = x[i];
    for (int64_t i = 0; i < value.rows * value.cols && index == b->index; i++)
        b->change[i] = x[i] - b->input[i];
}

static void see(void *opaque, const char *module, int index, hyv_mat value)
{
    bench *b = opaque;
    const double t = now();
    if (b->module && index == b->index && !strcmp(module, b->module))
        b->interval = t - b->before;
    if (b->change && !strcmp(module, b->module))
        keep_change(b, value, index);
    b->before = t;
}

/* One call of the piece; its pieces' weights and inputs are made by the function before it. */
typedef struct piece {
    const char *name;
    int numbers;
    void (*make)(bench *b);
    void (*run)(bench *b, const hyv_watch *watch);
    const char *module; /* as in bench */
    int index;
} piece;

static hyv_dit dit;
static hyv_dit_input dit_input;
static hyv_mat velocity;

/* Two blocks of each kind: the second of a kind has a neighbour before it. */
static void make_dit(bench *b)
{
    const int64_t *n = b->number, rows = n[0] * n[1] * n[2];
    const bool doubles = !strcmp(b->module, "transformer_blocks");
    hyv_dit_config config = PUBLISHED_DIT;
    config.double_blocks = doubles ? 2 : 0;
    config.single_blocks = doubles ? 0 : 2;
    config.refiner_blocks = 1;
    const hyv_grid grid = {n[0], 2 * n[1], 2 * n[2]}, tokens = {n[0], n[1], n[2]};
    const hyv_binder bind = binder(b);
    hyv_dit_bind(&dit, &config, &bind);
    const hyv_mat cosine = random_rows(b, rows, 128), sine = random_rows(b, rows, 128);
    hyv_rope_grid(cosine.data, sine.data, tokens, config.rope_dims, config.rope_theta);
    dit_input = (hyv_dit_input){.latents = random_rows(b, 4 * rows, 16),
                                .grid = grid,
                                .text = random_rows(b, n[3], 4096),
                                .text_mean = random_rows(b, 1, 4096),
                                .time = random_rows(b, 1, HYV_SINUSOID_DIM),
                                .modulations = random_rows(b, 1, hyv_dit_modulation_cols(&config)),
                                .rope = {cosine, sine}};
    velocity = random_rows(b, 4 * rows, 16);
}

static void run_dit(bench *b, const hyv_watch *watch)
{
    hyv_dit_forward(b->be, &dit, velocity, &dit_input, watch);
}

static hyv_vae vae;
static hyv_mat latents, pictures;

static void make_decoder(bench *b)
{
    static const hyv_vae_config config = PUBLISHED_VAE;
    const hyv_grid grid = {b->number[0], b->number[1], b->number[2]};
    const hyv_binder bind = binder(b);
    hyv_vae_bind(&vae, &config, &bind);
    latents = random_rows(b, hyv_grid_rows(grid), config.latent_channels);
    pictures = random_rows(b, hyv_grid_rows(hyv_vae_pictures(&config, grid)), 3);
}

static void run_decoder(bench *b, const hyv_watch *watch)
{
    const hyv_grid grid = {b->number[0], b->number[1], b->number[2]};
    hyv_vae_decode(b->be, &vae, latents, grid, pictures, watch);
}

static hyv_vae_encoder encoder;
static hyv_mat moments;

static void make_encoder(bench *b)
{
    static const hyv_vae_config config = PUBLISHED_VAE;
    const hyv_grid grid = {b->number[0], b->number[1], b->number[2]};
    const hyv_binder bind = binder(b);
    hyv_vae_encoder_bind(&encoder, &config, &bind);
    pictures = random_rows(b, hyv_grid_rows(grid), 3);
    moments =
        random_rows(b, hyv_grid_rows(hyv_vae_latents(&config, grid)), 2 * config.latent_channels);
}

static void run_encoder(bench *b, const hyv_watch *watch)
{
    const hyv_grid grid = {b->number[0], b->number[1], b->number[2]};
    hyv_vae_encode(b->be, &encoder, pictures, grid, moments, watch);
}

static hyv_llama llama;
static hyv_mat states;
static hyv_rope_table llama_rope;

static void make_llama(bench *b)
{
    static const hyv_llama_config config = PUBLISHED_LLAMA(2);
    const hyv_binder bind = binder(b);
    hyv_llama_bind(&llama, &config, &bind);
    states = random_rows(b, b->number[0], config.width);
    llama_rope =
        (hyv_rope_table){random_rows(b, b->number[0], 128), random_rows(b, b->number[0], 128)};
    hyv_rope_line(llama_rope.cos.data, llama_rope.sin.data, b->number[0], 128, config.theta);
}

static void run_llama(bench *b, const hyv_watch *watch)
{
    const hyv_llama_rows rows = {.rest = {b->number[0]}};
    hyv_llama_forward(b->be, &llama, states, &rows, llama_rope, watch);
}

static hyv_clip clip;
static hyv_mat pooled;

static void make_clip(bench *b)
{
    static const hyv_clip_config config = PUBLISHED_CLIP;
    const hyv_binder bind = binder(b);
    hyv_clip_bind(&clip, &config, &bind);
    states = random_rows(b, b->number[0], config.width);
    pooled = random_rows(b, 1, config.width);
}

static void run_clip(bench *b, const hyv_watch *watch)
{
    hyv_clip_forward(b->be, &clip, pooled, states, watch);
}

static hyv_weight weight;
static hyv_mat factor, product;

static void make_linear(bench *b)
{
    const hyv_binder list = binder(b);
    hyv_bind_large(&list, &weight, b->number[1], b->number[2], "linear");
    factor = random_rows(b, b->number[0], b->number[2]);
    product = random_rows(b, b->number[0], b->number[1]);
}

static void run_linear(bench *b, const hyv_watch *watch)
{
    (void)watch;
    hyv_linear(b->be, product, factor, &weight);
}

static hyv_mat attended[4]; /* y, q, k, v */

static void make_attention(bench *b)
{
    for (int i = 0; i < 4; i++)
        attended[i] = random_rows(b, b->number[0], 3072);
}

static void run_attention(bench *b, const hyv_watch *watch)
{
    (void)watch;
    hyv_attention(b->be, attended[0], attended[1], attended[2], attended[3], 24, 0);
}

static const piece pieces[] = {
    {"double", 4, make_dit, run_dit, "transformer_blocks", 1},
    {"single", 4, make_dit, run_dit, "single_transformer_blocks", 1},
    {"decode", 3, make_decoder, run_decoder, NULL, 0},
    {"encode", 3, make_encoder, run_encoder, NULL, 0},
    {"llama", 1, make_llama, run_llama, "layers", 1},
    {"clip", 1, make_clip, run_clip, NULL, 0},
    {"linear", 3, make_linear, run_linear, NULL, 0},
    {"attention", 1, make_attention, run_attention, NULL, 0},
};

/* ---- measuring --------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The states of encoders are overwritten: fresh ones each time, so that nothing grows. */
static double once(bench *b, const piece *p)
{
    const hyv_watch watch = {b, see};
    if (states.data)
        fill(states.data, HYV_F32, states.rows * states.cols);
    const double began = b->before = now();
    p->run(b, &watch);
    return p->module ? b->interval : now() - began;
}

/* Room for activations and working memory, counted by a run on the null backend. */
static void make_room(bench *b, const piece *p)
{
    hyv_backend *be = b->be;
    const hyv_backend_config config = {
        .threads = 1, .isa = be->config.isa, .precision = be->config.precision};
    if (hyv_backend_open(&b->be, "null", &config) == 0)
        p->run(b, NULL);
    hyv_arena_resize(be, b->be->stats.arena_bytes_enough);
    hyv_backend_close(&b->be);
    b->be = be;
}

static int measure(bench *b, const piece *p, int reps)
{
    double seconds[REPS_MAX];
    struct rusage before, after;
    b->module = p->module;
    b->index = p->index;
    p->make(b);
    getrusage(RUSAGE_SELF, &before);
    make_room(b, p);
    once(b, p);
    for (int i = 0; i < reps; i++)
        seconds[i] = once(b, p);
    getrusage(RUSAGE_SELF, &after);
    qsort(seconds, (size_t)reps, sizeof(*seconds), compare);
    char device[128];
    hyv_backend_describe(b->be, device, sizeof(device));
    printf("{\"piece\": \"%s\", \"device\": \"%s\", \"seconds\": %.6f, \"least\": %.6f, "
           "\"repetitions\": %d, \"weights_mib\": %.1f, \"peak_mib\": %.1f}\n",
           p->name, device, seconds[reps / 2], seconds[0], reps, (double)b->weights / 0x1p20,
           (double)(after.ru_maxrss - before.ru_maxrss) / 1024.0);
    return hyv_backend_error(b->be);
}

/* What the block adds, run once on b->be. */
static float *change_of(bench *b, const piece *p)
{
    const int64_t tokens = b->number[0] * b->number[1] * b->number[2] + b->number[3];
    const size_t bytes = (size_t)(tokens * WIDTH) * sizeof(float);
    b->input = allocate(b, bytes);
    b->change = allocate(b, bytes);
    make_room(b, p);
    once(b, p);
    return b->change;
}

static int measure_deviation(bench *b, const piece *p, const hyv_backend_config *config)
{
    const hyv_backend_config fp32 = {.threads = config->threads, .isa = config->isa};
    double both = 0.0, mine = 0.0, its = 0.0, apart = 0.0;
    b->module = p->module;
    b->index = p->index;
    p->make(b);
    const float *got = change_of(b, p);
    char device[128];
    hyv_backend_describe(b->be, device, sizeof(device));
    int err = hyv_backend_error(b->be);
    hyv_backend_close(&b->be);
    if (err < 0 || (err = hyv_backend_open(&b->be, "cpu", &fp32)) < 0)
        return err;
    const float *want = change_of(b, p);
    const int64_t tokens = b->number[0] * b->number[1] * b->number[2] + b->number[3];
    for (int64_t i = 0; i < tokens * WIDTH; i++) {
        const double x = (double)got[i], y = (double)want[i];
        both += x * y;
        mine += x * x;
        its += y * y;
        apart += (x - y) * (x - y);
    }
    printf("{\"piece\": \"%s\", \"device\": \"%s\", \"cosine\": %.7f, \"error\": %.5f}\n", p->name,
           device, both / sqrt(mine * its), sqrt(apart / its));
    return hyv_backend_error(b->be);
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_model [-t threads] [-r repetitions] [-i isa] [-p fp32|bf16|int8] "
                    "[-w f32|bf16] [-d] "
                    "double|single T H W TEXT | decode|encode T H W | llama N | clip N | "
                    "linear M N K | attention N\n");
    return 2;
}

int main(int argc, char **argv)
{
    static bench b;
    hyv_backend_config config = {0};
    int reps = 5;
    bool deviation = false;
    for (int option; (option = getopt(argc, argv, "t:r:i:p:w:d")) != -1;) {
        if (option == 't')
            config.threads = atoi(optarg);
        else if (option == 'r')
            reps = atoi(optarg);
        else if (option == 'i')
            config.isa = optarg;
        else if (option == 'p')
            config.precision = !strcmp(optarg, "bf16")   ? HYV_PRODUCTS_BF16
                               : !strcmp(optarg, "int8") ? HYV_PRODUCTS_INT8
                                                         : HYV_PRODUCTS_FP32;
        else if (option == 'd')
            deviation = true;
        else if (option == 'w')
            b.type = strcmp(optarg, "bf16") ? HYV_F32 : HYV_BF16;
        else
            return usage();
    }
    reps = reps < 1 ? 1 : reps > REPS_MAX ? REPS_MAX : reps;
    const piece *p = NULL;
    for (size_t i = 0; optind < argc && i < sizeof(pieces) / sizeof(*pieces); i++)
        if (!strcmp(argv[optind], pieces[i].name))
            p = &pieces[i];
    if (!p || argc - optind - 1 != p->numbers || (deviation && p->run != run_dit))
        return usage();
    for (int i = 0; i < p->numbers; i++)
        if ((b.number[i] = atoi(argv[optind + 1 + i])) < 1)
            return usage();
    if (hyv_backend_open(&b.be, "cpu", &config) < 0) {
        fprintf(stderr, "bench_model: no such backend or instruction set\n");
        return 1;
    }
    const int err = deviation ? measure_deviation(&b, p, &config) : measure(&b, p, reps);
    if (err < 0)
        fprintf(stderr, "bench_model: %s\n", strerror(-err));
    hyv_backend_close(&b.be);
    for (int i = 0; i < b.owns; i++)
        free(b.owned[i]);
    return err < 0;
}
