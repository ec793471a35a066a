/* A Python pickle as a tree of inert values. Nothing is looked up, imported, called or run.
 *
 * Only the instructions that write plain data are understood (numbers, text, tuples, lists, dicts),
 * and symbols of a list that the caller gives: a symbol is a number, a call of one is a node with
 * its arguments. Anything else is refused by name. Text and the tree point into the pickle.
 */
#ifndef HYV_CHECKPOINT_PICKLE_H
#define HYV_CHECKPOINT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/log.h"

typedef enum hyv_pickle_kind {
    HYV_PICKLE_NONE,
    HYV_PICKLE_BOOL,
    HYV_PICKLE_INT,
    HYV_PICKLE_FLOAT, /* its value is not kept */
    HYV_PICKLE_TEXT,
    HYV_PICKLE_BYTES,
    HYV_PICKLE_TUPLE,
    HYV_PICKLE_LIST,
    HYV_PICKLE_DICT,      /* its items are keys and values in turn */
    HYV_PICKLE_SYMBOL,    /* number: which of the allowed ones */
    HYV_PICKLE_CALL,      /* number: of the symbol; items: its arguments */
    HYV_PICKLE_PERSISTENT /* what the writer stored elsewhere; items: how it describes that */
} hyv_pickle_kind;

typedef struct hyv_pickle_value {
    hyv_pickle_kind kind;
    uint32_t first, last, count; /* items, see hyv_pickle_next */
    int64_t number;              /* of INT, BOOL, SYMBOL, CALL; bytes of TEXT */
    const char *text;            /* without a NUL */
} hyv_pickle_value;

typedef struct hyv_pickle_cell {
    uint32_t value, next;
} hyv_pickle_cell;

typedef struct hyv_pickle {
    hyv_pickle_value *values; /* [0] is none */
    hyv_pickle_cell *cells;   /* [0] is the end of every list */
    uint32_t value_count, value_capacity, cell_count, cell_capacity;
    uint32_t root;
} hyv_pickle;

/* Which symbols may appear, as "module name", NULL at the end; the first must be
 * "collections OrderedDict", whose calls become dicts. After an error there is nothing to close:
 * -EBADMSG, -ENOTSUP (what is not plain data, named), -ENOMEM; one message. */
int hyv_pickle_read(hyv_pickle *p, const uint8_t *data, size_t size, const char *const *symbols,
                    const char *path, hyv_log *log);
void hyv_pickle_close(hyv_pickle *p);

const hyv_pickle_value *hyv_pickle_root(const hyv_pickle *p);

/* Walks the items of a value: start with *cell = value->first; NULL at the end. */
const hyv_pickle_value *hyv_pickle_next(const hyv_pickle *p, uint32_t *cell);

/* The first `most` items of a value into items[]; those that are not there are NULL. */
void hyv_pickle_items(const hyv_pickle *p, const hyv_pickle_value *v,
                      const hyv_pickle_value **items, int most);

/* True if v is this text. */
bool hyv_pickle_is(const hyv_pickle_value *v, const char *text);

#endif
