/* linear: every storage type and kind of scale, odd sizes, strided and unaligned operands.
 *
 * The reference multiplies the decoded, scaled and once rounded weights in double precision; in
 * bf16 both operands are rounded once more.
 */
#include "../../kernels/quant.h"
#include "blocks.h"
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_weight W;
    hyv_precision precision;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_linear(be, y, c->x, &c->W);
}

static float to_bf16(float f)
{
    return hyv_bf16_to_f32(hyv_f32_to_bf16(f));
}

static float decode(const hyv_weight *W, int64_t row, int64_t col)
{
    const char *p =
        (const char *)W->w.data + (size_t)(row * W->w.ld + col) * hyv_type_bytes(W->w.type);
    uint16_t half = 0;
    float f = 0.0f;
    memcpy(&half, p, W->w.type == HYV_F16 || W->w.type == HYV_BF16 ? 2 : 1);
    switch (W->w.type) {
    case HYV_F32:
        memcpy(&f, p, sizeof(f));
        break;
    case HYV_F16:
        f = hyv_f16_to_f32(half);
        break;
    case HYV_BF16:
        f = hyv_bf16_to_f32(half);
        break;
    case HYV_F8_E4M3:
        f = hyv_f8_e4m3_to_f32((uint8_t)half);
        break;
    default:
        f = hyv_f8_e5m2_to_f32((uint8_t)half);
        break;
    }
    if (W->scales == 0)
        return f;
    const float scale = W->scale[W->scales == 1 ? 0 : row];
    return W->rounded ? to_bf16(f * to_bf16(scale)) : f * scale;
}

static void encode(char *p, hyv_type type, float f)
{
    const uint16_t half = type == HYV_F16 ? hyv_f32_to_f16(f) : hyv_f32_to_bf16(f);
    if (type == HYV_F32)
        memcpy(p, &f, sizeof(f));
    else if (type == HYV_F16 || type == HYV_BF16)
        memcpy(p, &half, sizeof(half));
    else
        *(uint8_t *)p = type == HYV_F8_E4M3 ? hyv_f32_to_f8_e4m3(f) : hyv_f32_to_f8_e5m2(f);
}

/* K summands, each product and sum rounded: the error grows with the root of K. */
static void reference(const call *c, int64_t out, double *want, double *error)
{
    const int64_t depth = c->x.cols;
    for (int64_t i = 0; i < c->x.rows; i++)
        for (int64_t j = 0; j < out; j++) {
            double sum = c->W.bias ? (double)c->W.bias[j] : 0.0, size = fabs(sum);
            for (int64_t k = 0; k < depth; k++) {
                const double product = rig_operand(c->precision, *rig_at(c->x, i, k)) *
                                       rig_operand(c->precision, decode(&c->W, j, k));
                sum += product;
                size += fabs(product);
            }
            want[i * out + j] = sum;
            error[i * out + j] =
                RIG_UNIT * sqrt((double)depth) * size + rig_smallest(c->precision) * (double)depth;
        }
}

typedef struct shape {
    int64_t rows, out, depth;
} shape;

/* variant: bit 0 strided x and w, 1 bias, 2 and 3 scale, 4 an odd address, 5 rounded by the scale
 */
static void one(const rig *r, shape s, hyv_type type, rig_values kind, int variant,
                check_random *random)
{
    char what[64];
    const size_t size = hyv_type_bytes(type), odd = variant & 16 ? 1 : 0;
    const int64_t ld = s.depth + (variant & 1 ? 5 : 0);
    rig_mat x = rig_new(s.rows, s.depth, variant & 1, HYV_F32);
    rig_mat y = rig_new(s.rows, s.out, true, HYV_F32), extra = rig_new(2, s.out, false, HYV_F32);
    char *block = malloc((size_t)(s.out * ld) * size + odd);
    if (!block)
        exit(2);
    rig_fill(x.m, kind, random);
    rig_fill(extra.m, RIG_NORMAL, random);
    memset(block, 0xff, (size_t)(s.out * ld) * size + odd);
    for (int64_t i = 0; i < s.out * s.depth; i++)
        encode(block + odd + (size_t)(i / s.depth * ld + i % s.depth) * size, type,
               check_random_normal(random));
    call c = {
        .x = x.m, .W = {.w = {block + odd, s.out, s.depth, ld, type}}, .precision = r->precision};
    c.W.bias = variant & 2 ? rig_at(extra.m, 0, 0) : NULL;
    c.W.scales = variant & 4 ? (variant & 8 ? s.out : 1) : 0;
    c.W.scale = c.W.scales ? rig_at(extra.m, 1, 0) : NULL;
    c.W.rounded = variant & 32;
    double *want = rig_doubles(s.rows * s.out), *error = rig_doubles(s.rows * s.out);
    reference(&c, s.out, want, error);
    snprintf(what, sizeof(what), "linear %s depth %d variant %d", hyv_type_name(type), (int)s.depth,
             variant);
    rig_compare(r, what, &y, run, &c, want, error);
    free(want);
    free(error);
    free(block);
    rig_free(&x);
    rig_free(&y);
    rig_free(&extra);
}

