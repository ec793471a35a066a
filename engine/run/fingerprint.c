/* Hashes of models and of byte ranges: see fingerprint.h. Knows no file format. */
#include "fingerprint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { PAGE = 4096, PAGES = 4 };

static void print(char out[HYV_FINGERPRINT_BYTES], XXH128_hash_t hash)
{
    snprintf(out, HYV_FINGERPRINT_BYTES, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

static int compare(const void *a, const void *b)
{
    const hyv_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The parts of a tensor that are looked at: all of it, or pages spread over its length. */
static size_t count_parts(const hyv_tensor *t)
{
    return t->size_bytes <= PAGE * PAGES ? 1 : PAGES;
}

static const char *part_at(const hyv_tensor *t, size_t i, size_t *bytes)
{
    const bool whole = t->size_bytes <= PAGE * PAGES;
    *bytes = whole ? t->size_bytes : PAGE;
    return (const char *)t->data + (whole ? 0 : i * ((t->size_bytes - PAGE) / (PAGES - 1)));
}

/* Asked for all at once, pages come from the disk many times faster than one by one. */
static void expect_tensor(const hyv_tensor *t)
{
    for (size_t i = 0; i < count_parts(t); i++) {
        size_t bytes;
        const char *part = part_at(t, i, &bytes);
        hyv_checkpoint_expect(part, bytes);
    }
}

/* Numbers go in as text, so that no byte order is in them. */
static void add_tensor(XXH3_state_t *state, const hyv_tensor *t)
{
    char line[64];
    XXH3_128bits_update(state, t->name, strlen(t->name) + 1);
    XXH3_128bits_update(state, hyv_type_name(t->type), strlen(hyv_type_name(t->type)) + 1);
    for (int i = 0; i < t->rank; i++) {
        const int n = snprintf(line, sizeof(line), "%lld,", (long long)t->shape[i]);
        XXH3_128bits_update(state, line, (size_t)n);
    }
    for (size_t i = 0; i < count_parts(t); i++) {
        size_t bytes;
        const char *part = part_at(t, i, &bytes);
        XXH3_128bits_update(state, part, bytes);
    }
}

int hyv_fingerprint(char out[HYV_FINGERPRINT_BYTES], hyv_checkpoint *checkpoint)
{
    const int64_t all = hyv_checkpoint_count(checkpoint);
    const hyv_tensor **tensors = hyv_malloc((size_t)all, sizeof(*tensors));
    XXH3_state_t *state = XXH3_createState();
    size_t count = 0;
    for (int64_t i = 0; tensors && i < all; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(checkpoint, i);
        if (t->used)
            tensors[count++] = t;
    }
    const bool ready = tensors && state && XXH3_128bits_reset(state) == XXH_OK;
    if (ready) {
        qsort(tensors, count, sizeof(*tensors), compare);
        for (size_t i = 0; i < count; i++)
            expect_tensor(tensors[i]);
        for (size_t i = 0; i < count; i++)
            add_tensor(state, tensors[i]);
        print(out, XXH3_128bits_digest(state));
    }
    XXH3_freeState(state);
    hyv_free_host(tensors);
    return ready ? 0 : -ENOMEM;
}

void hyv_fingerprint_bytes(char out[HYV_FINGERPRINT_BYTES], const void *data, size_t size)
{
    print(out, XXH3_128bits(data, size));
}
