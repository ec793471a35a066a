/* What a converted file will consist of: its tensors, and which rows of the source they are made
 * of.
 *
 * Every tensor that a component's model asks for is listed under the name that published files of
 * the container have: those of the diffusers layout in safetensors; in GGUF Tencent's for the
 * transformer, which fuse q, k and v, and llama.cpp's for the language model, whose q and k are
 * ordered as rotary pairs. Types follow published quantisations: only the matrices of the repeated
 * blocks are quantised. Reads names and shapes, no values.
 */
#ifndef HYV_RUN_BLUEPRINT_H
#define HYV_RUN_BLUEPRINT_H

#include "../checkpoint/writer.h"
#include "model.h"

/* What becomes of the rows of each attention head. */
typedef enum hyv_order {
    HYV_ORDER_SAME,
    HYV_ORDER_PAIRS, /* two halves become rotary pairs */
    HYV_ORDER_HALVES /* and back */
} hyv_order;

/* Neighbouring rows of a tensor of the source; rows are counted along the first dimension. */
typedef struct hyv_piece {
    const hyv_tensor *from;
    int64_t first, rows;
    hyv_order order;
    int64_t head;            /* rows of a head */
    const hyv_tensor *scale; /* of an fp8 matrix: one, or one for each row; may be NULL */
    bool rounded;            /* scale and products are rounded to bf16 */
} hyv_piece;

enum { HYV_PIECES_MAX = 4 };

typedef struct hyv_item {
    hyv_tensor tensor; /* as it will be in the file; without data */
    char *name;        /* owned: tensor.name */
    hyv_piece piece[HYV_PIECES_MAX];
    int pieces;       /* one above the other; 0: see scale_of */
    bool quantised;   /* a matrix of a repeated block: gets the type that was asked for */
    bool scaled;      /* F8 with a scale that is chosen here */
    int64_t scale_of; /* this is the scale of that item; -1: it is not */
} hyv_item;

typedef struct hyv_blueprint {
    const hyv_writer *writer;
    hyv_item *list;
    int64_t count, capacity;
    hyv_keys keys;
    uint64_t size_bytes;       /* of the file */
    hyv_string header;         /* its first bytes */
    int64_t left_out;          /* tensors of the source that belong to no such file */
    const char *left_out_name; /* one of them */
} hyv_blueprint;

/* `type`: HYV_TYPES stands for the source's own, where the container holds it. -ENOTSUP if the
 * container cannot hold the type, or a component that is never quantised should be; -ENOMEM. The
 * model stays open while the blueprint is used. */
int hyv_blueprint_make(hyv_blueprint *b, const hyv_model *m, enum hyv_component component,
                       const hyv_writer *writer, hyv_type type);
void hyv_blueprint_free(hyv_blueprint *b);

/* The keys of a GGUF file of the component, most of it in `type`: what readers ask for to know what
 * it is. */
void hyv_blueprint_keys(hyv_keys *keys, const hyv_model *m, enum hyv_component component,
                        hyv_type type);

/* Types of which only the matrices of the repeated blocks are, and only in components where
 * published quantisations have them: the transformer and the language model. */
bool hyv_blueprint_quantises(enum hyv_component component, hyv_type type);

#endif