/* Every bit pattern of the 8 bit types and every upper half of f16's, against a one: decoding is
 * exact. NaN is left out, which bits it has nobody promises. */
static void every_pattern(const rig *r, hyv_type type)
{
    enum { PATTERNS = 256 };
    uint8_t weights[2 * PATTERNS] = {0};
    float one_value = 1.0f;
    double want[PATTERNS], error[PATTERNS] = {0};
    rig_mat y = rig_new(1, PATTERNS, true, HYV_F32);
    const size_t size = hyv_type_bytes(type);
    for (int i = 0; i < PATTERNS; i++)
        weights[(size_t)(i + 1) * size - 1] = (uint8_t)i;
    call c = {.x = {&one_value, 1, 1, 1, HYV_F32}, .W = {.w = {weights, PATTERNS, 1, 1, type}}};
    for (int i = 0; i < PATTERNS; i++) {
        if (isnan(decode(&c.W, i, 0)))
            weights[(size_t)(i + 1) * size - 1] = 0;
        want[i] = (double)decode(&c.W, i, 0);
    }
    rig_compare(r, "linear, every pattern", &y, run, &c, want, error);
    /* The same values along k, where whole vectors are decoded at once: row i of x selects one. */
    float *identity = calloc((size_t)PATTERNS * PATTERNS, sizeof(float));
    rig_mat column = rig_new(PATTERNS, 1, true, HYV_F32);
    for (int i = 0; identity && i < PATTERNS; i++) {
        identity[i * PATTERNS + i] = 1.0f;
        if (isinf(want[i]))
            want[i] = 0.0, weights[(size_t)(i + 1) * size - 1] = 0; /* times 0 is NaN */
    }
    c.x = (hyv_mat){identity, PATTERNS, PATTERNS, PATTERNS, HYV_F32};
    c.W.w = (hyv_mat){weights, 1, PATTERNS, PATTERNS, type};
    rig_compare(r, "linear, every pattern along k", &column, run, &c, want, error);
    free(identity);
    rig_free(&y);
    rig_free(&column);
}

/* ---- block types ---- */

/* Every backend gives the bytes that plain C gives for the decoded matrix. The weight is a view:
 * rows and columns, whole blocks, of a larger one. */
static void one_blocks(const rig *r, int kind, int64_t rows, int64_t out, int64_t depth,
                       int variant, check_random *random)
{
    char what[64];
    const hyv_type type = blocks[kind].type;
    const int64_t block = hyv_type_block(type), ld = depth + (variant & 1 ? 2 * block : 0);
    const size_t odd = variant & 16 ? 1 : 0, bytes = hyv_type_size(type, (out + 2) * ld);
    uint8_t *file = malloc(bytes + odd);
    float *decoded = malloc((size_t)(out * depth) * sizeof(float));
    if (!file || !decoded)
        exit(2);
    blocks_fill(file + odd, kind, (out + 2) * ld / block, random);
    hyv_mat w = {file + odd, out + 2, ld, ld, type};
    w = hyv_rows(hyv_cols(w, variant & 1 ? block : 0, depth), 1, out);
    for (int64_t i = 0; i < out; i++)
        hyv_decode(decoded + i * depth, w.data, type, i * ld, depth);
    rig_mat x = rig_new(rows, depth, variant & 1, HYV_F32), y = rig_new(rows, out, true, HYV_F32);
    rig_mat extra = rig_new(2, out, false, HYV_F32), want = rig_copy(&y);
    rig_fill(x.m, RIG_NORMAL, random);
    rig_fill(extra.m, RIG_NORMAL, random);
    call c = {.x = x.m, .W = {.w = w}};
    c.W.bias = variant & 2 ? rig_at(extra.m, 0, 0) : NULL;
    c.W.scales = variant & 4 ? (variant & 8 ? out : 1) : 0;
    c.W.scale = c.W.scales ? rig_at(extra.m, 1, 0) : NULL;
    call plain = c;
    plain.W.w = (hyv_mat){decoded, out, depth, depth, HYV_F32};
    snprintf(what, sizeof(what), "linear %s depth %d variant %d", hyv_type_name(type), (int)depth,
             variant);
    rig_compare(r, what, &y, run, &c, NULL, NULL);
    run(r->be[0], want.m, &plain);
    run(r->be[0], y.m, &c);
    CHECK_MSG(memcmp(y.block, want.block, y.bytes) == 0, "%s: not as with the decoded weights",
              what);
    free(file);
    free(decoded);
    rig_free(&x);
    rig_free(&y);
    rig_free(&extra);
    rig_free(&want);
}

