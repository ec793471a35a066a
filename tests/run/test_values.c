/* NaN, Inf and ranges of tensors, against a plain loop, for every type; and in little memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../../engine/run/values.h"
#include "../../kernels/quant.h"
#include "../check.h"
#include "../damage.h"

static int count_bytes(void *opaque, size_t bytes)
{
    *(size_t *)opaque += bytes;
    return 0;
}

/* Against a plain loop over hyv_decode's numbers. */
static void check_values(hyv_checkpoint *c, const hyv_tensor *t)
{
    hyv_values v;
    size_t bytes = 0;
    double low = INFINITY, high = -INFINITY;
    int64_t nans = 0, infs = 0;
    for (int64_t n = 0; n < t->count; n++) {
        float x;
        hyv_decode(&x, t->data, t->type, n, 1);
        nans += isnan(x) != 0;
        infs += isinf(x) != 0;
        low = isfinite(x) && (double)x < low ? (double)x : low;
        high = isfinite(x) && (double)x > high ? (double)x : high;
    }
    CHECK(hyv_values_look(&v, c, t, &bytes, count_bytes) == 0 && bytes == t->size_bytes);
    CHECK_MSG(v.nan == nans && v.inf == infs, "%s: %lld NaN, %lld Inf", t->name, (long long)v.nan,
              (long long)v.inf);
    CHECK_MSG(low > high ? v.min == 0 && v.max == 0 : v.min == low && v.max == high,
              "%s: %g to %g, not %g to %g", t->name, v.min, v.max, low, high);
}

static void check_file(const char *path)
{
    hyv_log log = {0};
    hyv_checkpoint *c;
    if (!CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error))
        return;
    for (int64_t k = 0; k < hyv_checkpoint_count(c); k++)
        if (hyv_type_is_weight(hyv_checkpoint_at(c, k)->type))
            check_values(c, hyv_checkpoint_at(c, k));
    hyv_checkpoint_close(&c);
}

/* Every code of the short types, and some at a time. */
static void test_codes(void)
{
    static const struct {
        const char *dtype;
        size_t bytes;
    } types[] = {{"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F32", 4}};
    check_random random = {1};
    damage_list list = {0};
    damaged d;
    if (!damage_begin(&d))
        return;
    for (int i = 0; i < 500; i++) {
        const size_t size = types[i % 5].bytes;
        const int64_t all = i < 5 ? (size == 1 ? 256 : 65536) : check_random_int(&random, 1, 6);
        char name[32];
        snprintf(name, sizeof(name), "%s %d", types[i % 5].dtype, i);
        damage_add(&list, name, 1, all);
        damage_tensor *t = &list.tensors[list.count - 1];
        snprintf(t->dtype, sizeof(t->dtype), "%s", types[i % 5].dtype);
        t->bytes = (size_t)all * size;
        for (int64_t k = 0; k < all; k++) {
            const uint64_t code = i < 5 ? (uint64_t)k : check_random_bits(&random);
            memcpy(t->data + (size_t)k * size, &code, size);
        }
    }
    char *path = damage_path(&d, "codes.safetensors");
    damage_store(&d, "codes.safetensors", &list, 0, 1);
    check_file(path);
    free(path);
    damage_free(&list);
    damage_end(&d);
}

static void test_values(void)
{
    static const char *const files[] = {"tests/golden/names/gguf_blocks.safetensors",
                                        "tests/golden/names/hunyuan-video-t2v-mixed.gguf",
                                        "tests/golden/names/comfyui_fp8_scaled.safetensors",
                                        ("tests/golden/t2v/" DAMAGE_VAE),
                                        "tests/golden/pt/types.pth"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        check_file(files[i]);
    test_codes();
}

static void test_memory(void)
{
    const int64_t rows = 16384, cols = 4096; /* 256 MiB */
    damaged d;
    if (!damage_begin(&d))
        return;
    char header[160], *path = damage_path(&d, "big.safetensors");
    const int n =
        snprintf(header, sizeof(header),
                 "xxxxxxxx{\"w\":{\"dtype\":\"F32\",\"shape\":[%lld,%lld],\"data_offsets\""
                 ":[0,%lld]}}",
                 (long long)rows, (long long)cols, (long long)(rows * cols * 4));
    const uint64_t length = (uint64_t)n - 8;
    memcpy(header, &length, 8);
    damage_write(&d, "big.safetensors", header, (size_t)n);
    CHECK(truncate(path, n + rows * cols * 4) == 0); /* a hole */
    hyv_checkpoint *c;
    hyv_log log = {0};
    struct rusage before, after;
    size_t bytes = 0;
    hyv_values v;
    getrusage(RUSAGE_SELF, &before);
    if (CHECK(hyv_checkpoint_open(&c, path, &log) == 0)) {
        CHECK(hyv_values_look(&v, c, hyv_checkpoint_at(c, 0), &bytes, count_bytes) == 0);
        CHECK(v.zero && !v.nan && v.min == 0 && v.max == 0);
        hyv_checkpoint_close(&c);
    }
    getrusage(RUSAGE_SELF, &after);
    CHECK_MSG(after.ru_maxrss - before.ru_maxrss < 64 << 10, "%ld KiB more",
              after.ru_maxrss - before.ru_maxrss);
    free(path);
    damage_end(&d);
}

int main(void)
{
    test_values();
    test_memory();
    return check_done();
}
