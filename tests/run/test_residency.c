/* Blocks of weights under budgets from the smallest to all: what a budget promises, who is told of
 * a block's arrival, and that every byte is the same, however often it was given back and read
 * ahead. Small enough for sanitized builds, whose memory budgets mean nothing.
 */
#include "../../engine/run/residency.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "../gguf.h"

enum { BLOCKS = 7, ELEMENTS = 1 << 15, BYTES = ELEMENTS * 4, ROUNDS = 3, ONCE = 2 };

typedef struct rig {
    hyv_backend *be;
    hyv_checkpoint *file;
    hyv_residency *residency;
    hyv_block block[BLOCKS];
    const float *data[BLOCKS]; /* in the file; that of block i has i + 1 times ELEMENTS / BLOCKS */
    int arrived, last;
} rig;

static hyv_log test_log;

static int64_t elements_of(int i)
{
    return (int64_t)(i + 1) * (ELEMENTS / BLOCKS);
}

static void on_arrival(void *opaque, int index)
{
    rig *r = opaque;
    r->arrived++;
    r->last = index;
}

/* One tensor for each block, its values its number. */
static void write_file(const char *path)
{
    gguf_file f = {0};
    float *values = malloc(BYTES);
    gguf_key_string(&f, "general.architecture", "hyvid");
    for (int i = 0; i < BLOCKS; i++) {
        const int64_t n = elements_of(i);
        for (int64_t k = 0; k < n; k++)
            values[k] = (float)(i + 1);
        gguf_tensor(&f, (const char[]){(char)('a' + i), 0}, 1, &n, HYV_F32, values);
    }
    gguf_write(&f, path);
    free(values);
}

/* The first tensor is always wanted, that of block ONCE in one run only. */
static bool open_rig(rig *r, const char *path)
{
    *r = (rig){.last = -1};
    if (!CHECK(hyv_backend_open(&r->be, "cpu", &(hyv_backend_config){.threads = 1}) == 0) ||
        !CHECK(hyv_checkpoint_open(&r->file, path, &test_log) == 0) ||
        !CHECK(hyv_residency_new(&r->residency, r->be, r->file, r, on_arrival) == 0))
        return false;
    for (int i = 0; i < BLOCKS; i++) {
        const hyv_tensor *t = hyv_checkpoint_find(r->file, (const char[]){(char)('a' + i), 0});
        r->data[i] = t ? t->data : NULL;
        if (i > 0)
            CHECK(hyv_residency_block(r->residency, &r->block[i], i == ONCE) == i);
        hyv_residency_add(r->residency, r->data[i], (size_t)elements_of(i) * sizeof(float));
    }
    return CHECK(hyv_residency_status(r->residency) == 0);
}

static void close_rig(rig *r)
{
    hyv_residency_free(&r->residency);
    hyv_checkpoint_close(&r->file);
    hyv_backend_close(&r->be);
}

static bool holds(const rig *r, int i)
{
    for (int64_t k = 0; k < elements_of(i); k++)
        if (r->data[i][k] != (float)(i + 1))
            return false;
    return true;
}

/* Several runs through all blocks, the one that is used once left out of all but the first; then
 * the reading ahead is broken off. */
static void run_through(rig *r)
{
    int expected = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 1; i < BLOCKS; i++) {
            if (i == ONCE && round > 0)
                continue;
            hyv_enter(r->be, &r->block[i]);
            expected++;
            CHECK(r->arrived == expected && r->last == i && holds(r, i) && holds(r, 0));
        }
    hyv_enter(r->be, &r->block[BLOCKS - 1]); /* the one that is there */
    CHECK(r->arrived == expected);
}

static void test_budget(const char *path, size_t budget)
{
    const size_t unit = ELEMENTS / BLOCKS * sizeof(float);
    const size_t always = unit, once = (ONCE + 1) * unit, largest = BLOCKS * unit;
    const size_t all = unit * BLOCKS * (BLOCKS + 1) / 2, again = all - always - once;
    rig r;
    if (open_rig(&r, path)) {
        const hyv_residency_plan plan = hyv_residency_fit(r.residency, budget);
        CHECK(plan.first == all && plan.least == always + largest);
        CHECK(plan.everything == (budget >= always + again) && plan.everything == !plan.again);
        CHECK_MSG(plan.peak <= (budget > plan.least ? budget : plan.least),
                  "budget %zu, peak %zu, least %zu", budget, plan.peak, plan.least);
        CHECK(plan.again <= again && (budget > plan.least || plan.again == again));
        run_through(&r);
    }
    close_rig(&r);
}

/* A run that is stopped neither waits for a block nor tells of one. */
static void test_stop(const char *path)
{
    rig r;
    if (open_rig(&r, path)) {
        hyv_residency_fit(r.residency, 0);
        hyv_enter(r.be, &r.block[1]);
        hyv_backend_stop(r.be);
        hyv_enter(r.be, &r.block[2]);
        CHECK(r.arrived == 1 && hyv_backend_error(r.be) < 0);
    }
    close_rig(&r);
}

int main(void)
{
    char path[] = "/tmp/hyv-residency-XXXXXX";
    const int file = mkstemp(path);
    if (!CHECK(file >= 0))
        return check_done();
    close(file);
    write_file(path);
    for (size_t budget = 0; budget <= (size_t)BYTES * (BLOCKS + 1) / 2 + BYTES;
         budget += BYTES / BLOCKS)
        test_budget(path, budget);
    test_stop(path);
    unlink(path);
    return check_done();
}
