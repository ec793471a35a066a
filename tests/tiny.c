/* The writer of small model folders: bind lists in, config.json and safetensors files out.
 *
 * Format of safetensors: eight bytes of header length, a JSON header, the data. Values depend on
 * the seed and the tensor's name only, so that the way of storing changes none.
 */
#define _XOPEN_SOURCE 700 /* mkdtemp, nftw, realpath */
#include "tiny.h"

#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { TENSORS_MAX = 2048, NAME_BYTES = 192, PATH_BYTES = 320, SHARDS_MAX = 8 };

typedef struct record {
    char name[NAME_BYTES];
    int64_t shape[3];
    int rank;
    bool matrix; /* is read by a product: may be fp8 */
    bool scale;  /* of the matrix of that name */
} record;

typedef struct recorder {
    record list[TENSORS_MAX];
    int count;
} recorder;

/* ---- what the models ask for ----------------------------------------------------------------- */

static record *add(recorder *r, const char *name, const char *suffix, int rank)
{
    char full[2 * NAME_BYTES];
    snprintf(full, sizeof(full), "%s%s", name, suffix);
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->list[i].name, full) == 0)
            return &r->list[i];
    if (!CHECK(r->count < TENSORS_MAX - 1 && strlen(full) < NAME_BYTES))
        return &r->list[TENSORS_MAX - 1];
    record *t = &r->list[r->count++];
    *t = (record){.rank = rank};
    memcpy(t->name, full, strlen(full) + 1);
    return t;
}

static void record_matrix(void *opaque, hyv_weight *out, const char *module,
                          const hyv_matrix_spec *s)
{
    const bool taps = s->layout == HYV_LAYOUT_TAPS;
    const int64_t rows = s->rows * (s->parts ? s->parts : 1);
    record *t = add(opaque, module, ".weight", taps ? 3 : 2);
    t->shape[0] = rows;
    t->shape[1] = taps ? s->cols / s->detail : s->cols;
    t->shape[2] = taps ? s->detail : 1;
    t->matrix = true;
    if (s->bias)
        add(opaque, module, ".bias", 1)->shape[0] = rows;
    *out = (hyv_weight){0};
}

static void record_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    add(opaque, name, "", 1)->shape[0] = n;
    *out = NULL;
}

static void record_table(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols)
{
    record *t = add(opaque, name, "", 2);
    t->shape[0] = rows;
    t->shape[1] = cols;
    *out = HYV_NO_MAT;
}

static void list_tensors(recorder *r, const tiny_model *m, enum hyv_component c)
{
    const hyv_binder b = {
        .opaque = r, .matrix = record_matrix, .vector = record_vector, .table = record_table};
    const size_t sizes[HYV_COMPONENTS] = {sizeof(hyv_llama), sizeof(hyv_clip), sizeof(hyv_dit),
                                          sizeof(hyv_vae)};
    void *net = calloc(1, sizes[c]);
    if (!CHECK(net != NULL))
        return;
    if (c == HYV_TEXT_ENCODER)
        hyv_llama_bind(net, &m->config.llama, &b);
    else if (c == HYV_TEXT_ENCODER_2)
        hyv_clip_bind(net, &m->config.clip, &b);
    else if (c == HYV_TRANSFORMER)
        hyv_dit_bind(net, &m->config.dit, &b);
    else
        hyv_vae_bind(net, &m->config.vae, &b);
    free(net);
    const int count = m->storage[c] == TINY_F8_SCALED ? r->count : 0;
    for (int i = 0; i < count; i++)
        if (r->list[i].matrix) {
            const record *of = &r->list[i];
            char module[NAME_BYTES];
            snprintf(module, sizeof(module), "%.*s", (int)(strlen(of->name) - 7), of->name);
            record *s = add(r, module, ".scale_weight", 1);
            s->scale = true;
            s->shape[0] = 1;
            s->shape[1] = of->shape[1] * of->shape[2];
        }
}

void tiny_list(const tiny_model *m, enum hyv_component c, tiny_tensor *tensor, void *opaque)
{
    recorder *r = calloc(1, sizeof(*r));
    if (!CHECK(r != NULL))
        return;
    list_tensors(r, m, c);
    for (int i = 0; i < r->count; i++)
        tensor(opaque, r->list[i].name, r->list[i].rank, r->list[i].shape, r->list[i].matrix);
    free(r);
}

/* ---- values ---------------------------------------------------------------------------------- */

