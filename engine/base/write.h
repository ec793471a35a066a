/* Files that are there whole or not at all.
 *
 * Written beside their place, brought to the disk, then renamed: whatever happens meanwhile, the
 * name leads to the old content or to the new. Knows no formats.
 */
#ifndef HYV_BASE_WRITE_H
#define HYV_BASE_WRITE_H

#include <stddef.h>
#include <stdint.h>

typedef struct hyv_chunk {
    const void *data;
    size_t size;
} hyv_chunk;

/* The parts one behind the other become the file `path`. 0, or the negative errno of what failed,
 * after which nothing new is left in the folder. */
int hyv_file_write(const char *path, const hyv_chunk *parts, int count);

/* The same for files that are too large to be in memory: open, any number of writes, close. */
typedef struct hyv_output {
    int fd;
    char *path, *partial; /* where it shall be, and where it is until then: PATH.XXXXXX */
} hyv_output;

/* `size`: bytes to come, for which room is made at once where the file system can, so that a disk
 * that is too small is known now; 0: unknown. On failure nothing is left and nothing to close. */
int hyv_output_open(hyv_output *o, const char *path, uint64_t size);
int hyv_output_write(hyv_output *o, const void *data, size_t size);

/* err 0: syncs the file and gives it its name. Negative: removes it. Returns err, or the negative
 * errno of what failed, after which nothing new is left either. */
int hyv_output_close(hyv_output *o, int err);

/* Gives a folder another name, which an empty folder may have; 0 or negative errno. */
int hyv_folder_rename(const char *from, const char *to);

/* A copy of a file of at most `max` bytes. */
int hyv_file_copy(const char *to, const char *from, size_t max);

#endif
