/* The directory of a zip archive whose entries lie uncompressed in a mapped file.
 *
 * Nothing is extracted: an entry is a name and a range of the map. Encryption and archives in
 * several parts are refused by name; what is compressed is for the caller to refuse. Follows
 * PKWARE's APPNOTE, with its 64-bit records. Knows nothing of what the entries mean.
 */
#ifndef HYV_CHECKPOINT_ZIP_H
#define HYV_CHECKPOINT_ZIP_H

#include "../base/log.h"
#include "../base/util.h"

enum { HYV_ZIP_NAME_MAX = 1000, HYV_ZIP_ENTRIES_MAX = 200000 };

typedef struct hyv_zip_entry {
    const char *name; /* in the map, without a NUL */
    size_t name_bytes;
    const uint8_t *data;  /* in the map */
    uint64_t size, begin; /* begin: of its local header, which stands before its data */
    unsigned method;      /* of compression; 0: data is the entry as it is */
} hyv_zip_entry;

typedef struct hyv_zip {
    hyv_zip_entry *entries; /* sorted by name; names are unique, ranges disjoint */
    int64_t count;
} hyv_zip;

/* -EBADMSG (damaged or truncated), -ENOTSUP (encrypted, in parts), -ENOMEM; one
 * message. After an error there is nothing to close. */
int hyv_zip_open(hyv_zip *zip, const hyv_map *map, const char *path, hyv_log *log);
void hyv_zip_close(hyv_zip *zip);

/* NULL if there is none. */
const hyv_zip_entry *hyv_zip_find(const hyv_zip *zip, const char *name);

#endif
