/* What stands beside the weights of a converted model's folder; private to convert.c. */
#ifndef HYV_RUN_CONVERT_FOLDER_H
#define HYV_RUN_CONVERT_FOLDER_H

#include "model.h"

/* A new folder beside `path` (PATH.XXXXXX, a new string) for what will be there. -EEXIST after a
 * message if `path` is a file or a folder that is not empty. */
int hyv_convert_folder_new(char **partial, const char *path, hyv_log *log);
/* err 0: gives the folder its name. Negative: removes it. Frees *partial; returns err or what
 * failed. */
int hyv_convert_folder_close(char **partial, const char *path, int err, hyv_log *log);

/* Makes "folder/name"; *path is a new string, NULL after a failure. */
int hyv_convert_subfolder(char **path, const char *folder, const char *name, hyv_log *log);

/* config.json of a component: the source's, or one that is made from its numbers. */
int hyv_convert_config(const char *folder, const hyv_model *m, enum hyv_component component);

/* Tokenizers of the encoders that are there, the scheduler, and the model's own files, into
 * `folder`. */
int hyv_convert_extras(const char *folder, const hyv_model *m, const char *model,
                       const hyv_choice *choice);

#endif
