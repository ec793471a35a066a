/* An opened model: its numbers, its files, its tokenizers, and its networks one at a time on a
 * backend.
 *
 * Opening reads headers only and checks that every tensor is there with the right shape. A network
 * is loaded when its phase comes and given back after it. Knows no video.
 */
#ifndef HYV_RUN_MODEL_H
#define HYV_RUN_MODEL_H

#include "../checkpoint/checkpoint.h"
#include "../text/bpe.h"
#include "config.h"
#include "parts.h"
#include "source.h"
#include "weights.h"

typedef struct hyv_model {
    hyv_model_config config;
    hyv_parts parts; /* the files that it consists of */
    hyv_checkpoint *file[HYV_COMPONENTS];
    hyv_names names[HYV_COMPONENTS]; /* how each calls its tensors */
    bool alone[HYV_COMPONENTS];      /* its file holds nothing else */
    hyv_bpe *llm_tokens, *clip_tokens;
    hyv_log *log;
} hyv_model;

/* One network with its weights on a backend. */
typedef struct hyv_network {
    const hyv_model *model;
    enum hyv_component component;
    hyv_weights *weights;
    union {
        hyv_llama *llama;
        hyv_clip *clip;
        hyv_dit *dit;
        hyv_vae *vae;
        void *any;
    } net;
} hyv_network;

/* `model`, `choice`: see hyv_parts_find; choice may be NULL. On failure nothing stays open. Errors:
 * see hyv_parts_find, hyv_checkpoint_open and hyv_config_check; -ENOTSUP for missing and misshapen
 * tensors, -ENOENT for a missing tokenizer. */
int hyv_model_open(hyv_model *m, const char *model, const hyv_choice *choice, hyv_log *log);
/* The same without tokenizers and, if choice->wanted says so, with less than all components: what
 * is missing has no file. */
int hyv_model_open_files(hyv_model *m, const char *model, const hyv_choice *choice, hyv_log *log);
void hyv_model_close(hyv_model *m);

/* Binds a component's weights on a backend (on a dry one: counts them). */
int hyv_network_load(hyv_network *n, const hyv_model *m, enum hyv_component component,
                     hyv_backend *be);
/* Tells a binder of every tensor of a component, those of layers that are not run included. 0 or
 * -ENOMEM. */
int hyv_network_list(const hyv_model *m, enum hyv_component component, const hyv_binder *b);
/* Frees the weights; pages of the file that were read are given back to the system. */
void hyv_network_unload(hyv_network *n);

/* The steps of opening, for those who go on after a fault (doctor.c); errors as above. Each needs
 * what stands before it: parts, the component's file, its numbers. */
int hyv_model_open_file(hyv_model *m, enum hyv_component component);
int hyv_model_read_numbers(hyv_model *m, enum hyv_component component);
int hyv_model_check_task(const hyv_model *m, const hyv_choice *choice);
/* *file (which may be NULL as a whole): what was opened, freed by the caller; NULL: none, or from
 * inside the encoder's file. */
int hyv_model_open_tokens(hyv_model *m, enum hyv_tokenizer which, const char *model,
                          const hyv_choice *choice, char **file);

/* hyv_network_load without its verdict: `report` hears of every missing and misshapen tensor. */
int hyv_network_bind(hyv_network *n, const hyv_model *m, enum hyv_component component,
                     hyv_backend *be, void *opaque, hyv_weights_fault *report);

#endif
