/* The list of compiled-in backends: the only place that knows which there are.
 *
 * Opening allocates the backend's common part; everything else is the backend's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

extern const hyv_backend_ops hyv_null_backend;
extern const hyv_backend_ops hyv_cpu_backend;

static const hyv_backend_ops *const backends[] = {&hyv_cpu_backend, &hyv_null_backend};

int hyv_backend_open(hyv_backend **out, const char *name, const hyv_backend_config *config)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        if (strcmp(backends[i]->name, name) != 0)
            continue;
        hyv_backend *be = calloc(1, sizeof(*be));
        if (!be)
            return -ENOMEM;
        be->ops = backends[i];
        be->config = *config;
        atomic_init(&be->stop, 0);
        const int err = be->ops->create(be, config);
        if (err < 0) {
            free(be);
            return err;
        }
        *out = be;
        return 0;
    }
    return -ENODEV;
}

void hyv_backend_close(hyv_backend **out)
{
    hyv_backend *be = *out;
    if (!be)
        return;
    hyv_arena_resize(be, 0);
    be->ops->destroy(be);
    free(be);
    *out = NULL;
}
