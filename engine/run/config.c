/* config.json -> numbers.
 *
 * Key names are those that diffusers and transformers write for HunyuanVideo (transformer, vae),
 * LlamaModel or LLaVA (text_encoder) and CLIPTextModel (text_encoder_2). A key that is missing
 * leaves what the tensors' shapes told. Knows no tensors.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "../base/json.h"
#include "../base/util.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* A document and the first thing that was wrong with it: after a failure all getters do nothing. */
typedef struct reader {
    hyv_json doc;
    const json_t *at; /* the object that holds the numbers; NULL: the root */
    char *path;
    int err;
} reader;

static int reader_open(reader *r, const char *path, hyv_log *log)
{
    *r = (reader){0};
    r->path = hyv_strdup(path);
    if (!r->path)
        return r->err = hyv_log_error(log, -ENOMEM, "out of memory");
    r->err = hyv_json_load(&r->doc, r->path, CONFIG_BYTES_MAX, log);
    return r->err;
}

static int reader_close(reader *r)
{
    hyv_json_close(&r->doc);
    hyv_free_host(r->path);
    r->path = NULL;
    return r->err;
}

static void refuse(reader *r, int err, const char *key, const char *found, const char *valid)
{
    if (!r->err)
        r->err = hyv_log_error(r->doc.log, err, "%s: %s is %s, this library runs %s", r->path, key,
                               found, valid);
}

/* An integer in [min, max]; without it the value from the shapes stays, which 0 means is none. */
static void get(reader *r, const char *key, int64_t min, int64_t max, int64_t *value)
{
    if (r->err)
        return;
    const int found = hyv_json_int(&r->doc, r->at, key, min, max, value);
    if (found < 0)
        r->err = found;
    else if (*value < min)
        r->err = hyv_log_error(r->doc.log, -EBADMSG, "%s: \"%s\" is missing", r->path, key);
}

static int64_t get_or(reader *r, const char *key, int64_t min, int64_t max, int64_t otherwise)
{
    int64_t value = otherwise;
    if (!r->err) {
        const int found = hyv_json_int(&r->doc, r->at, key, min, max, &value);
        r->err = found < 0 ? found : 0;
    }
    return value;
}

static double get_number(reader *r, const char *key, double min, double max, double otherwise)
{
    double value = otherwise;
    if (!r->err) {
        const int found = hyv_json_number(&r->doc, r->at, key, min, max, &value);
        r->err = found < 0 ? found : 0;
    }
    return value;
}

static bool get_bool(reader *r, const char *key, bool otherwise)
{
    bool value = otherwise;
    if (!r->err) {
        const int found = hyv_json_bool(&r->doc, r->at, key, &value);
        r->err = found < 0 ? found : 0;
    }
    return value;
}

static const char *get_string(reader *r, const char *key, const char *otherwise)
{
    const char *value = otherwise;
    if (!r->err) {
        const int found = hyv_json_string(&r->doc, r->at, key, &value);
        r->err = found < 0 ? found : 0;
    }
    return value;
}

static void expect_string(reader *r, const char *key, const char *wanted)
{
    const char *value = get_string(r, key, wanted);
    if (!r->err && strcmp(value, wanted) != 0)
        refuse(r, -ENOTSUP, key, value, wanted);
}

static void expect_int(reader *r, const char *key, int64_t wanted)
{
    if (get_or(r, key, INT32_MIN, INT32_MAX, wanted) != wanted && !r->err)
        r->err = hyv_log_error(r->doc.log, -ENOTSUP, "%s: \"%s\" must be %lld", r->path, key,
                               (long long)wanted);
}

static void read_rope(reader *r, hyv_dit_config *c)
{
    int64_t *d = c->rope_dims;
    int count = 3;
    const int found =
        r->err ? 0 : hyv_json_ints(&r->doc, NULL, "rope_axes_dim", 0, 1024, d, &count);
    if (r->err)
        return;
    if (found < 0 || (found && count != 3))
        r->err = found < 0 ? found
                           : hyv_log_error(r->doc.log, -EBADMSG,
                                           "%s: \"rope_axes_dim\" must be three integers", r->path);
    else if (!found && !d[0])
        r->err = hyv_log_error(r->doc.log, -EBADMSG, "%s: \"rope_axes_dim\" is missing", r->path);
    else if (d[0] + d[1] + d[2] != c->head_dim || d[0] % 2 || d[1] % 2 || d[2] % 2)
        r->err = hyv_log_error(r->doc.log, -EBADMSG,
                               "%s: rope_axes_dim [%lld,%lld,%lld] must be three even numbers that "
                               "add up to attention_head_dim %lld",
                               r->path, (long long)d[0], (long long)d[1], (long long)d[2],
                               (long long)c->head_dim);
}

