/* Reads the directory at the end of a zip archive: see zip.h.
 *
 * Follows PKWARE's APPNOTE 6.3. Written here rather than taken from a library because entries must
 * stay views into the map, and because an archive that two readers could understand in different
 * ways (overlapping ranges, two names for one entry, names used twice) must be refused, which
 * unpacking libraries do not do. Sizes come from the directory: writers leave them out of the
 * headers before the data.
 */
#include "zip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,   /* before an entry's name and data */
    CENTRAL_BYTES = 46, /* of an entry in the directory, before its name */
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    COMMENT_MAX = 65535,
    EXTRA_64 = 1, /* the extra field that holds 64-bit numbers */
    FLAG_ENCRYPTED = 1
};

#define LOCAL_MAGIC   0x04034b50u
#define CENTRAL_MAGIC 0x02014b50u
#define END_MAGIC     0x06054b50u
#define END64_MAGIC   0x06064b50u
#define LOCATOR_MAGIC 0x07064b50u
#define SATURATED     0xffffffffu

typedef struct archive {
    const uint8_t *data;
    uint64_t size;
    const char *path;
    hyv_log *log;
    uint64_t directory, directory_bytes, count; /* what the end says */
} archive;

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static int bad(const archive *a, const char *what)
{
    return hyv_log_error(a->log, -EBADMSG, "%s: not a sound zip archive: %s", a->path, what);
}

static int bad_entry(const archive *a, const hyv_zip_entry *e, const char *what)
{
    return hyv_log_error(a->log, -EBADMSG, "%s: not a sound zip archive: entry '%.*s' %s", a->path,
                         (int)e->name_bytes, e->name, what);
}

/* Where the end record stands: the last one whose comment reaches the end of the file. */
static bool find_end(const archive *a, uint64_t *at)
{
    const uint64_t most = END_BYTES + COMMENT_MAX;
    const uint64_t least = a->size > most ? a->size - most : 0;
    if (a->size < END_BYTES)
        return false;
    for (uint64_t i = a->size - END_BYTES + 1; i-- > least;) {
        if (number(a->data + i, 4) == END_MAGIC &&
            number(a->data + i + 20, 2) == a->size - i - END_BYTES) {
            *at = i;
            return true;
        }
    }
    return false;
}

/* The 64-bit end record, if a locator before the short one leads to it. 1: there is none. */
static int read_end64(archive *a, uint64_t end, uint64_t *directory_end)
{
    if (end < LOCATOR_BYTES || number(a->data + end - LOCATOR_BYTES, 4) != LOCATOR_MAGIC)
        return 1;
    const uint8_t *locator = a->data + end - LOCATOR_BYTES;
    const uint64_t at = number(locator + 8, 8);
    if (number(locator + 4, 4) != 0 || number(locator + 16, 4) > 1)
        return hyv_log_error(a->log, -ENOTSUP, "%s: a zip archive in several parts", a->path);
    if (end < LOCATOR_BYTES + END64_BYTES || at > end - LOCATOR_BYTES - END64_BYTES)
        return bad(a, "its 64-bit end record lies outside the file");
    const uint8_t *r = a->data + at;
    if (number(r, 4) != END64_MAGIC)
        return bad(a, "its 64-bit end record is missing");
    if (number(r + 16, 4) != 0 || number(r + 20, 4) != 0 || number(r + 24, 8) != number(r + 32, 8))
        return hyv_log_error(a->log, -ENOTSUP, "%s: a zip archive in several parts", a->path);
    a->count = number(r + 32, 8);
    a->directory_bytes = number(r + 40, 8);
    a->directory = number(r + 48, 8);
    *directory_end = at;
    return 0;
}

