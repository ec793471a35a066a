/* Refuses every model: stands in until a model can be run. */
#include "pipeline.h"

#include <errno.h>

static int pipeline_open(void **self, const hyv_params *params, const hyv_run *run)
{
    (void)self;
    return hyv_log_error(run->log, -ENOTSUP, "model %s: only the model \"test\" can be run",
                         params->model);
}

static int pipeline_start(void *self, const hyv_params *params, hyv_video *video)
{
    (void)self, (void)params, (void)video;
    return -ENOTSUP;
}

static int pipeline_read(void *self, const float **rgb)
{
    (void)self, (void)rgb;
    return -ENOTSUP;
}

static void pipeline_stop(void *self)
{
    (void)self;
}

static void pipeline_close(void **self)
{
    *self = NULL;
}

static int pipeline_inspect(const hyv_params *params, const hyv_run *run,
                            hyv_tensor_function *tensor, void *opaque)
{
    (void)tensor, (void)opaque;
    return hyv_log_error(run->log, -ENOTSUP, "model %s: only the model \"test\" is known",
                         params->model);
}

const hyv_source hyv_pipeline = {
    .open = pipeline_open,
    .start = pipeline_start,
    .read = pipeline_read,
    .stop = pipeline_stop,
    .close = pipeline_close,
    .inspect = pipeline_inspect,
};
