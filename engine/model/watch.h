/* Looking at a module's output from outside, as a test does that compares stage by stage.
 *
 * A model that can be watched holds a hyv_watcher and calls hyv_watch_see behind each module whose
 * output the published code could show, under that module's name in the diffusers layout. Without a
 * watcher nothing is formatted or copied. Knows no model and no file.
 */
#ifndef HYV_MODEL_WATCH_H
#define HYV_MODEL_WATCH_H

#include <stdarg.h>
#include <stdio.h>

#include "../../kernels/ops.h"

/* `value` lies on the backend and is overwritten soon: whoever wants it downloads it at once. */
typedef void (*hyv_watch)(void *opaque, const char *module, hyv_mat value);

typedef struct hyv_watcher {
    void *opaque;
    hyv_watch see; /* NULL: nobody looks */
} hyv_watcher;

/* `format` makes the module's name. */
__attribute__((format(printf, 3, 4))) static inline void
hyv_watch_see(const hyv_watcher *watcher, hyv_mat value, const char *format, ...)
{
    if (!watcher->see)
        return;
    char module[128];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(module, sizeof(module), format, args);
    va_end(args);
    if (length >= 0)
        watcher->see(watcher->opaque, module, value);
}

#endif