static int64_t count_of(const record *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* Sums keep their size through a matrix of this scale; norms stay near 1. */
static float value_of(const record *t, check_random *random)
{
    const bool norm = t->rank == 1 && strstr(t->name, ".bias") == NULL;
    const double u = check_random_float(random);
    const double scale = t->matrix ? sqrt(3.0 / (double)(t->shape[1] * t->shape[2])) : 0.1;
    const float x = (float)((norm ? 1.0 : 0.0) + u * (t->rank == 2 && !t->matrix ? 1.0 : scale));
    const uint32_t bits =
        bits_of(t->scale ? (float)(1.0 / sqrt((double)t->shape[1])) : x) & 0xffff0000u;
    float short_x;
    memcpy(&short_x, &bits, sizeof(short_x));
    return short_x;
}

/* Exact where f16 can hold a bf16 value; below its normal range 0. */
static uint16_t f16_of(float x)
{
    const uint32_t bits = bits_of(x);
    const int32_t exponent = (int32_t)(bits >> 23 & 255) - 112;
    const uint32_t sign = bits >> 16 & 0x8000u;
    if (isnan(x))
        return 0x7e00;
    return (uint16_t)(exponent < 1 ? sign : sign | (uint32_t)exponent << 10 | (bits >> 13 & 1023));
}

/* Truncated to three bits of mantissa; a scaled matrix is stored at about 1. */
static uint8_t f8_of(float x, double divisor)
{
    const uint32_t bits = bits_of((float)(x / divisor));
    const int32_t exponent = (int32_t)(bits >> 23 & 255) - 120;
    const uint32_t sign = bits >> 24 & 0x80u;
    if (isnan(x))
        return 0x7f;
    return (uint8_t)(exponent < 1 ? sign : sign | (uint32_t)exponent << 3 | (bits >> 20 & 7));
}

static hyv_type type_of(const record *t, tiny_storage s)
{
    if (s >= TINY_F8)
        return t->matrix ? HYV_F8_E4M3 : t->scale ? HYV_F32 : HYV_BF16;
    return s == TINY_F32 ? HYV_F32 : s == TINY_F16 ? HYV_F16 : HYV_BF16;
}

static void write_values(FILE *f, const tiny_model *m, const record *t, tiny_storage s)
{
    check_random random = {m->seed + 1};
    for (const char *p = t->name; *p; p++)
        random.state = random.state * 1099511628211u + (unsigned char)*p;
    random.state |= 1;
    const hyv_type type = type_of(t, s);
    const double divisor =
        s == TINY_F8_SCALED ? 1.0 / sqrt((double)(t->shape[1] * t->shape[2])) : 1.0;
    const bool nan = m->fault == TINY_NAN && strcmp(t->name, m->damaged) == 0;
    const int64_t n = count_of(t);
    for (int64_t i = 0; i < n; i++) {
        const float x = nan && i == n / 2 ? NAN : value_of(t, &random);
        const uint32_t wide = bits_of(x);
        const uint16_t half = type == HYV_F16 ? f16_of(x) : (uint16_t)(wide >> 16);
        const uint8_t byte = f8_of(x, divisor);
        const size_t size = hyv_type_bytes(type);
        fwrite(size == 4   ? (const void *)&wide
               : size == 2 ? (const void *)&half
                           : &byte,
               size, 1, f);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool skipped(const tiny_model *m, const record *t)
{
    return m->fault == TINY_MISSING && strcmp(t->name, m->damaged) == 0;
}

/* Tensors first, first + step, ... */
static void write_shard(const char *path, const tiny_model *m, const recorder *r, tiny_storage s,
                        int first, int step)
{
    static const char *const names[] = {
        [HYV_F32] = "F32", [HYV_F16] = "F16", [HYV_BF16] = "BF16", [HYV_F8_E4M3] = "F8_E4M3"};
    hyv_string header = {0};
    int64_t offset = 0;
    hyv_string_append(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = first; i < r->count; i += step) {
        const record *t = &r->list[i];
        const hyv_type type = type_of(t, s);
        const int64_t bytes = (int64_t)hyv_type_size(type, count_of(t));
        if (skipped(m, t))
            continue;
        hyv_string_append(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, names[type]);
        /* The same number of values under another shape. */
        if (m->fault == TINY_MISSHAPEN && strcmp(t->name, m->damaged) == 0)
            hyv_string_append(&header, "1,1,%lld", (long long)count_of(t));
        else
            for (int k = 0; k < t->rank; k++)
                hyv_string_append(&header, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        hyv_string_append(&header, "],\"data_offsets\":[%lld,%lld]}", (long long)offset,
                          (long long)(offset + bytes));
        offset += bytes;
    }
    hyv_string_append(&header, "}");
    while (strlen(hyv_string_text(&header)) % 8)
        hyv_string_append(&header, " ");
    const uint64_t length = strlen(hyv_string_text(&header));
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "%s cannot be written", path)) {
        fwrite(&length, sizeof(length), 1, f);
        fwrite(hyv_string_text(&header), 1, length, f);
        for (int i = first; i < r->count && !m->bare; i += step)
            if (!skipped(m, &r->list[i]))
                write_values(f, m, &r->list[i], s);
        if (m->bare)
            CHECK(fflush(f) == 0 && ftruncate(fileno(f), (off_t)(8 + length) + offset) == 0);
        CHECK_MSG(!ferror(f) && fclose(f) == 0, "%s cannot be written", path);
    }
    hyv_string_free(&header);
}

static void write_tensors(const char *folder, const tiny_model *m, enum hyv_component c)
{
    const char *stem = c < HYV_TRANSFORMER ? "model" : "diffusion_pytorch_model";
    const int shards = m->shards > 1 && m->shards <= SHARDS_MAX ? m->shards : 1;
    char path[PATH_BYTES + 64];
    recorder *r = calloc(1, sizeof(*r));
    if (!CHECK(r != NULL))
        return;
    list_tensors(r, m, c);
    snprintf(path, sizeof(path), "%s/%s.safetensors", folder, stem);
    if (shards == 1)
        write_shard(path, m, r, m->storage[c], 0, 1);
    for (int i = 0; shards > 1 && i < shards; i++) {
        snprintf(path, sizeof(path), "%s/%s-%05d-of-%05d.safetensors", folder, stem, i + 1, shards);
        write_shard(path, m, r, m->storage[c], i, shards);
    }
    snprintf(path, sizeof(path), "%s/%s.safetensors.index.json", folder, stem);
    FILE *f = shards > 1 ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "{\"metadata\":{},\"weight_map\":{");
        for (int i = 0; i < r->count; i++)
            fprintf(f, "%s\"%s\":\"%s-%05d-of-%05d.safetensors\"", i ? "," : "", r->list[i].name,
                    stem, i % shards + 1, shards);
        fprintf(f, "}}");
        CHECK(fclose(f) == 0);
    }
    free(r);
}

