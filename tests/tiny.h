/* Writes small model folders in the diffusers layout, with random weights, of any dimensions.
 *
 * The tensors come from the models' own bind lists (engine/model/bind.h), so a folder holds what
 * the forward passes ask for and nothing else. Vocabularies are those of tests/golden/t2v, whose
 * tokenizers are linked to; run from the repository root. Every value can be held by bf16.
 */
#ifndef HYV_TESTS_TINY_H
#define HYV_TESTS_TINY_H

#include "../engine/run/model.h"

typedef enum tiny_storage {
    TINY_F32,
    TINY_F16,
    TINY_BF16,
    TINY_F8,       /* matrices in F8_E4M3, the rest in BF16 */
    TINY_F8_SCALED /* the same with a scale_weight beside each matrix */
} tiny_storage;

typedef enum tiny_fault { TINY_MISSING = 1, TINY_MISSHAPEN, TINY_NAN } tiny_fault;

typedef struct tiny_model {
    hyv_model_config config;
    tiny_storage storage[HYV_COMPONENTS];
    int shards; /* 1: single files; more: that many and an index */
    uint64_t seed;
    bool bare; /* files with headers and no values (holes), and no configuration beside them */
    /* What is wrong with it, if anything: */
    const char *damaged; /* full name of a tensor */
    tiny_fault fault;
    const char *class_name; /* of the transformer; NULL: the right one */
    const char *condition;  /* image_condition_type of the transformer; NULL: none */
} tiny_model;

/* A new folder below the system's temporary one; false (a failed check) if it cannot be made. */
bool tiny_write(const tiny_model *m, char folder[64]);
void tiny_remove(const char *folder);

/* Everything of a model folder but the weights: configurations, and the golden tokenizers as links.
 * `folder` exists and is empty. */
void tiny_write_configs(const tiny_model *m, const char *folder);

/* Calls for each tensor that the component's forward pass asks for. matrix: is read by a product.
 */
typedef void tiny_tensor(void *opaque, const char *name, int rank, const int64_t shape[3],
                         bool matrix);
void tiny_list(const tiny_model *m, enum hyv_component c, tiny_tensor *tensor, void *opaque);

#endif
