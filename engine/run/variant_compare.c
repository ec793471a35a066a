/* A config.json against the shapes of the tensors: see hyv_variant_compare in variant.h.
 *
 * Keys are those of diffusers and transformers. A number that no shape tells, or that variant.c
 * took from the published model, is not compared.
 */
#include <string.h>

#include "variant.h"

#define NUMBER(part, member) offsetof(hyv_model_config, part.member)

/* Numbers that stand in a config.json and that shapes tell as well. */
static const struct number {
    enum hyv_component component;
    const char *key;
    size_t offset;
} numbers[] = {
    {HYV_TRANSFORMER, "in_channels", NUMBER(dit, in_channels)},
    {HYV_TRANSFORMER, "out_channels", NUMBER(dit, out_channels)},
    {HYV_TRANSFORMER, "attention_head_dim", NUMBER(dit, head_dim)},
    {HYV_TRANSFORMER, "num_attention_heads", NUMBER(dit, heads)},
    {HYV_TRANSFORMER, "num_layers", NUMBER(dit, double_blocks)},
    {HYV_TRANSFORMER, "num_single_layers", NUMBER(dit, single_blocks)},
    {HYV_TRANSFORMER, "num_refiner_layers", NUMBER(dit, refiner_blocks)},
    {HYV_TRANSFORMER, "text_embed_dim", NUMBER(dit, text_width)},
    {HYV_TRANSFORMER, "pooled_projection_dim", NUMBER(dit, pooled_width)},
    {HYV_TRANSFORMER, "patch_size", NUMBER(dit, patch)},
    {HYV_TEXT_ENCODER, "hidden_size", NUMBER(llama, width)},
    {HYV_TEXT_ENCODER, "intermediate_size", NUMBER(llama, mlp_width)},
    {HYV_TEXT_ENCODER, "num_hidden_layers", NUMBER(llama, layers)},
    {HYV_TEXT_ENCODER, "vocab_size", NUMBER(llama, vocabulary)},
    {HYV_TEXT_ENCODER_2, "hidden_size", NUMBER(clip, width)},
    {HYV_TEXT_ENCODER_2, "intermediate_size", NUMBER(clip, mlp_width)},
    {HYV_TEXT_ENCODER_2, "num_hidden_layers", NUMBER(clip, layers)},
    {HYV_TEXT_ENCODER_2, "vocab_size", NUMBER(clip, vocabulary)},
    {HYV_TEXT_ENCODER_2, "max_position_embeddings", NUMBER(clip, positions)},
    {HYV_VAE, "latent_channels", NUMBER(vae, latent_channels)},
    {HYV_VAE, "out_channels", NUMBER(vae, out_channels)},
    {HYV_VAE, "layers_per_block", NUMBER(vae, layers_per_block)},
    {HYV_VAE, "block_out_channels[0]", NUMBER(vae, block_out_channels[0])},
    {HYV_VAE, "block_out_channels[1]", NUMBER(vae, block_out_channels[1])},
    {HYV_VAE, "block_out_channels[2]", NUMBER(vae, block_out_channels[2])},
    {HYV_VAE, "block_out_channels[3]", NUMBER(vae, block_out_channels[3])},
};

static int64_t number_in(const hyv_model_config *config, size_t offset)
{
    int64_t value;
    memcpy(&value, (const char *)config + offset, sizeof(value));
    return value;
}

/* Assumed numbers become untold ones. A patch shows in a convolution alone. */
static void forget_assumed(hyv_model_config *told, hyv_checkpoint *c, const hyv_names *names)
{
    const hyv_tensor *patches = hyv_names_find(names, c, "x_embedder.proj.weight");
    if (patches && patches->rank < 4)
        told->dit.patch = told->dit.in_channels = told->dit.out_channels = 0;
}

void hyv_variant_compare(const hyv_model_config *config, enum hyv_component component,
                         hyv_checkpoint *c, const hyv_names *names, void *opaque,
                         hyv_variant_differs *differs)
{
    hyv_model_config told = {0};
    hyv_variant_read(&told, component, c, names);
    forget_assumed(&told, c, names);
    /* The last two layers of the language model are not run, and may be left out. */
    if (told.llama.layers >= config->llama.layers_used && told.llama.layers < config->llama.layers)
        told.llama.layers = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const int64_t is = number_in(config, numbers[i].offset);
        const int64_t should = number_in(&told, numbers[i].offset);
        if (numbers[i].component == component && should != 0 && is != should)
            differs(opaque, component, numbers[i].key, is, should);
    }
    if (component == HYV_TRANSFORMER && config->dit.guidance != told.dit.guidance)
        differs(opaque, component, "guidance_embeds", config->dit.guidance, told.dit.guidance);
    if (component == HYV_VAE && told.vae.blocks && config->vae.blocks != told.vae.blocks)
        differs(opaque, component, "the length of block_out_channels", config->vae.blocks,
                told.vae.blocks);
}
