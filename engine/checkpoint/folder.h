/* From a path to the files of a checkpoint; private to checkpoint.c and folder.c.
 *
 * folder.c decides which files there are, checkpoint.c opens them and lists their tensors.
 */
#ifndef HYV_CHECKPOINT_FOLDER_H
#define HYV_CHECKPOINT_FOLDER_H

#include "checkpoint.h"

/* Adds the tensors of all files that `path`, a file, an index or a folder, stands for. Errors: see
 * hyv_checkpoint_open. */
int hyv_folder_open(hyv_checkpoint *c, const char *path, hyv_log *log);

/* Opens one file and adds its tensors. Takes `path` over and frees it (NULL: no memory). */
int hyv_checkpoint_add_file(hyv_checkpoint *c, char *path, hyv_log *log);

/* Number of the opened file with this name, -1 if there is none; number of a tensor's file. */
int hyv_checkpoint_file(const hyv_checkpoint *c, const char *name);
int hyv_checkpoint_file_of(const hyv_tensor *tensor);

/* Goes behind the name of every tensor that is added from now on; NULL: nothing. */
void hyv_checkpoint_suffix(hyv_checkpoint *c, const char *suffix);

int hyv_checkpoint_no_memory(hyv_log *log);

#endif