/* Depths of one block and of many, which blocks of k and pieces of the packer cut; few and many
 * rows. */
static void check_blocks(const rig *r, bool quick, check_random *random)
{
    for (int kind = 0; kind < BLOCK_TYPES; kind++) {
        const int64_t block = hyv_type_block(blocks[kind].type), n = block == 32 ? 8 : 1;
        one_blocks(r, kind, 1, 1, block, 2, random);
        one_blocks(r, kind, 3, 17, 3 * block, 16 + 1, random);
        one_blocks(r, kind, 61, 35, 5 * block, 2 + 16, random);
        for (int variant = 0; variant < (quick ? 4 : 16); variant++)
            one_blocks(r, kind, 7, 33, block * check_random_int(random, 1, 4), variant, random);
        one_blocks(r, kind, 5, 37, 7 * n * block, 3, random);
        one_blocks(r, kind, 90, 34, (4 * n + 3) * block, 1 + 2 + 4 + 8 + 16, random);
        if (!quick) /* more than is packed at once */
            one_blocks(r, kind, 58, 33, 19 * n * block, 2, random);
    }
}

static void every_type(hyv_precision precision)
{
    static const hyv_type types[] = {HYV_F32, HYV_F16, HYV_BF16, HYV_F8_E4M3, HYV_F8_E5M2};
    /* Around the tiles (4 x 16, 6 x 16, 14 x 32), few and many rows, several blocks of k. */
    static const shape shapes[] = {{1, 1, 1},     {1, 33, 40},  {3, 7, 5},      {4, 16, 16},
                                   {8, 31, 129},  {14, 32, 64}, {15, 65, 17},   {56, 40, 31},
                                   {57, 40, 31},  {85, 47, 33}, {200, 100, 97}, {343, 19, 50},
                                   {60, 1031, 20}};
    static const shape deep[] = {{2, 35, 1601}, {61, 33, 1537}, {171, 70, 4700}, {1030, 18, 5000}};
    const bool quick = getenv("QUICK") != NULL;
    check_random random = {31};
    rig r;
    rig_open(&r, precision);
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
            one(&r, shapes[s], types[t], RIG_NORMAL, (int)check_random_int(&random, 0, 31),
                &random);
        if (types[t] != HYV_F32 && precision == HYV_PRODUCTS_FP32)
            every_pattern(&r, types[t]);
    }
    for (int variant = 0; variant < 32; variant++)
        one(&r, shapes[9], types[variant % 5], RIG_NORMAL, variant, &random);
    for (int variant = 36; variant < 64; variant++) { /* Tencent's fp8 files */
        one(&r, shapes[9], HYV_F8_E4M3, RIG_NORMAL, variant, &random);
        one(&r, shapes[12], HYV_F8_E5M2, RIG_NORMAL, variant, &random);
    }
    for (int kind = 0; kind < RIG_VALUES; kind++)
        one(&r, shapes[8], HYV_F32, (rig_values)kind, 3, &random);
    for (size_t s = 0; s < (quick ? 1 : sizeof(deep) / sizeof(deep[0])); s++)
        one(&r, deep[s], types[s], RIG_NORMAL, 3, &random);
    check_blocks(&r, quick, &random);
    rig_close(&r);
}

int main(void)
{
    every_type(HYV_PRODUCTS_FP32);
    every_type(HYV_PRODUCTS_BF16);
    return check_done();
}
