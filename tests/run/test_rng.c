/* Noise: the published test vectors of torch.randn, the noise of every reference run bit for bit,
 * the rules for lengths that are no multiple of 16 and for very short tensors, and the transposed
 * order of latents.
 */
#include <string.h>

#include "../../engine/base/json.h"
#include "../../engine/base/util.h"
#include "../../engine/checkpoint/checkpoint.h"
#include "../../engine/run/rng.h"
#include "../check.h"

static void check_near(const char *what, const float *got, const float *wanted, int n, float error)
{
    for (int i = 0; i < n; i++)
        CHECK_MSG(got[i] >= wanted[i] - error && got[i] <= wanted[i] + error,
                  "%s: number %d is %.9g, not %.9g", what, i, (double)got[i], (double)wanted[i]);
}

static void check_vectors(void)
{
    static const float seed_42[20] = {1.9269153f,  1.4872841f,   0.9007172f,    -2.105521f,
                                      0.67841846f, -1.2345449f,  -0.043067478f, -1.604667f,
                                      -0.7521353f, 1.648723f,    -0.39247864f,  -1.4036071f,
                                      -0.7278813f, -0.5594302f,  -0.7688389f,   0.7624454f,
                                      1.6423169f,  -0.15959747f, -0.49739754f,  0.43958926f};
    static const float seed_0[8] = {-1.1258398f, -1.1523602f, -0.25057858f, -0.4338788f,
                                    0.84871036f, 0.69200915f, -0.31601277f, -2.1152194f};
    float out[32];
    hyv_rng_normal(out, 32, 1, 42);
    CHECK(memcmp(out, seed_42, sizeof(seed_42)) == 0);
    hyv_rng_normal(out, 32, 1, 0);
    CHECK(memcmp(out, seed_0, sizeof(seed_0)) == 0);
    hyv_rng_normal(out, 32, 1, (UINT64_C(7) << 32) + 42);
    CHECK(memcmp(out, seed_42, sizeof(seed_42)) == 0);
}

/* Fewer than 16: the double path, whose values are known to four digits. */
static void check_few(void)
{
    static const float seed_0[6] = {1.5410f, -0.2934f, -2.1788f, 0.5684f, -1.0845f, -1.3986f};
    static const float seed_42[3] = {0.3367f, 0.1288f, 0.2345f};
    float out[6];
    hyv_rng_normal(out, 6, 1, 0);
    check_near("seed 0", out, seed_0, 6, 5.1e-5f);
    hyv_rng_normal(out, 3, 1, 42);
    check_near("seed 42", out, seed_42, 3, 5.1e-5f);
}

/* 21 elements: 21 draws, of which an incomplete block keeps nothing, then elements 5 to 20 from the
 * draws 21 to 36. Where both draws of a pair also stand in a pair of a longer tensor, so must the
 * results. */
static void check_ragged(void)
{
    float out[21], longer[48];
    hyv_rng_normal(out, 21, 1, 9);
    hyv_rng_normal(longer, 48, 1, 9);
    CHECK(memcmp(out, longer, 5 * sizeof(*out)) == 0);
    CHECK(memcmp(out + 5, longer + 21, 3 * sizeof(*out)) == 0);
    CHECK(memcmp(out + 13, longer + 29, 3 * sizeof(*out)) == 0);
    CHECK(memcmp(out + 8, longer + 8, 3 * sizeof(*out)) != 0);
}

static void check_transposed(void)
{
    enum { ROWS = 15, COLS = 4 };
    float plain[ROWS * COLS], out[ROWS * COLS];
    hyv_rng_normal(plain, ROWS * COLS, 1, 5);
    hyv_rng_normal(out, ROWS, COLS, 5);
    int wrong = 0;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            wrong += memcmp(&out[r * COLS + c], &plain[c * ROWS + r], sizeof(float)) != 0;
    CHECK(wrong == 0);
}

/* 1 if the case has recorded its noise. */
static int check_case(hyv_log *log, const char *name, int64_t seed)
{
    hyv_string path = {0};
    hyv_string_append(&path, "tests/golden/cases/%s.safetensors", name);
    hyv_checkpoint *c = NULL;
    const bool open = hyv_checkpoint_open(&c, hyv_string_text(&path), log) == 0;
    const hyv_tensor *t = open ? hyv_checkpoint_find(c, "noise") : NULL;
    CHECK_MSG(open, "%s", log->error);
    if (t) {
        const int64_t rows = t->count / t->shape[0];
        float *out = hyv_malloc((size_t)t->count, sizeof(*out));
        hyv_rng_normal(out, t->count, 1, (uint64_t)seed);
        CHECK_MSG(memcmp(out, t->data, t->size_bytes) == 0, "noise of %s differs", name);
        hyv_rng_normal(out, rows, t->shape[0], (uint64_t)seed);
        CHECK_MSG(memcmp(&out[1], (const float *)t->data + rows, sizeof(*out)) == 0,
                  "noise of %s is not transposed", name);
        hyv_free_host(out);
    }
    hyv_checkpoint_close(&c);
    hyv_string_free(&path);
    return t != NULL;
}

static void check_golden(void)
{
    hyv_log log = {0};
    hyv_json cases;
    const int err = hyv_json_load(&cases, "tests/golden/cases/cases.json", 1 << 20, &log);
    if (!CHECK_MSG(err == 0, "cases.json: %s", log.error))
        return;
    int count = 0;
    const char *name;
    json_t *parameters;
    json_object_foreach(cases.root, name, parameters)
    {
        int64_t seed = -1;
        CHECK(hyv_json_int(&cases, parameters, "seed", 0, UINT32_MAX, &seed) == 1);
        count += check_case(&log, name, seed);
    }
    CHECK(count >= 9);
    hyv_json_close(&cases);
}

int main(void)
{
    check_vectors();
    check_few();
    check_ragged();
    check_transposed();
    check_golden();
    return check_done();
}
