/* Converting a model: any distribution that opens, to files of one wanted type.
 *
 * One component to one file, or what there is to a folder in the diffusers layout with its
 * configurations and tokenizers. Everything is checked before the first byte is written; a file or
 * folder appears under its name when it is whole. See hyv_convert of the public header.
 */
#ifndef HYV_RUN_CONVERT_H
#define HYV_RUN_CONVERT_H

#include "source.h"

typedef struct hyv_conversion {
    const char *out;       /* a name that ends in .safetensors or .gguf, or a folder's */
    const char *type;      /* "same", "bf16", ...; NULL or "": same */
    const char *component; /* "transformer", ...; NULL or "": what there is */
} hyv_conversion;

/* 0, or a negative errno after a message; -ECANCELED without one. */
int hyv_convert_model(const hyv_options *options, const hyv_conversion *conversion,
                      const hyv_run *run);

#endif