static int read_end(archive *a)
{
    uint64_t end, directory_end;
    if (!find_end(a, &end))
        return hyv_log_error(a->log, -EBADMSG,
                             "%s: truncated: the zip archive's directory, which stands at its end, "
                             "is not there (%llu bytes are)",
                             a->path, (unsigned long long)a->size);
    const uint8_t *r = a->data + end;
    const int err = read_end64(a, end, &directory_end);
    if (err < 0)
        return err;
    if (err > 0) {
        a->count = number(r + 10, 2);
        a->directory_bytes = number(r + 12, 4);
        a->directory = number(r + 16, 4);
        directory_end = end;
        if (number(r + 4, 2) != 0 || number(r + 6, 2) != 0 || number(r + 8, 2) != a->count)
            return hyv_log_error(a->log, -ENOTSUP, "%s: a zip archive in several parts", a->path);
        if (a->count == 0xffff || a->directory_bytes == SATURATED || a->directory == SATURATED)
            return bad(a, "its 64-bit end record is missing");
    }
    if (a->directory > directory_end || a->directory_bytes > directory_end - a->directory)
        return bad(a, "its directory lies outside the file");
    if (a->count > HYV_ZIP_ENTRIES_MAX)
        return bad(a, "it has too many entries");
    if (a->count > a->directory_bytes / CENTRAL_BYTES)
        return bad(a, "its directory has no room for its entries");
    return 0;
}

/* Sizes and offset that did not fit 32 bits stand in an extra field, only those, in this order. */
static bool read_extra64(const uint8_t *extra, size_t bytes, uint64_t *const values[3])
{
    bool wanted = false;
    for (int i = 0; i < 3; i++)
        wanted |= *values[i] == SATURATED;
    for (size_t at = 0; wanted && bytes - at >= 4;) {
        const size_t length = (size_t)number(extra + at + 2, 2);
        const uint8_t *field = extra + at + 4;
        if (length > bytes - at - 4)
            return false;
        if (number(extra + at, 2) == EXTRA_64) {
            size_t used = 0;
            for (int i = 0; i < 3; i++) {
                if (*values[i] != SATURATED)
                    continue;
                if (length - used < 8)
                    return false;
                *values[i] = number(field + used, 8);
                used += 8;
            }
            return true;
        }
        at += 4 + length;
    }
    return !wanted;
}

/* Relative, of plain characters, and nowhere going up. */
static bool name_is_sound(const char *name, size_t n)
{
    if (n == 0 || n > HYV_ZIP_NAME_MAX || name[0] == '/' || hyv_utf8_check(name, n) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == '\\' || name[i] == 0x7f)
            return false;
        const bool begins = i == 0 || name[i - 1] == '/';
        if (begins && n - i >= 2 && name[i] == '.' && name[i + 1] == '.' &&
            (n - i == 2 || name[i + 2] == '/'))
            return false;
    }
    return true;
}

/* The header before the data must tell the same name; its own name and extra field are skipped. */
static int find_data(const archive *a, hyv_zip_entry *e)
{
    if (e->begin > a->directory || a->directory - e->begin < LOCAL_BYTES)
        return bad_entry(a, e, "begins outside the file");
    const uint8_t *h = a->data + e->begin;
    const uint64_t left = a->directory - e->begin - LOCAL_BYTES;
    const uint64_t skip = number(h + 26, 2) + number(h + 28, 2);
    if (number(h, 4) != LOCAL_MAGIC)
        return bad_entry(a, e, "has no header before its data");
    if (number(h + 26, 2) != e->name_bytes || e->name_bytes > left ||
        memcmp(h + LOCAL_BYTES, e->name, e->name_bytes) != 0)
        return bad_entry(a, e, "has another name before its data");
    if (skip > left || e->size > left - skip)
        return bad_entry(a, e, "ends outside the file");
    e->data = h + LOCAL_BYTES + skip;
    return 0;
}

