/* Writes model folders of the published geometry with made-up weights: the 13B transformer, Llama 3
 * 8B, CLIP-L and the VAE, every byte of them real and random.
 *
 *   make_13b FOLDER bf16             bf16 everywhere: 42 GB
 *   make_13b FOLDER q4_k ENCODERS    the transformer in GGUF's Q4_K (7.3 GB), the other parts as
 *                                    links into the folder ENCODERS
 *
 * Values depend on the tensor's name alone. They are scaled so that sums keep their size through
 * a product; what comes out is noise, but finite. Formats: safetensors README, GGUF version 3.
 * Run from the repository root: the tokenizers are links to the golden ones.
 */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"
#include "../published.h"
#include "../tiny.h"

enum {
    TENSORS_MAX = 2048,
    NAME_BYTES = 192,
    PATH_BYTES = 512,
    WORDS = 1 << 17, /* of 8 bytes: written at a time */
    ALIGNMENT = 32,
    BLOCK = 256, /* values of a block of Q4_K, */
    BLOCK_BYTES = 144,
    GGUF_F32 = 0,
    GGUF_Q4_K = 12
};

static const tiny_model published = {.config = PUBLISHED_MODEL(32), /* the file holds all layers */
                                     .storage = {TINY_BF16, TINY_BF16, TINY_BF16, TINY_BF16},
                                     .shards = 1};

typedef struct tensor {
    char name[NAME_BYTES];
    int rank;
    int64_t shape[3], count, offset, bytes;
    bool matrix, blocks; /* blocks: stored as Q4_K */
} tensor;

typedef struct listing {
    tensor list[TENSORS_MAX];
    int count;
    bool quantised;
} listing;

static uint64_t buffer[WORDS];

static void take(void *opaque, const char *name, int rank, const int64_t shape[3], bool matrix)
{
    listing *l = opaque;
    tensor *t = &l->list[l->count];
    if (!CHECK(l->count < TENSORS_MAX && strlen(name) < NAME_BYTES))
        return;
    *t = (tensor){.rank = rank, .count = 1, .matrix = matrix};
    memcpy(t->name, name, strlen(name) + 1);
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        t->count *= shape[i];
    }
    t->blocks = l->quantised && matrix && rank == 2 && shape[1] % BLOCK == 0;
    l->count++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static double spread(const tensor *t)
{
    return t->matrix ? 1.0 / sqrt((double)(t->count / t->shape[0])) : t->rank == 2 ? 0.6 : 0.06;
}

/* Four bf16 values a word: sign and mantissa at random, one of four exponents. */
static void fill_bf16(const tensor *t, uint64_t *state, size_t words)
{
    const uint64_t lanes = 0x0001000100010001u;
    const int top = 127 + (int)floor(log2(spread(t)) + 0.3);
    const uint64_t exponent = (uint64_t)top * lanes;
    for (size_t i = 0; i < words; i++) {
        const uint64_t r = next(state);
        buffer[i] = (r & 0x807f * lanes) | (exponent - (r >> 8 & 3 * lanes)) << 7;
    }
}

/* Gains of norms lie about 1. */
static void fill_norm(uint64_t *state, size_t words)
{
    uint16_t *values = (uint16_t *)(void *)buffer;
    for (size_t i = 0; i < 4 * words; i++)
        values[i] = (uint16_t)(0x3f78 + (next(state) >> 60)); /* 0.97 to 1.06 */
}

static uint16_t half_of(double x) /* positive, below the normal range */
{
    return (uint16_t)(x * 16777216.0 + 0.5);
}

/* Scales, minima and nibbles at random; the two factors make the mean 0 and the spread right. */
static void fill_q4_k(const tensor *t, uint64_t *state, size_t words)
{
    uint8_t *bytes = (uint8_t *)buffer;
    const uint16_t d = half_of(spread(t) / 250.0), minimum = half_of(spread(t) * 7.5 / 250.0);
    for (size_t i = 0; i < words; i++)
        buffer[i] = next(state);
    for (size_t at = 0; at + BLOCK_BYTES <= 8 * words; at += BLOCK_BYTES) {
        memcpy(bytes + at, &d, sizeof(d));
        memcpy(bytes + at + 2, &minimum, sizeof(minimum));
    }
}

static void fill_f32(const tensor *t, uint64_t *state, size_t words)
{
    float *values = (float *)(void *)buffer;
    const bool norm = t->rank == 1 && !strstr(t->name, ".bias");
    for (size_t i = 0; i < 2 * words; i++)
        values[i] = (float)((norm ? 1.0 : 0.0) +
                            spread(t) * ((double)(next(state) >> 40) / (1 << 23) - 1.0));
}

static void write_all(int file, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes) {
        const ssize_t n = write(file, p, bytes);
        if (n <= 0) {
            perror("make_13b: cannot write");
            exit(1);
        }
        p += n;
        bytes -= (size_t)n;
    }
}

