/* hyv convert: a model, or one part of it, in another type and container.
 *
 * Options of the library may stand before or behind the model. All checking is the library's; here
 * only what a command line can lack is missed. Must not know any type or container.
 */
#include <errno.h>

#include "cli.h"

int convert(job *j)
{
    if (!j->output || !*j->output)
        return report(EXIT_USAGE, "no output: name a file that ends in .safetensors or .gguf, or a "
                                  "folder, with -o");
    const int status = j->argument ? set_option(j, "model", j->argument) : 0;
    if (status)
        return status;
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    callbacks.opaque = j;
    callbacks.log = on_log;
    callbacks.progress = on_progress;
    callbacks.interrupt = on_interrupt;
    const int err = hyv_convert(j->options, j->output, j->type, j->component, &callbacks);
    return err == -EINVAL ? EXIT_USAGE : err < 0;
}
