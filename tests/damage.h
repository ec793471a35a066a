/* A model folder that can be damaged: tests/golden/t2v, in a temporary place.
 *
 * Files are links to the golden ones until they are changed. Run from the repository root. A step
 * that fails is a failed check.
 */
#ifndef HYV_TESTS_DAMAGE_H
#define HYV_TESTS_DAMAGE_H

#include "../engine/checkpoint/checkpoint.h"

#define DAMAGE_TRANSFORMER "transformer/diffusion_pytorch_model.safetensors"
#define DAMAGE_VAE         "vae/diffusion_pytorch_model.safetensors"
#define DAMAGE_CLIP        "text_encoder_2/model.safetensors"

typedef struct damaged {
    char folder[96];
} damaged;

bool damage_begin(damaged *d);
void damage_end(const damaged *d);

/* The path of a file of the folder; a new string. */
char *damage_path(const damaged *d, const char *name);

/* Replaces or makes a file: by bytes, by a copy of another, by its own first bytes (n < 0: without
 * its last -n), and by itself with `from` in place of `to`, once, lengths being equal or not. */
void damage_write(const damaged *d, const char *name, const void *bytes, size_t size);
void damage_copy(const damaged *d, const char *name, const char *source);
void damage_cut(const damaged *d, const char *name, long n);
void damage_edit(const damaged *d, const char *name, const char *from, const char *to);
void damage_remove(const damaged *d, const char *name); /* a file or a folder */

/* Tensors of a safetensors file, to be changed and written again. */
typedef struct damage_tensor {
    char name[128], dtype[16];
    int rank;
    int64_t shape[HYV_TENSOR_RANK_MAX];
    uint8_t *data;
    size_t bytes;
} damage_tensor;

typedef struct damage_list {
    damage_tensor *tensors;
    int count;
} damage_list;

bool damage_load(damage_list *list, const char *path);
damage_tensor *damage_find(const damage_list *list,
                           const char *name); /* a failed check: the first */
void damage_drop(damage_list *list, const char *name);
/* A new one of F32 [rows, cols], all 0.5. */
void damage_add(damage_list *list, const char *name, int64_t rows, int64_t cols);
/* The tensors first, first + step, ... */
void damage_store(const damaged *d, const char *name, const damage_list *list, int first, int step);
void damage_free(damage_list *list);

#endif