static int load_transformer(hyv_dit_config *c, const char *path, hyv_log *log)
{
    reader r;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    expect_string(&r, "_class_name", "HunyuanVideoTransformer3DModel");
    expect_string(&r, "qk_norm", "rms_norm");
    expect_int(&r, "patch_size_t", 1);
    get(&r, "in_channels", 1, 1024, &c->in_channels);
    get(&r, "out_channels", 1, 1024, &c->out_channels);
    get(&r, "num_attention_heads", 1, HYV_HEADS_MAX, &c->heads);
    get(&r, "attention_head_dim", 2, HYV_HEAD_DIM_MAX, &c->head_dim);
    c->width = c->heads * c->head_dim;
    const double mlp_ratio = get_number(&r, "mlp_ratio", 0.01, 64.0, 0.0);
    if (mlp_ratio > 0.0)
        c->mlp_width = (int64_t)((double)c->width * mlp_ratio);
    get(&r, "num_layers", 0, HYV_DIT_BLOCKS_MAX, &c->double_blocks);
    get(&r, "num_single_layers", 0, HYV_DIT_BLOCKS_MAX, &c->single_blocks);
    get(&r, "num_refiner_layers", 0, HYV_REFINER_BLOCKS_MAX, &c->refiner_blocks);
    get(&r, "text_embed_dim", 1, HYV_WIDTH_MAX, &c->text_width);
    get(&r, "pooled_projection_dim", 1, HYV_WIDTH_MAX, &c->pooled_width);
    c->patch = get_or(&r, "patch_size", 1, 16, c->patch ? c->patch : 2);
    c->rope_theta = get_number(&r, "rope_theta", 1.0, 1e12, 256.0);
    c->guidance = get_bool(&r, "guidance_embeds", c->guidance);
    read_rope(&r, c);
    const char *condition = get_string(&r, "image_condition_type", NULL);
    if (!r.err && condition)
        r.err = hyv_log_error(log, -ENOSYS,
                              "%s: this is an image-to-video model (%s, %lld input channels), "
                              "which text-to-video cannot run",
                              r.path, condition, (long long)c->in_channels);
    return reader_close(&r);
}

/* Top level in published files, inside "rope_parameters" in newer ones. */
static double rope_theta(reader *r)
{
    const json_t *object = r->at ? r->at : r->doc.root, *outer = r->at;
    double theta = get_number(r, "rope_theta", 1.0, 1e12, 0.0);
    const json_t *parameters = json_object_get(object, "rope_parameters");
    const json_t *scaling = json_object_get(object, "rope_scaling");
    if (json_is_object(parameters)) {
        r->at = parameters;
        theta = theta > 0.0 ? theta : get_number(r, "rope_theta", 1.0, 1e12, 0.0);
        expect_string(r, "rope_type", "default");
        r->at = outer;
    }
    if (scaling && !json_is_null(scaling))
        refuse(r, -ENOTSUP, "rope_scaling", "set", "plain rotary embeddings");
    return theta > 0.0 ? theta : 10000.0;
}