#define N(x) ((long long)(x))

static void put_transformer(hyv_string *s, const tiny_model *m)
{
    const hyv_dit_config *c = &m->config.dit;
    hyv_string_append(
        s,
        "{\"_class_name\":\"%s\",\"in_channels\":%lld,\"out_channels\":%lld,"
        "\"num_attention_heads\":%lld,\"attention_head_dim\":%lld,\"mlp_ratio\":%.17g,"
        "\"num_layers\":%lld,\"num_single_layers\":%lld,\"num_refiner_layers\":%lld,",
        m->class_name ? m->class_name : "HunyuanVideoTransformer3DModel", N(c->in_channels),
        N(c->out_channels), N(c->heads), N(c->head_dim),
        ((double)c->mlp_width + 0.5) / (double)c->width, N(c->double_blocks), N(c->single_blocks),
        N(c->refiner_blocks));
    hyv_string_append(s,
                      "\"text_embed_dim\":%lld,\"pooled_projection_dim\":%lld,\"patch_size\":%lld,"
                      "\"patch_size_t\":1,\"qk_norm\":\"rms_norm\",\"rope_theta\":%.17g,"
                      "\"guidance_embeds\":%s,\"rope_axes_dim\":[%lld,%lld,%lld],"
                      "\"image_condition_type\":%s%s%s}",
                      N(c->text_width), N(c->pooled_width), N(c->patch), c->rope_theta,
                      c->guidance ? "true" : "false", N(c->rope_dims[0]), N(c->rope_dims[1]),
                      N(c->rope_dims[2]), m->condition ? "\"" : "",
                      m->condition ? m->condition : "null", m->condition ? "\"" : "");
}

static void put_llama(hyv_string *s, const hyv_llama_config *c)
{
    hyv_string_append(s,
                      "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":%lld,"
                      "\"intermediate_size\":%lld,\"num_hidden_layers\":%lld,"
                      "\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,"
                      "\"head_dim\":%lld,\"vocab_size\":%lld,\"rms_norm_eps\":%.17g,"
                      "\"rope_theta\":%.17g}",
                      N(c->width), N(c->mlp_width), N(c->layers), N(c->heads), N(c->kv_heads),
                      N(c->head_dim), N(c->vocabulary), c->eps, c->theta);
}

