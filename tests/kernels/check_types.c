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
    CHECK(sizeof(known) / sizeof(known[0]) == HYV_TYPES);
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
    test_views();
    return check_done();
}