static int load_llama(hyv_llama_config *c, const char *path, hyv_log *log)
{
    reader r;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    const char *type = get_string(&r, "model_type", "llama");
    if (!r.err && strcmp(type, "llava") == 0)
        r.at = json_object_get(r.doc.root, "text_config");
    expect_string(&r, "model_type", r.at ? "llama" : type);
    if (!r.err && strcmp(type, "llama") != 0 && strcmp(type, "llava") != 0)
        refuse(&r, -ENOTSUP, "model_type", type, "llama, or llava with a llama in text_config");
    expect_string(&r, "hidden_act", "silu");
    get(&r, "hidden_size", 1, HYV_WIDTH_MAX, &c->width);
    get(&r, "intermediate_size", 1, 16 * HYV_WIDTH_MAX, &c->mlp_width);
    get(&r, "num_hidden_layers", 3, HYV_LLAMA_LAYERS_MAX, &c->layers);
    get(&r, "num_attention_heads", 1, HYV_HEADS_MAX, &c->heads);
    c->kv_heads =
        get_or(&r, "num_key_value_heads", 1, HYV_HEADS_MAX, c->kv_heads ? c->kv_heads : c->heads);
    c->head_dim = get_or(&r, "head_dim", 2, HYV_HEAD_DIM_MAX, c->heads ? c->width / c->heads : 0);
    get(&r, "vocab_size", 1, HYV_VOCABULARY_MAX, &c->vocabulary);
    c->eps = get_number(&r, "rms_norm_eps", 0.0, 1.0, 1e-5);
    c->theta = rope_theta(&r);
    if (!r.err && (get_bool(&r, "attention_bias", false) || get_bool(&r, "mlp_bias", false)))
        refuse(&r, -ENOTSUP, "attention_bias or mlp_bias", "true", "layers without biases");
    return reader_close(&r);
}

static int load_clip(hyv_clip_config *c, const char *path, hyv_log *log)
{
    reader r;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    const char *type = get_string(&r, "model_type", "clip_text_model");
    if (!r.err && strcmp(type, "clip") == 0)
        r.at = json_object_get(r.doc.root, "text_config");
    else if (!r.err && strcmp(type, "clip_text_model") != 0)
        refuse(&r, -ENOTSUP, "model_type", type, "clip_text_model, or clip");
    const char *act = get_string(&r, "hidden_act", "quick_gelu");
    c->activation = HYV_QUICK_GELU;
    if (!r.err && strcmp(act, "gelu") == 0)
        c->activation = HYV_GELU_ERF;
    else if (!r.err && strcmp(act, "quick_gelu") != 0)
        refuse(&r, -ENOTSUP, "hidden_act", act, "quick_gelu and gelu");
    get(&r, "hidden_size", 1, HYV_WIDTH_MAX, &c->width);
    get(&r, "intermediate_size", 1, 16 * HYV_WIDTH_MAX, &c->mlp_width);
    get(&r, "num_hidden_layers", 1, HYV_CLIP_LAYERS_MAX, &c->layers);
    get(&r, "num_attention_heads", 1, HYV_HEADS_MAX, &c->heads);
    get(&r, "vocab_size", 1, HYV_VOCABULARY_MAX, &c->vocabulary);
    c->positions =
        get_or(&r, "max_position_embeddings", 1, 65536, c->positions ? c->positions : 77);
    c->eps = get_number(&r, "layer_norm_eps", 0.0, 1.0, 1e-5);
    return reader_close(&r);
}

static int load_vae(hyv_model_config *config, const char *path, hyv_log *log)
{
    reader r;
    hyv_vae_config *c = &config->vae;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    const char *class_name = get_string(&r, "_class_name", "AutoencoderKLHunyuanVideo");
    if (!r.err && strcmp(class_name, "AutoencoderKLHunyuanVideo") != 0 &&
        strcmp(class_name, "AutoencoderKLCausal3D") != 0)
        refuse(&r, -ENOTSUP, "_class_name", class_name, "AutoencoderKLHunyuanVideo");
    expect_string(&r, "act_fn", "silu");
    c->out_channels = get_or(&r, "out_channels", 1, 16, c->out_channels ? c->out_channels : 3);
    get(&r, "latent_channels", 1, 1024, &c->latent_channels);
    get(&r, "layers_per_block", 1, 16, &c->layers_per_block);
    c->norm_num_groups =
        get_or(&r, "norm_num_groups", 1, 1024, c->norm_num_groups ? c->norm_num_groups : 32);
    c->mid_block_attention = get_bool(&r, "mid_block_add_attention", true);
    c->temporal_compression = get_or(&r, "temporal_compression_ratio", 1, 64,
                                     get_or(&r, "time_compression_ratio", 1, 64, 4));
    c->spatial_compression = get_or(&r, "spatial_compression_ratio", 1, 64,
                                    c->spatial_compression ? c->spatial_compression : 8);
    config->scaling_factor = get_number(&r, "scaling_factor", 1e-6, 1e6, 0.476986);
    int count = HYV_VAE_BLOCKS_MAX;
    const int found = r.err ? 0
                            : hyv_json_ints(&r.doc, NULL, "block_out_channels", 1, HYV_WIDTH_MAX,
                                            c->block_out_channels, &count);
    r.err = found < 0 ? found : r.err;
    c->blocks = found > 0 ? count : c->blocks;
    return reader_close(&r);
}