static void put_clip(hyv_string *s, const hyv_clip_config *c)
{
    hyv_string_append(s,
                      "{\"model_type\":\"clip_text_model\",\"hidden_act\":\"%s\","
                      "\"hidden_size\":%lld,\"intermediate_size\":%lld,\"num_hidden_layers\":%lld,"
                      "\"num_attention_heads\":%lld,\"vocab_size\":%lld,"
                      "\"max_position_embeddings\":%lld,\"layer_norm_eps\":%.17g}",
                      c->activation == HYV_GELU_ERF ? "gelu" : "quick_gelu", N(c->width),
                      N(c->mlp_width), N(c->layers), N(c->heads), N(c->vocabulary), N(c->positions),
                      c->eps);
}

static void put_vae(hyv_string *s, const hyv_model_config *config)
{
    const hyv_vae_config *c = &config->vae;
    hyv_string_append(s,
                      "{\"_class_name\":\"AutoencoderKLHunyuanVideo\",\"act_fn\":\"silu\","
                      "\"out_channels\":%lld,\"latent_channels\":%lld,\"layers_per_block\":%lld,"
                      "\"norm_num_groups\":%lld,\"mid_block_add_attention\":%s,"
                      "\"temporal_compression_ratio\":%lld,\"spatial_compression_ratio\":%lld,"
                      "\"scaling_factor\":%.17g,\"block_out_channels\":[",
                      N(c->out_channels), N(c->latent_channels), N(c->layers_per_block),
                      N(c->norm_num_groups), c->mid_block_attention ? "true" : "false",
                      N(c->temporal_compression), N(c->spatial_compression),
                      config->scaling_factor);
    for (int i = 0; i < c->blocks; i++)
        hyv_string_append(s, "%s%lld", i ? "," : "", N(c->block_out_channels[i]));
    hyv_string_append(s, "]}");
}

static void put_file(const char *folder, const char *name, hyv_string *s)
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (CHECK_MSG(f != NULL, "%s cannot be written", path)) {
        fputs(hyv_string_text(s), f);
        CHECK(fclose(f) == 0);
    }
    hyv_string_free(s);
}

static void link_golden(const char *folder, const char *name)
{
    char path[PATH_BYTES], from[64];
    snprintf(from, sizeof(from), "tests/golden/t2v/%s", name);
    char *target = realpath(from, NULL);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    CHECK_MSG(target && symlink(target, path) == 0, "%s cannot be linked to", from);
    free(target);
}

void tiny_write_configs(const tiny_model *m, const char *folder)
{
    char path[PATH_BYTES];
    hyv_string s = {0};
    hyv_string_append(&s, "{\"_class_name\":\"HunyuanVideoPipeline\"}");
    put_file(folder, m->bare ? "notes.json" : "model_index.json", &s);
    link_golden(folder, "tokenizer");
    link_golden(folder, "tokenizer_2");
    snprintf(path, sizeof(path), "%s/scheduler", folder);
    CHECK(mkdir(path, 0700) == 0);
    hyv_string_append(&s, "{\"_class_name\":\"FlowMatchEulerDiscreteScheduler\",\"shift\":%.17g}",
                      m->config.shift);
    put_file(path, m->bare ? "notes.json" : "scheduler_config.json", &s);
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        snprintf(path, sizeof(path), "%s/%s", folder, hyv_component_name((enum hyv_component)c));
        CHECK(mkdir(path, 0700) == 0);
        if (c == HYV_TEXT_ENCODER)
            put_llama(&s, &m->config.llama);
        else if (c == HYV_TEXT_ENCODER_2)
            put_clip(&s, &m->config.clip);
        else if (c == HYV_TRANSFORMER)
            put_transformer(&s, m);
        else
            put_vae(&s, &m->config);
        put_file(path, m->bare ? "notes.json" : "config.json", &s);
    }
}

bool tiny_write(const tiny_model *m, char folder[64])
{
    const char *base = getenv("TMPDIR");
    char path[PATH_BYTES];
    if (!base || strlen(base) > 40)
        base = "/tmp";
    snprintf(folder, 64, "%s/hyv-tiny-XXXXXX", base);
    if (!CHECK_MSG(mkdtemp(folder) != NULL, "no temporary folder"))
        return false;
    tiny_write_configs(m, folder);
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        snprintf(path, sizeof(path), "%s/%s", folder, hyv_component_name((enum hyv_component)c));
        write_tensors(path, m, (enum hyv_component)c);
    }
    return true;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

void tiny_remove(const char *folder)
{
    CHECK_MSG(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "%s stays", folder);
}
