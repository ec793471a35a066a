/* The recipe of a video: every option in force, as a preset that makes the same bytes again.
 *
 * A YAML mapping that hyv_options_load reads, under comments that name the library's version and
 * the hashes of the weights. What changes no byte (threads, where to look, what to log) is left
 * out. Knows no model.
 */
#ifndef HYV_RUN_RECIPE_H
#define HYV_RUN_RECIPE_H

#include "options.h"
#include "params.h"

/* A new string, freed with hyv_free_host; NULL if memory is short. `weights`: lines of component
 * and hash, or "". */
char *hyv_recipe_new(const hyv_options *options, const hyv_options *defaults,
                     const hyv_params *params, const hyv_video *video, const char *weights);

/* Puts it into a file; a failure is a warning. */
void hyv_recipe_write(const char *path, const char *recipe, hyv_log *log);

#endif
