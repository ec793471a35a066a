/* The numbers of a model, read from the config.json of each component and checked.
 *
 * Nothing of the published model is assumed but its structure: widths, depths, heads, vocabulary
 * are free within named limits. What this engine cannot run (another class, another norm, a scaled
 * rotary table) is refused by name. Knows no tensors; binding checks those against the numbers.
 */
#ifndef HYV_RUN_CONFIG_H
#define HYV_RUN_CONFIG_H

#include "../base/log.h"
#include "../checkpoint/names.h"
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

/* The published schedule's shift; FastHunyuan's, which is distilled for few steps. */
#define HYV_SHIFT      7.0
#define HYV_SHIFT_FAST 17.0

/* Of the published language model, for files that do not say. */
#define HYV_LLAMA_EPS   1e-5
#define HYV_LLAMA_THETA 500000.0
enum { HYV_LLAMA_WIDTH = 4096, HYV_LLAMA_HEAD_DIM = 128 };

typedef struct hyv_model_config {
    hyv_dit_config dit;
    hyv_llama_config llama;
    hyv_clip_config clip;
    hyv_vae_config vae;
    double scaling_factor; /* latents of the transformer are the VAE's times this */
    double shift;          /* of the scheduler */
} hyv_model_config;

/* Reads a component's config.json over what *config already has (see variant.h). -ENOENT, -EBADMSG
 * (damaged), -ENOTSUP (another kind of model, named), -ENOSYS (a HunyuanVideo variant that
 * text-to-video does not run). */
int hyv_config_read(hyv_model_config *config, enum hyv_component component, const char *path,
                    hyv_log *log);

/* 1: `path` is there and this component's configuration; 0: not; -ENOMEM. Logs nothing. */
int hyv_config_is_for(enum hyv_component component, const char *path);

/* After both: is every number known, and can this engine run it? `file` is named in messages. */
int hyv_config_check(hyv_model_config *config, enum hyv_component component, const char *file,
                     hyv_log *log);

/* What one component makes is what the next one takes. */
int hyv_config_check_fit(const hyv_model_config *config, const char *name, hyv_log *log);

/* model_index.json: is the pipeline one of ours? scheduler_config.json: its shift. */
int hyv_config_index(const char *path, hyv_log *log);
int hyv_config_scheduler(double *shift, const char *path, hyv_log *log);

#endif
