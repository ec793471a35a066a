/* config.json of a diffusers folder -> numbers.
 *
 * Key names are those that diffusers and transformers write for HunyuanVideo (transformer, vae),
 * LlamaModel or LLaVA (text_encoder) and CLIPTextModel (text_encoder_2). Knows no tensors.
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

static int reader_open(reader *r, const char *folder, const char *component, const char *file,
                       hyv_log *log)
{
    *r = (reader){0};
    char *component_folder = hyv_path_join(folder, component);
    r->path = component_folder ? hyv_path_join(component_folder, file) : NULL;
    hyv_free_host(component_folder);
    if (!r->path)
        return r->err = -ENOMEM;
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

/* A required integer in [min, max]. */
static int64_t get(reader *r, const char *key, int64_t min, int64_t max)
{
    int64_t value = 0;
    if (r->err)
        return min;
    const int found = hyv_json_int(&r->doc, r->at, key, min, max, &value);
    if (found < 0)
        r->err = found;
    else if (!found)
        r->err = hyv_log_error(r->doc.log, -EBADMSG, "%s: \"%s\" is missing", r->path, key);
    return r->err ? min : value;
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

static void check_rope(reader *r, const hyv_dit_config *c)
{
    const int64_t *d = c->rope_dims;
    const bool even = d[0] % 2 == 0 && d[1] % 2 == 0 && d[2] % 2 == 0;
    if (!r->err && (d[0] + d[1] + d[2] != c->head_dim || !even))
        r->err = hyv_log_error(r->doc.log, -EBADMSG,
                               "%s: rope_axes_dim [%lld,%lld,%lld] must be three even numbers that "
                               "add up to attention_head_dim %lld",
                               r->path, (long long)d[0], (long long)d[1], (long long)d[2],
                               (long long)c->head_dim);
}

static int load_transformer(hyv_dit_config *c, const char *folder, hyv_log *log)
{
    reader r;
    if (reader_open(&r, folder, "transformer", "config.json", log) < 0)
        return reader_close(&r);
    expect_string(&r, "_class_name", "HunyuanVideoTransformer3DModel");
    expect_string(&r, "qk_norm", "rms_norm");
    expect_int(&r, "patch_size_t", 1);
    c->in_channels = get(&r, "in_channels", 1, 1024);
    c->out_channels = get(&r, "out_channels", 1, 1024);
    c->heads = get(&r, "num_attention_heads", 1, HYV_HEADS_MAX);
    c->head_dim = get(&r, "attention_head_dim", 2, HYV_HEAD_DIM_MAX);
    c->width = c->heads * c->head_dim;
    c->mlp_width = (int64_t)((double)c->width * get_number(&r, "mlp_ratio", 0.01, 64.0, 4.0));
    c->double_blocks = get(&r, "num_layers", 0, HYV_DIT_BLOCKS_MAX);
    c->single_blocks = get(&r, "num_single_layers", 0, HYV_DIT_BLOCKS_MAX);
    c->refiner_blocks = get(&r, "num_refiner_layers", 0, HYV_REFINER_BLOCKS_MAX);
    c->text_width = get(&r, "text_embed_dim", 1, HYV_WIDTH_MAX);
    c->pooled_width = get(&r, "pooled_projection_dim", 1, HYV_WIDTH_MAX);
    c->patch = get_or(&r, "patch_size", 1, 16, 2);
    c->rope_theta = get_number(&r, "rope_theta", 1.0, 1e12, 256.0);
    c->guidance = get_bool(&r, "guidance_embeds", true);
    int count = 3;
    const int found =
        r.err ? 0 : hyv_json_ints(&r.doc, NULL, "rope_axes_dim", 0, 1024, c->rope_dims, &count);
    if (!r.err && (found < 0 || !found || count != 3))
        r.err = found < 0 ? found
                          : hyv_log_error(log, -EBADMSG,
                                          "%s: \"rope_axes_dim\" must be three integers", r.path);
    check_rope(&r, c);
    const char *condition = get_string(&r, "image_condition_type", NULL);
    if (!r.err && (condition || c->in_channels != c->out_channels))
        r.err =
            hyv_log_error(log, -ENOSYS,
                          "%s: this is an image-to-video model (%s, %lld input channels), which "
                          "text-to-video cannot run",
                          r.path, condition ? condition : "more input than output channels",
                          (long long)c->in_channels);
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

static int load_llama(hyv_llama_config *c, const char *folder, hyv_log *log)
{
    reader r;
    if (reader_open(&r, folder, "text_encoder", "config.json", log) < 0)
        return reader_close(&r);
    const char *type = get_string(&r, "model_type", "llama");
    if (!r.err && strcmp(type, "llava") == 0)
        r.at = json_object_get(r.doc.root, "text_config");
    expect_string(&r, "model_type", r.at ? "llama" : type);
    if (!r.err && strcmp(type, "llama") != 0 && strcmp(type, "llava") != 0)
        refuse(&r, -ENOTSUP, "model_type", type, "llama, or llava with a llama in text_config");
    expect_string(&r, "hidden_act", "silu");
    c->width = get(&r, "hidden_size", 1, HYV_WIDTH_MAX);
    c->mlp_width = get(&r, "intermediate_size", 1, 16 * HYV_WIDTH_MAX);
    c->layers = get(&r, "num_hidden_layers", 3, HYV_LLAMA_LAYERS_MAX);
    c->layers_used = c->layers - 2; /* hidden_states[-3] */
    c->heads = get(&r, "num_attention_heads", 1, HYV_HEADS_MAX);
    c->kv_heads = get_or(&r, "num_key_value_heads", 1, HYV_HEADS_MAX, c->heads);
    c->head_dim = get_or(&r, "head_dim", 2, HYV_HEAD_DIM_MAX, c->width / c->heads);
    c->vocabulary = get(&r, "vocab_size", 1, HYV_VOCABULARY_MAX);
    c->eps = get_number(&r, "rms_norm_eps", 0.0, 1.0, 1e-5);
    c->theta = rope_theta(&r);
    if (!r.err && (get_bool(&r, "attention_bias", false) || get_bool(&r, "mlp_bias", false)))
        refuse(&r, -ENOTSUP, "attention_bias or mlp_bias", "true", "layers without biases");
    if (!r.err && (c->heads % c->kv_heads || c->head_dim % 2 || c->head_dim < 2))
        r.err = hyv_log_error(log, -EBADMSG,
                              "%s: %lld heads of %lld with %lld key heads: key heads must divide "
                              "the heads, and a head must have an even size",
                              r.path, (long long)c->heads, (long long)c->head_dim,
                              (long long)c->kv_heads);
    return reader_close(&r);
}

static int load_clip(hyv_clip_config *c, const char *folder, hyv_log *log)
{
    reader r;
    if (reader_open(&r, folder, "text_encoder_2", "config.json", log) < 0)
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
    c->width = get(&r, "hidden_size", 1, HYV_WIDTH_MAX);
    c->mlp_width = get(&r, "intermediate_size", 1, 16 * HYV_WIDTH_MAX);
    c->layers = get(&r, "num_hidden_layers", 1, HYV_CLIP_LAYERS_MAX);
    c->heads = get(&r, "num_attention_heads", 1, HYV_HEADS_MAX);
    c->vocabulary = get(&r, "vocab_size", 1, HYV_VOCABULARY_MAX);
    c->positions = get_or(&r, "max_position_embeddings", 1, 65536, 77);
    c->eps = get_number(&r, "layer_norm_eps", 0.0, 1.0, 1e-5);
    if (!r.err && c->width % c->heads)
        r.err = hyv_log_error(log, -EBADMSG, "%s: hidden_size %lld is not a multiple of %lld heads",
                              r.path, (long long)c->width, (long long)c->heads);
    return reader_close(&r);
}

static int load_vae(hyv_model_config *config, const char *folder, hyv_log *log)
{
    reader r;
    hyv_vae_config *c = &config->vae;
    if (reader_open(&r, folder, "vae", "config.json", log) < 0)
        return reader_close(&r);
    const char *class_name = get_string(&r, "_class_name", "AutoencoderKLHunyuanVideo");
    if (!r.err && strcmp(class_name, "AutoencoderKLHunyuanVideo") != 0 &&
        strcmp(class_name, "AutoencoderKLCausal3D") != 0)
        refuse(&r, -ENOTSUP, "_class_name", class_name, "AutoencoderKLHunyuanVideo");
    expect_string(&r, "act_fn", "silu");
    c->out_channels = get_or(&r, "out_channels", 1, 16, 3);
    c->latent_channels = get(&r, "latent_channels", 1, 1024);
    c->layers_per_block = get(&r, "layers_per_block", 1, 16);
    c->norm_num_groups = get_or(&r, "norm_num_groups", 1, 1024, 32);
    c->mid_block_attention = get_bool(&r, "mid_block_add_attention", true);
    c->temporal_compression = get_or(&r, "temporal_compression_ratio", 1, 64,
                                     get_or(&r, "time_compression_ratio", 1, 64, 4));
    c->spatial_compression = get_or(&r, "spatial_compression_ratio", 1, 64, 8);
    config->scaling_factor = get_number(&r, "scaling_factor", 1e-6, 1e6, 0.476986);
    int count = HYV_VAE_BLOCKS_MAX;
    const int found = r.err ? 0
                            : hyv_json_ints(&r.doc, NULL, "block_out_channels", 1, HYV_WIDTH_MAX,
                                            c->block_out_channels, &count);
    if (!r.err && found <= 0)
        r.err = found < 0
                    ? found
                    : hyv_log_error(log, -EBADMSG, "%s: \"block_out_channels\" is missing", r.path);
    c->blocks = count;
    const char *fault = r.err ? NULL : hyv_vae_config_fault(c);
    if (fault)
        r.err = hyv_log_error(log, -ENOTSUP, "%s: %s", r.path, fault);
    return reader_close(&r);
}

static int load_scheduler(double *shift, const char *folder, hyv_log *log)
{
    reader r;
    if (reader_open(&r, folder, "scheduler", "scheduler_config.json", log) < 0)
        return reader_close(&r);
    expect_string(&r, "_class_name", "FlowMatchEulerDiscreteScheduler");
    *shift = get_number(&r, "shift", 0.01, 1000.0, 7.0);
    return reader_close(&r);
}

static int check_index(const char *folder, hyv_log *log)
{
    reader r;
    if (reader_open(&r, folder, "", "model_index.json", log) < 0)
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

/* What one component makes is what the next one takes. */
static int check_fit(const hyv_model_config *c, const char *folder, hyv_log *log)
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

int hyv_config_load(hyv_model_config *config, const char *folder, hyv_log *log)
{
    *config = (hyv_model_config){0};
    int err = check_index(folder, log);
    if (err >= 0)
        err = load_transformer(&config->dit, folder, log);
    if (err >= 0)
        err = load_llama(&config->llama, folder, log);
    if (err >= 0)
        err = load_clip(&config->clip, folder, log);
    if (err >= 0)
        err = load_vae(config, folder, log);
    if (err >= 0)
        err = load_scheduler(&config->shift, folder, log);
    if (err >= 0)
        err = check_fit(config, folder, log);
    return err < 0 ? err : 0;
}
