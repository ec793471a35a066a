/* The numbers of a model that its tensors' shapes tell, for files that come without config.json.
 *
 * What no shape tells (heads of a language model, groups of a norm, axes of the rotary table) is
 * taken from the published model where the shapes are the published ones, and left 0 elsewhere:
 * config.c asks for a config.json then. Knows names and shapes, reads no file but the checkpoint.
 */
#ifndef HYV_RUN_VARIANT_H
#define HYV_RUN_VARIANT_H

#include "../checkpoint/names.h"
#include "config.h"

/* Fills the component's part of *config. Numbers are within config.h's limits, or 0. */
void hyv_variant_read(hyv_model_config *config, enum hyv_component component, hyv_checkpoint *c,
                      const hyv_names *names);

/* Tells each number that *config, read from a config.json, gives otherwise than the shapes do. */
typedef void hyv_variant_differs(void *opaque, enum hyv_component component, const char *key,
                                 int64_t is, int64_t should);
void hyv_variant_compare(const hyv_model_config *config, enum hyv_component component,
                         hyv_checkpoint *c, const hyv_names *names, void *opaque,
                         hyv_variant_differs *differs);

#endif
