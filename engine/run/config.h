/* The numbers of a model, read from the config.json of each component of a diffusers folder and
 * checked.
 *
 * Nothing of the published model is assumed but its structure: widths, depths, heads, vocabulary
 * are free within named limits. What this engine cannot run (another class, another norm, a scaled
 * rotary table) is refused by name. Knows no tensors; binding checks those against the numbers.
 */
#ifndef HYV_RUN_CONFIG_H
#define HYV_RUN_CONFIG_H

#include "../base/log.h"
#include "../model/clip.h"
#include "../model/dit.h"
#include "../model/llama.h"
#include "../model/vae.h"

/* Limits of what a file may claim: generous multiples of the published model's numbers. */
enum {
    HYV_WIDTH_MAX = 65536,
    HYV_HEADS_MAX = 512,
    HYV_HEAD_DIM_MAX = 1024,
    HYV_VOCABULARY_MAX = 4194304
};

typedef struct hyv_model_config {
    hyv_dit_config dit;
    hyv_llama_config llama;
    hyv_clip_config clip;
    hyv_vae_config vae;
    double scaling_factor; /* latents of the transformer are the VAE's times this */
    double shift;          /* of the scheduler */
} hyv_model_config;

/* Reads folder/model_index.json and the components' config.json. -ENOENT, -EBADMSG (damaged),
 * -ENOTSUP (another kind of model, named), -ENOSYS (a HunyuanVideo variant that text-to-video does
 * not run). */
int hyv_config_load(hyv_model_config *config, const char *folder, hyv_log *log);

#endif