/* The directory's entry at c, of which `left` bytes are there; *used: what it takes. */
static int read_entry(const archive *a, hyv_zip_entry *e, const uint8_t *c, uint64_t left,
                      uint64_t *used)
{
    if (left < CENTRAL_BYTES || number(c, 4) != CENTRAL_MAGIC)
        return bad(a, "its directory is damaged");
    const size_t name = (size_t)number(c + 28, 2), extra = (size_t)number(c + 30, 2);
    *used = CENTRAL_BYTES + name + extra + number(c + 32, 2);
    if (*used > left)
        return bad(a, "its directory is damaged");
    const unsigned flags = (unsigned)number(c + 8, 2), method = (unsigned)number(c + 10, 2);
    uint64_t packed = number(c + 20, 4);
    *e = (hyv_zip_entry){.name = (const char *)c + CENTRAL_BYTES,
                         .name_bytes = name,
                         .size = number(c + 24, 4),
                         .begin = number(c + 42, 4)};
    if (!name_is_sound(e->name, name))
        return bad(a, "an entry's name is empty, too long, or leads out of the archive");
    if (!read_extra64(c + CENTRAL_BYTES + name, extra,
                      (uint64_t *const[]){&e->size, &packed, &e->begin}))
        return bad_entry(a, e, "has no 64-bit numbers where they are needed");
    if (flags & FLAG_ENCRYPTED)
        return hyv_log_error(a->log, -ENOTSUP, "%s: zip entry '%.*s' is encrypted", a->path,
                             (int)name, e->name);
    e->method = method;
    if (method != 0)
        e->size = packed; /* its range counts, not what it would become */
    if (packed != e->size)
        return bad_entry(a, e, "is stored in another size than its own");
    if (number(c + 34, 2) != 0)
        return hyv_log_error(a->log, -ENOTSUP, "%s: a zip archive in several parts", a->path);
    return find_data(a, e);
}

static int by_begin(const void *a, const void *b)
{
    const hyv_zip_entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_names(const char *a, size_t n, const char *b, size_t m)
{
    const int order = memcmp(a, b, n < m ? n : m);
    return order ? order : n < m ? -1 : n > m;
}

static int by_name(const void *a, const void *b)
{
    const hyv_zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_bytes, y->name, y->name_bytes);
}

static int read_entries(const archive *a, hyv_zip *zip)
{
    uint64_t at = 0;
    for (uint64_t i = 0; i < a->count; i++) {
        uint64_t used = 0;
        const int err = read_entry(a, &zip->entries[i], a->data + a->directory + at,
                                   a->directory_bytes - at, &used);
        if (err < 0)
            return err;
        at += used;
    }
    if (at != a->directory_bytes)
        return bad(a, "its directory holds more than its entries");
    const size_t n = (size_t)a->count;
    qsort(zip->entries, n, sizeof(*zip->entries), by_begin);
    for (size_t i = 1; i < n; i++) {
        const hyv_zip_entry *e = &zip->entries[i - 1];
        if (zip->entries[i].begin < (uint64_t)(e->data - a->data) + e->size)
            return bad_entry(a, e, "overlaps the next one");
    }
    qsort(zip->entries, n, sizeof(*zip->entries), by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return bad_entry(a, &zip->entries[i], "is there twice");
    zip->count = (int64_t)n;
    return 0;
}

int hyv_zip_open(hyv_zip *zip, const hyv_map *map, const char *path, hyv_log *log)
{
    archive a = {.data = map->data, .size = map->size, .path = path, .log = log};
    *zip = (hyv_zip){0};
    int err = read_end(&a);
    if (err < 0)
        return err;
    zip->entries = hyv_malloc((size_t)a.count, sizeof(*zip->entries));
    if (!zip->entries)
        return hyv_log_error(log, -ENOMEM, "%s: not enough memory for its list of entries", path);
    err = read_entries(&a, zip);
    if (err < 0)
        hyv_zip_close(zip);
    return err;
}

void hyv_zip_close(hyv_zip *zip)
{
    hyv_free_host(zip->entries);
    *zip = (hyv_zip){0};
}

const hyv_zip_entry *hyv_zip_find(const hyv_zip *zip, const char *name)
{
    int64_t low = 0, high = zip->count;
    const size_t n = strlen(name);
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const hyv_zip_entry *e = &zip->entries[middle];
        const int order = compare_names(name, n, e->name, e->name_bytes);
        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
