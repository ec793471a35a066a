/* Where our tensors lie in files whose names other projects chose.
 *
 * The names of this engine are those of the diffusers layout. A naming says how a file calls the
 * same modules, which of them it keeps fused in one matrix, and what stands before every name.
 * hyv_names_identify finds the naming from the names alone, never from a file's name, and tells
 * other families by theirs. Knows no shapes, no configuration and no container.
 */
#ifndef HYV_CHECKPOINT_NAMES_H
#define HYV_CHECKPOINT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint.h"

enum hyv_component {
    HYV_TEXT_ENCODER,   /* Llama */
    HYV_TEXT_ENCODER_2, /* CLIP */
    HYV_TRANSFORMER,
    HYV_VAE,
    HYV_COMPONENTS
};

typedef struct hyv_naming hyv_naming;

/* How one component is named in one file. All zero: by our own names. */
typedef struct hyv_names {
    const hyv_naming *naming; /* NULL in hyv_identity: the file does not hold the component */
    const char *prefix;       /* of every name; may be NULL */
    int levels;               /* of a VAE whose decoder blocks are counted from the pixels */
} hyv_names;

/* What a file holds. */
typedef struct hyv_identity {
    hyv_names names[HYV_COMPONENTS];
    int components;      /* how many of them it holds */
    const char *foreign; /* the family of a model that this engine does not run; NULL: none */
} hyv_identity;

/* Our rows in the file's matrix. */
typedef enum hyv_slice {
    HYV_SLICE_WHOLE,
    HYV_SLICE_THIRD,  /* number `index` of three equal parts */
    HYV_SLICE_HEAD,   /* number `index` of parts of our size at the top; other rows follow */
    HYV_SLICE_TAIL,   /* the rows below `index` square matrices */
    HYV_SLICE_SWAPPED /* everything, with its two halves exchanged */
} hyv_slice;

enum { HYV_PLACE_NAME_MAX = 640 };

typedef struct hyv_place {
    char name[HYV_PLACE_NAME_MAX]; /* of the tensor in the file */
    hyv_slice slice;
    int index;
} hyv_place;

/* Fills *found; a file of none of our components has components 0. */
void hyv_names_identify(hyv_identity *found, hyv_checkpoint *c);

/* The place of the tensor `module`.`suffix`, both in our names. */
void hyv_names_place(const hyv_names *names, const char *module, const char *suffix,
                     hyv_place *place);
/* The same for a full name ("norm1.weight"). */
void hyv_names_place_full(const hyv_names *names, const char *name, hyv_place *place);

/* Back: our name of the tensor `name`, which the file keeps whole. False if it has not the prefix,
 * or is fused or does not fit. */
bool hyv_names_ours(const hyv_names *names, const char *name, char ours[HYV_PLACE_NAME_MAX]);

/* How published files of a component are named: in the diffusers layout, or (gguf) as GGUF. */
hyv_names hyv_names_published(enum hyv_component component, bool gguf);

/* The tensor of a full name, whatever its slice; NULL if it is not there. */
hyv_tensor *hyv_names_find(const hyv_names *names, hyv_checkpoint *c, const char *name);

/* How many blocks the file has of those that `module`, a module of block 0, belongs to. */
int hyv_names_blocks(const hyv_names *names, hyv_checkpoint *c, const char *module);

/* A tensor that belongs to the published networks and that text to video does not need. */
bool hyv_names_unused(const hyv_names *names, enum hyv_component component, const char *name);

/* Whose names they are, for people: "official", "ComfyUI", "GGUF", "LLaVA". Never NULL. */
const char *hyv_names_label(const hyv_names *names);

/* "text_encoder", "text_encoder_2", "transformer", "vae": folder, option, and name in messages. */
const char *hyv_component_name(enum hyv_component component);

#endif