int hyv_config_scheduler(double *shift, const char *path, hyv_log *log)
{
    reader r;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    expect_string(&r, "_class_name", "FlowMatchEulerDiscreteScheduler");
    *shift = get_number(&r, "shift", 0.01, 1000.0, 7.0);
    return reader_close(&r);
}

int hyv_config_index(const char *path, hyv_log *log)
{
    reader r;
    if (reader_open(&r, path, log) < 0)
        return reader_close(&r);
    const char *class_name = get_string(&r, "_class_name", "");
    if (!r.err && strncmp(class_name, "HunyuanVideo15", 14) == 0)
        refuse(&r, -ENOTSUP, "_class_name", class_name,
               "HunyuanVideoPipeline (HunyuanVideo 1.5 is another model)");
    else if (!r.err && strcmp(class_name, "HunyuanVideoImageToVideoPipeline") == 0)
        refuse(&r, -ENOSYS, "_class_name", class_name, "HunyuanVideoPipeline (text to video)");
    else if (!r.err && strcmp(class_name, "HunyuanVideoPipeline") != 0)
        refuse(&r, -ENOTSUP, "_class_name", class_name, "HunyuanVideoPipeline");
    return reader_close(&r);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

int hyv_config_read(hyv_model_config *config, enum hyv_component component, const char *path,
                    hyv_log *log)
{
    switch (component) {
    case HYV_TRANSFORMER:
        return load_transformer(&config->dit, path, log);
    case HYV_TEXT_ENCODER:
        return load_llama(&config->llama, path, log);
    case HYV_TEXT_ENCODER_2:
        return load_clip(&config->clip, path, log);
    default:
        return load_vae(config, path, log);
    }
}

/* The value of "_class_name" or "model_type" says whose configuration it is. */
int hyv_config_is_for(enum hyv_component component, const char *path)
{
    static const char *const begins[HYV_COMPONENTS][2] = {{"llama", "llava"},
                                                          {"clip", "clip"},
                                                          {"Hunyuan", "Hunyuan"},
                                                          {"Autoencoder", "Autoencoder"}};
    hyv_log quiet = {0};
    hyv_json doc = {0};
    bool is = false;
    if (!hyv_path_is_file(path))
        return 0;
    const int err = hyv_json_load(&doc, path, CONFIG_BYTES_MAX, &quiet);
    if (err < 0)
        return err == -ENOMEM ? err : 0;
    const char *kind = json_string_value(json_object_get(doc.root, "_class_name"));
    if (!kind)
        kind = json_string_value(json_object_get(doc.root, "model_type"));
    for (int i = 0; kind && i < 2; i++)
        is |= strncmp(kind, begins[component][i], strlen(begins[component][i])) == 0;
    hyv_json_close(&doc);
    return is;
}

/* A number that neither the shapes nor a config.json gave; NULL if there is none. */
static const char *untold(const hyv_model_config *c, enum hyv_component component)
{
    const struct {
        enum hyv_component component;
        int64_t value;
        const char *name;
    } numbers[] = {
        {HYV_TRANSFORMER, c->dit.width, "the width"},
        {HYV_TRANSFORMER, c->dit.heads, "num_attention_heads"},
        {HYV_TRANSFORMER, c->dit.in_channels, "in_channels"},
        {HYV_TRANSFORMER, c->dit.out_channels, "out_channels"},
        {HYV_TRANSFORMER, c->dit.mlp_width, "mlp_ratio"},
        {HYV_TRANSFORMER, c->dit.text_width, "text_embed_dim"},
        {HYV_TRANSFORMER, c->dit.pooled_width, "pooled_projection_dim"},
        {HYV_TRANSFORMER, c->dit.rope_dims[0] + c->dit.rope_dims[1], "rope_axes_dim"},
        {HYV_TEXT_ENCODER, c->llama.width, "hidden_size"},
        {HYV_TEXT_ENCODER, c->llama.layers_used, "num_hidden_layers"},
        {HYV_TEXT_ENCODER, c->llama.mlp_width, "intermediate_size"},
        {HYV_TEXT_ENCODER, c->llama.heads, "num_attention_heads"},
        {HYV_TEXT_ENCODER, c->llama.kv_heads, "num_key_value_heads"},
        {HYV_TEXT_ENCODER, c->llama.head_dim, "head_dim"},
        {HYV_TEXT_ENCODER, c->llama.vocabulary, "vocab_size"},
        {HYV_TEXT_ENCODER_2, c->clip.width, "hidden_size"},
        {HYV_TEXT_ENCODER_2, c->clip.layers, "num_hidden_layers"},
        {HYV_TEXT_ENCODER_2, c->clip.mlp_width, "intermediate_size"},
        {HYV_TEXT_ENCODER_2, c->clip.vocabulary, "vocab_size"},
        {HYV_TEXT_ENCODER_2, c->clip.positions, "max_position_embeddings"},
        {HYV_TEXT_ENCODER_2, c->clip.heads, "num_attention_heads"},
        {HYV_VAE, c->vae.blocks, "block_out_channels"},
        {HYV_VAE, c->vae.latent_channels, "latent_channels"},
        {HYV_VAE, c->vae.norm_num_groups, "norm_num_groups"},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (numbers[i].component == component && numbers[i].value <= 0)
            return numbers[i].name;
    return NULL;
}

int hyv_config_check(hyv_model_config *config, enum hyv_component component, const char *file,
                     hyv_log *log)
{
    hyv_model_config *c = config;
    if (component == HYV_TEXT_ENCODER)
        c->llama.layers_used = c->llama.layers - 2; /* hidden_states[-3] */
    const char *name = untold(c, component);
    if (name)
        return hyv_log_error(log, -ENOTSUP,
                             "%s: the shapes of its tensors do not tell %s of this %s: put the "
                             "model's config.json beside it",
                             file, name, hyv_component_name(component));
    if (component == HYV_TRANSFORMER && c->dit.in_channels != c->dit.out_channels)
        return hyv_log_error(log, -ENOSYS,
                             "%s: this is an image-to-video model (%lld input channels, %lld "
                             "output channels), which text-to-video cannot run",
                             file, (long long)c->dit.in_channels, (long long)c->dit.out_channels);
    const hyv_llama_config *l = &c->llama;
    if (component == HYV_TEXT_ENCODER && (l->heads % l->kv_heads || l->head_dim % 2))
        return hyv_log_error(log, -EBADMSG,
                             "%s: %lld heads of %lld with %lld key heads: key heads must divide "
                             "the heads, and a head must have an even size",
                             file, (long long)l->heads, (long long)l->head_dim,
                             (long long)l->kv_heads);
    if (component == HYV_TEXT_ENCODER_2 && c->clip.width % c->clip.heads)
        return hyv_log_error(log, -EBADMSG, "%s: hidden_size %lld is not a multiple of %lld heads",
                             file, (long long)c->clip.width, (long long)c->clip.heads);
    const char *fault = component == HYV_VAE ? hyv_vae_config_fault(&c->vae) : NULL;
    return fault ? hyv_log_error(log, -ENOTSUP, "%s: %s", file, fault) : 0;
}

/* What one component makes is what the next one takes. */
int hyv_config_check_fit(const hyv_model_config *c, const char *folder, hyv_log *log)
{
    const struct {
        const char *what;
        int64_t a, b;
    } pairs[] = {
        {"text_encoder hidden_size and transformer text_embed_dim", c->llama.width,
         c->dit.text_width},
        {"text_encoder_2 hidden_size and transformer pooled_projection_dim", c->clip.width,
         c->dit.pooled_width},
        {"transformer out_channels and vae latent_channels", c->dit.out_channels,
         c->vae.latent_channels},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (pairs[i].a != pairs[i].b)
            return hyv_log_error(log, -EBADMSG, "%s: %s must be equal, found %lld and %lld", folder,
                                 pairs[i].what, (long long)pairs[i].a, (long long)pairs[i].b);
    return 0;
}