static void write_tensor(int file, const tensor *t, bool quantised)
{
    const size_t chunk = t->blocks ? WORDS * 8 / BLOCK_BYTES * BLOCK_BYTES : WORDS * 8;
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (const char *p = t->name; *p; p++)
        state = (state ^ (unsigned char)*p) * 1099511628211u;
    state |= 1;
    for (size_t left = (size_t)t->bytes; left;) {
        const size_t bytes = left < chunk ? left : chunk, words = (bytes + 7) / 8;
        if (t->blocks)
            fill_q4_k(t, &state, words);
        else if (quantised)
            fill_f32(t, &state, words);
        else if (t->rank == 1 && !strstr(t->name, ".bias"))
            fill_norm(&state, words);
        else
            fill_bf16(t, &state, words);
        write_all(file, buffer, bytes);
        left -= bytes;
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Offsets and sizes, one behind the other; bytes in all. */
static int64_t lay_out(listing *l)
{
    int64_t offset = 0;
    qsort(l->list, (size_t)l->count, sizeof(l->list[0]), by_name);
    for (int i = 0; i < l->count; i++) {
        tensor *t = &l->list[i];
        t->offset = offset;
        t->bytes = t->blocks ? t->count / BLOCK * BLOCK_BYTES : t->count * (l->quantised ? 4 : 2);
        offset += t->bytes;
        if (l->quantised)
            offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return offset;
}

static void put_safetensors(hyv_string *s, const listing *l)
{
    uint64_t length = 0;
    hyv_string_append_bytes(s, (const char *)&length, sizeof(length));
    for (int i = 0; i < l->count; i++) {
        const tensor *t = &l->list[i];
        hyv_string_append(s, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", i ? "," : "{", t->name);
        for (int k = 0; k < t->rank; k++)
            hyv_string_append(s, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        hyv_string_append(s, "],\"data_offsets\":[%lld,%lld]}", (long long)t->offset,
                          (long long)(t->offset + t->bytes));
    }
    hyv_string_append(s, "}");
    while (s->length % 8)
        hyv_string_append(s, " ");
    length = s->length - sizeof(length);
    memcpy(s->text, &length, sizeof(length));
}

static void put_number(hyv_string *s, uint64_t value, int bytes)
{
    char text[8];
    for (int i = 0; i < bytes; i++)
        text[i] = (char)(value >> 8 * i);
    hyv_string_append_bytes(s, text, (size_t)bytes);
}

static void put_text(hyv_string *s, const char *text)
{
    put_number(s, strlen(text), 8);
    hyv_string_append(s, "%s", text);
}

static void put_gguf(hyv_string *s, const listing *l)
{
    hyv_string_append(s, "GGUF");
    put_number(s, 3, 4);
    put_number(s, (uint64_t)l->count, 8);
    put_number(s, 1, 8);
    put_text(s, "general.architecture");
    put_number(s, 8, 4); /* a string */
    put_text(s, "hyvid");
    for (int i = 0; i < l->count; i++) {
        const tensor *t = &l->list[i];
        put_text(s, t->name);
        put_number(s, (uint64_t)t->rank, 4);
        for (int k = t->rank; k-- > 0;)
            put_number(s, (uint64_t)t->shape[k], 8);
        put_number(s, t->blocks ? GGUF_Q4_K : GGUF_F32, 4);
        put_number(s, (uint64_t)t->offset, 8);
    }
    while (s->length % ALIGNMENT)
        put_number(s, 0, 1);
}

static void write_component(const char *folder, enum hyv_component c, bool quantised)
{
    static listing l;
    char path[PATH_BYTES];
    hyv_string header = {0};
    l.count = 0;
    l.quantised = quantised;
    tiny_list(&published, c, take, &l);
    if (c == HYV_TEXT_ENCODER)
        take(&l, "norm.weight", 1, (const int64_t[]){published.config.llama.width, 1, 1}, false);
    const int64_t bytes = lay_out(&l);
    snprintf(path, sizeof(path), "%s/%s/%s.%s", folder, hyv_component_name(c),
             c < HYV_TRANSFORMER ? "model" : "diffusion_pytorch_model",
             quantised ? "gguf" : "safetensors");
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) {
        perror(path);
        exit(1);
    }
    if (quantised)
        put_gguf(&header, &l);
    else
        put_safetensors(&header, &l);
    write_all(file, header.text, header.length);
    int64_t at = 0;
    for (int i = 0; i < l.count; i++) {
        static const char zeros[ALIGNMENT];
        write_all(file, zeros, (size_t)(l.list[i].offset - at));
        write_tensor(file, &l.list[i], quantised);
        at = l.list[i].offset + l.list[i].bytes;
    }
    static const char zeros[ALIGNMENT];
    write_all(file, zeros, (size_t)(bytes - at));
    if (fsync(file) != 0 || close(file) != 0) {
        perror(path);
        exit(1);
    }
    printf("%s: %d tensors, %.2f GB\n", path, l.count,
           (double)(bytes + (int64_t)header.length) / 1e9);
    fflush(stdout);
    hyv_string_free(&header);
}

/* The component's file of the other folder under the same name here. */
static void link_component(const char *folder, enum hyv_component c, const char *from)
{
    char target[PATH_BYTES], path[PATH_BYTES];
    const char *name = c < HYV_TRANSFORMER ? "model" : "diffusion_pytorch_model";
    snprintf(target, sizeof(target), "%s/%s/%s.safetensors", from, hyv_component_name(c), name);
    snprintf(path, sizeof(path), "%s/%s/%s.safetensors", folder, hyv_component_name(c), name);
    char *real = realpath(target, NULL);
    CHECK_MSG(real && symlink(real, path) == 0, "%s cannot be linked to", target);
    free(real);
}

int main(int argc, char **argv)
{
    const bool quantised = argc == 4 && strcmp(argv[2], "q4_k") == 0;
    if (!quantised && (argc != 3 || strcmp(argv[2], "bf16") != 0)) {
        fputs("make_13b FOLDER bf16 | make_13b FOLDER q4_k ENCODERS\n", stderr);
        return 2;
    }
    if (mkdir(argv[1], 0777) != 0) {
        perror(argv[1]);
        return 1;
    }
    tiny_write_configs(&published, argv[1]);
    for (int c = 0; c < HYV_COMPONENTS; c++)
        if (c == HYV_TRANSFORMER || !quantised)
            write_component(argv[1], (enum hyv_component)c, quantised);
        else
            link_component(argv[1], (enum hyv_component)c, argv[3]);
    return check_done();
}
