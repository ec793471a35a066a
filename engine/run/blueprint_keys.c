/* The keys by which readers of a GGUF file know what it is: see blueprint.h.
 *
 * Names and numbers are llama.cpp's (gguf-py, constants.py) for the language model and those of
 * city96's files for the transformer, whose readers take all else from the tensors. There is no
 * convention for CLIP and the VAE; they get names of their own. Knows no tensors.
 */
#include <string.h>

#include "blueprint.h"

enum { QUANTISATION_VERSION = 2, CONTEXT_LENGTH = 8192 /* of Llama 3, not kept by its networks */ };

/* llama.cpp's number for "mostly this type"; -1: none. */
static int file_type(hyv_type type)
{
    switch (type) {
    case HYV_F32:
        return 0;
    case HYV_F16:
        return 1;
    case HYV_Q8_0:
        return 7;
    case HYV_Q4_K:
        return 14; /* Q4_K_S: Q4_K wherever it can be */
    case HYV_Q6_K:
        return 18;
    case HYV_BF16:
        return 32;
    default:
        return -1;
    }
}

/* A tokenizer is taken over as it is; without it the file is one for readers that have their own.
 */
static void add_tokenizer(hyv_keys *k, const hyv_metadata *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (strncmp(m->list[i].key, "tokenizer.", strlen("tokenizer.")) == 0)
            hyv_keys_copy(k, &m->list[i]);
}

static void add_llama(hyv_keys *k, const hyv_llama_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"llama.context_length", CONTEXT_LENGTH},    {"llama.block_count", c->layers},
        {"llama.embedding_length", c->width},        {"llama.feed_forward_length", c->mlp_width},
        {"llama.attention.head_count", c->heads},    {"llama.attention.head_count_kv", c->kv_heads},
        {"llama.rope.dimension_count", c->head_dim}, {"llama.vocab_size", c->vocabulary}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        hyv_keys_u32(k, numbers[i].key, (uint32_t)numbers[i].value);
    hyv_keys_f32(k, "llama.attention.layer_norm_rms_epsilon", (float)c->eps);
    hyv_keys_f32(k, "llama.rope.freq_base", (float)c->theta);
}

void hyv_blueprint_keys(hyv_keys *keys, const hyv_model *m, enum hyv_component component,
                        hyv_type type)
{
    static const char *const architectures[HYV_COMPONENTS] = {"llama", "clip-text", "hyvid",
                                                              "hyvid-vae"};
    hyv_keys_string(keys, "general.architecture", architectures[component]);
    if (hyv_type_block(type) > 1)
        hyv_keys_u32(keys, "general.quantization_version", QUANTISATION_VERSION);
    if (file_type(type) >= 0)
        hyv_keys_u32(keys, "general.file_type", (uint32_t)file_type(type));
    if (component != HYV_TEXT_ENCODER)
        return;
    add_llama(keys, &m->config.llama);
    add_tokenizer(keys, hyv_checkpoint_metadata(m->file[component]));
}
