/* Files that are there whole or not at all.
 *
 * Written beside their place, brought to the disk, then renamed: whatever happens meanwhile, the
 * name leads to the old content or to the new. Knows no formats.
 */
#ifndef HYV_BASE_WRITE_H
#define HYV_BASE_WRITE_H

#include <stddef.h>

typedef struct hyv_chunk {
    const void *data;
    size_t size;
} hyv_chunk;

/* The parts one behind the other become the file `path`. 0, or the negative errno of what failed,
 * after which nothing new is left in the folder. */
int hyv_file_write(const char *path, const hyv_chunk *parts, int count);

#endif
