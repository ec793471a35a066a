/* copy: between all float types and from block types, strided, also from and to odd addresses.
 *
 * check_half.c proves each conversion; here it is that copy applies them to every element.
 */
#include "../../kernels/quant.h"
#include "blocks.h"
#include "rig.h"

static const hyv_type types[] = {HYV_F32, HYV_F16, HYV_BF16, HYV_F8_E4M3, HYV_F8_E5M2};

static float decoded(hyv_mat m, int64_t row, int64_t col)
{
    const char *p = (const char *)m.data + (size_t)(row * m.ld + col) * hyv_type_bytes(m.type);
    uint16_t half;
    float f;
    switch (m.type) {
    case HYV_F32:
        memcpy(&f, p, sizeof(f));
        return f;
    case HYV_F16:
        memcpy(&half, p, sizeof(half));
        return hyv_f16_to_f32(half);
    case HYV_BF16:
        memcpy(&half, p, sizeof(half));
        return hyv_bf16_to_f32(half);
    case HYV_F8_E4M3:
        return hyv_f8_e4m3_to_f32((uint8_t)*p);
    default:
        return hyv_f8_e5m2_to_f32((uint8_t)*p);
    }
}

/* f rounded to a type and back. */
static float rounded(hyv_type type, float f)
{
    switch (type) {
    case HYV_F16:
        return hyv_f16_to_f32(hyv_f32_to_f16(f));
    case HYV_BF16:
        return hyv_bf16_to_f32(hyv_f32_to_bf16(f));
    case HYV_F8_E4M3:
        return hyv_f8_e4m3_to_f32(hyv_f32_to_f8_e4m3(f));
    case HYV_F8_E5M2:
        return hyv_f8_e5m2_to_f32(hyv_f32_to_f8_e5m2(f));
    default:
        return f;
    }
}

static void one(const rig *r, int64_t rows, int64_t cols, hyv_type to, hyv_type from, bool strided,
                check_random *random)
{
    rig_mat x = rig_new(rows, cols, strided, from);
    for (int64_t i = 0; i < rows; i++) { /* any code but NaN, whose payload is not a matter */
        char *row = (char *)x.m.data + (size_t)(i * x.m.ld) * hyv_type_bytes(from);
        for (int64_t k = 0; k < cols; k++)
            do {
                const uint64_t bits = check_random_bits(random) >> 24;
                memcpy(row + (size_t)k * hyv_type_bytes(from), &bits, hyv_type_bytes(from));
            } while (isnan(decoded(x.m, i, k)));
    }
    for (int b = 0; b < r->count; b++) {
        rig_mat y = rig_new(rows, cols, !strided, to);
        hyv_copy(r->be[b], y.m, x.m);
        int64_t bad = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = 0; k < cols; k++)
                bad += decoded(y.m, i, k) != rounded(to, decoded(x.m, i, k));
        CHECK_MSG(bad == 0 && hyv_backend_error(r->be[b]) == 0, "copy %s to %s, %s: %lld wrong",
                  hyv_type_name(from), hyv_type_name(to), r->name[b], (long long)bad);
        CHECK_MSG(rig_guards_stand(&y), "copy %s to %s, %s: wrote outside", hyv_type_name(from),
                  hyv_type_name(to), r->name[b]);
        rig_free(&y);
    }
    rig_free(&x);
}

/* Weights of a file may begin anywhere. */
static void unaligned(const rig *r)
{
    float from[5], to[5];
    char bytes[sizeof(from) + 1];
    for (int i = 0; i < 5; i++)
        from[i] = (float)i + 0.25f;
    memcpy(bytes + 1, from, sizeof(from));
    hyv_copy(r->be[0], (hyv_mat){to, 1, 5, 5, HYV_F32}, (hyv_mat){bytes + 1, 1, 5, 5, HYV_F32});
    CHECK(hyv_backend_error(r->be[0]) == 0 && memcmp(from, to, sizeof(to)) == 0);
}

/* From every block type, columns of a larger matrix, to f32 and to another type. */
static void from_blocks(const rig *r, check_random *random)
{
    enum { ROWS = 9 };
    for (int kind = 0; kind < BLOCK_TYPES; kind++) {
        const hyv_type type = blocks[kind].type;
        const int64_t block = hyv_type_block(type), cols = 3 * block, ld = 4 * block;
        uint8_t *in = malloc(hyv_type_size(type, ROWS * ld));
        float *values = malloc((size_t)(ROWS * ld) * sizeof(float));
        blocks_fill(in, kind, ROWS * ld / block, random);
        hyv_quant_decode(values, in, type, ROWS * ld);
        const hyv_mat x = hyv_cols((hyv_mat){in, ROWS, ld, ld, type}, block, cols);
        for (int b = 0; b < r->count; b++) {
            rig_mat y = rig_new(ROWS, cols, true, HYV_F32), z = rig_new(ROWS, cols, true, HYV_BF16);
            hyv_copy(r->be[b], y.m, x);
            hyv_copy(r->be[b], z.m, x);
            int64_t bad = 0;
            for (int64_t i = 0; i < ROWS * cols; i++) {
                const float v = values[i / cols * ld + block + i % cols];
                bad += decoded(y.m, i / cols, i % cols) != v;
                bad += decoded(z.m, i / cols, i % cols) != rounded(HYV_BF16, v);
            }
            CHECK_MSG(bad == 0 && hyv_backend_error(r->be[b]) == 0, "copy %s, %s: %lld wrong",
                      hyv_type_name(type), r->name[b], (long long)bad);
            CHECK(rig_guards_stand(&y) && rig_guards_stand(&z));
            rig_free(&y);
            rig_free(&z);
        }
        free(in);
        free(values);
    }
}

int main(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 7}, {9, 33}, {300, 67}};
    check_random random = {11};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int i = 0; i < 25; i++)
            one(&r, sizes[s][0], sizes[s][1], types[i / 5], types[i % 5], i & 1, &random);
    from_blocks(&r, &random);
    unaligned(&r);
    rig_close(&r);
    return check_done();
}
