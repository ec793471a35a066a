/* Sizes and names of element types, and views of matrices. */
#include "../../kernels/types.h"

#include <string.h>

#include "../check.h"

static void test_sizes(void)
{
    static const struct {
        hyv_type type;
        const char *name;
        size_t bytes;
    } known[] = {{HYV_F32, "F32", 4},   {HYV_F16, "F16", 2},         {HYV_BF16, "BF16", 2},
                 {HYV_F64, "F64", 8},   {HYV_F8_E4M3, "F8_E4M3", 1}, {HYV_I64, "I64", 8},
                 {HYV_BOOL, "BOOL", 1}, {HYV_F8_E5M2, "F8_E5M2", 1}, {HYV_I32, "I32", 4},
                 {HYV_I8, "I8", 1},     {HYV_U8, "U8", 1},           {HYV_I16, "I16", 2}};
    CHECK(sizeof(known) / sizeof(known[0]) + 12 == HYV_TYPES);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        CHECK(strcmp(hyv_type_name(known[i].type), known[i].name) == 0);
        CHECK(hyv_type_bytes(known[i].type) == known[i].bytes);
        CHECK(hyv_type_block(known[i].type) == 1);
        CHECK(hyv_type_size(known[i].type, 3) == 3 * known[i].bytes);
        CHECK(hyv_type_size(known[i].type, INT64_MAX) ==
              (known[i].bytes <= 2 ? (size_t)INT64_MAX * known[i].bytes : 0));
    }
    CHECK(strcmp(hyv_type_name(HYV_TYPES), "?") == 0 && hyv_type_bytes(HYV_TYPES) == 0);
    CHECK(strcmp(hyv_type_name((hyv_type)-1), "?") == 0 && hyv_type_bytes((hyv_type)-1) == 0);
    CHECK(hyv_type_size(HYV_TYPES, 1) == 0);
    CHECK(hyv_type_size(HYV_F32, -1) == 0);
    CHECK(hyv_type_size(HYV_F32, 0) == 0);
}

/* Block types: ggml's table of elements and bytes a block. */
static void test_blocks(void)
{
    static const struct {
        hyv_type type;
        const char *name;
        int64_t block;
        size_t bytes;
    } known[] = {{HYV_Q4_0, "Q4_0", 32, 18},     {HYV_Q4_1, "Q4_1", 32, 20},
                 {HYV_Q5_0, "Q5_0", 32, 22},     {HYV_Q5_1, "Q5_1", 32, 24},
                 {HYV_Q8_0, "Q8_0", 32, 34},     {HYV_Q2_K, "Q2_K", 256, 84},
                 {HYV_Q3_K, "Q3_K", 256, 110},   {HYV_Q4_K, "Q4_K", 256, 144},
                 {HYV_Q5_K, "Q5_K", 256, 176},   {HYV_Q6_K, "Q6_K", 256, 210},
                 {HYV_IQ4_NL, "IQ4_NL", 32, 18}, {HYV_IQ4_XS, "IQ4_XS", 256, 136}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const hyv_type type = known[i].type;
        const int64_t block = known[i].block, bytes = (int64_t)known[i].bytes;
        CHECK(strcmp(hyv_type_name(type), known[i].name) == 0);
        CHECK(hyv_type_bytes(type) == known[i].bytes && hyv_type_block(type) == block);
        CHECK(hyv_type_is_weight(type) && !hyv_type_is_float(type));
        CHECK(hyv_type_size(type, 3 * block) == 3 * known[i].bytes);
        CHECK(hyv_type_size(type, block - 1) == 0 && hyv_type_size(type, block + 1) == 0);
        CHECK(hyv_type_step(type, 5 * block) == 5 * bytes);
        CHECK(hyv_type_step(type, -block) == -bytes);
        char data[1];
        const hyv_mat m = {data, 9, 3 * block, 4 * block, type};
        const hyv_mat part = hyv_cols(hyv_rows(m, 2, 3), block, 2 * block);
        CHECK((uintptr_t)part.data == (uintptr_t)data + 9 * (uintptr_t)bytes && part.rows == 3 &&
              part.cols == 2 * block);
    }
    CHECK(hyv_type_is_float(HYV_F8_E5M2) && hyv_type_is_weight(HYV_F32));
    CHECK(!hyv_type_is_float(HYV_F64) && !hyv_type_is_weight(HYV_F64));
    CHECK(!hyv_type_is_weight(HYV_TYPES) && !hyv_type_is_weight((hyv_type)-1));
}

static void test_views(void)
{
    uint16_t data[6 * 10];
    const hyv_mat m = {data, 6, 7, 10, HYV_BF16};
    const hyv_mat rows = hyv_rows(m, 2, 3), both = hyv_cols(rows, 4, 2);
    CHECK(rows.data == &data[20] && rows.rows == 3 && rows.cols == 7 && rows.ld == 10);
    CHECK(both.data == &data[24] && both.rows == 3 && both.cols == 2 && both.ld == 10);
    CHECK(both.type == HYV_BF16);
    const hyv_mat nothing = {NULL, 6, 7, 10, HYV_F32};
    CHECK(hyv_rows(nothing, 2, 3).data == NULL && hyv_cols(nothing, 2, 3).data == NULL);
    CHECK(hyv_grid_rows((hyv_grid){2, 3, 5}) == 30);
}

int main(void)
{
    test_sizes();
    test_blocks();
    test_views();
    return check_done();
}
