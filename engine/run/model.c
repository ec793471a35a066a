/* Opening a model: find its files, tell their naming, learn the numbers, check every tensor.
 *
 * Knows no video.
 */
#include "model.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"
#include "gguf_tokenizer.h"
#include "variant.h"

static int refuse_file(const hyv_model *m, enum hyv_component c, const hyv_identity *found)
{
    hyv_string holds = {0};
    for (int i = 0; i < HYV_COMPONENTS; i++)
        if (found->names[i].naming)
            hyv_string_append(&holds, "%s%s", holds.length ? ", " : "",
                              hyv_component_name((enum hyv_component)i));
    const int err = hyv_log_error(
        m->log, -ENOTSUP, "%s: this is %s%s, not the %s of HunyuanVideo", m->parts.part[c].path,
        found->foreign ? found->foreign
        : holds.length ? "the "
                       : "a file of unknown tensors",
        found->foreign ? "" : hyv_string_text(&holds), hyv_component_name(c));
    hyv_string_free(&holds);
    return err;
}

int hyv_model_open_file(hyv_model *m, enum hyv_component c)
{
    hyv_identity found;
    const int err = hyv_checkpoint_open(&m->file[c], m->parts.part[c].path, m->log);
    if (err < 0)
        return err;
    hyv_names_identify(&found, m->file[c]);
    m->names[c] = found.names[c];
    m->alone[c] = found.components == 1;
    return m->names[c].naming ? 0 : refuse_file(m, c, &found);
}

int hyv_model_read_numbers(hyv_model *m, enum hyv_component c)
{
    const hyv_part *part = &m->parts.part[c];
    int err = 0;
    hyv_variant_read(&m->config, c, m->file[c], &m->names[c]);
    if (part->config)
        err = hyv_config_read(&m->config, c, part->config, m->log);
    return err < 0 ? err : hyv_config_check(&m->config, c, part->path, m->log);
}

/* Text to video and image to video with a replaced first frame have the same tensors. Without a
 * configuration the file's name or the user must tell. */
int hyv_model_check_task(const hyv_model *m, const hyv_choice *choice)
{
    const hyv_part *part = &m->parts.part[HYV_TRANSFORMER];
    const enum hyv_task chosen = choice ? choice->task : HYV_TASK_AUTO;
    const enum hyv_task named = hyv_parts_task(&m->parts);
    if (chosen == HYV_TASK_I2V)
        return hyv_log_error(m->log, -ENOSYS, "option task: image to video is not run here yet");
    if (!part->path || part->config || chosen == HYV_TASK_T2V)
        return 0;
    if (named == HYV_TASK_I2V)
        return hyv_log_error(m->log, -ENOSYS,
                             "%s: an image-to-video model by its name, which text to video cannot "
                             "run; the tensors do not tell: set task=t2v if it is none",
                             part->path);
    if (named == HYV_TASK_AUTO)
        hyv_log_write(m->log, HYV_LEVEL_VERBOSE,
                      "%s: taken for text to video; its tensors do not tell it from image to video",
                      part->path);
    return 0;
}

int hyv_model_open_tokens(hyv_model *m, enum hyv_tokenizer which, const char *model,
                          const hyv_choice *choice, char **file)
{
    static const char *const wanted[HYV_TOKENIZERS][3] = {
        {"text encoder", "tokenizer.json of Llama 3", "tokenizer"},
        {"second text encoder", "vocab.json and merges.txt, or tokenizer.json, of CLIP-L",
         "tokenizer_2"}};
    hyv_bpe **bpe = which == HYV_TOKENIZER_LLAMA ? &m->llm_tokens : &m->clip_tokens;
    hyv_string looked = {0};
    char *path;
    int err = hyv_parts_tokenizer(&path, &looked, &m->parts, which, model, choice, m->log);
    if (err > 0)
        err = hyv_bpe_open(bpe, path, m->log);
    else if (err == 0 && which == HYV_TOKENIZER_LLAMA && m->file[HYV_TEXT_ENCODER])
        err = hyv_gguf_tokenizer(bpe, m->file[HYV_TEXT_ENCODER],
                                 m->parts.part[HYV_TEXT_ENCODER].path, m->log);
    if (err >= 0 && !*bpe)
        err = hyv_log_error(m->log, -ENOENT,
                            "there is no tokenizer for the %s: put %s into one of %s, or set "
                            "option %s to where it is",
                            wanted[which][0], wanted[which][1], hyv_string_text(&looked),
                            wanted[which][2]);
    if (file)
        *file = path;
    else
        hyv_free_host(path);
    hyv_string_free(&looked);
    return err;
}

/* Binds every component on the null backend, which finds missing and misshapen tensors. */
static int check_tensors(const hyv_model *m)
{
    hyv_backend *dry = NULL;
    int err = hyv_backend_open(&dry, "null", &(hyv_backend_config){0});
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++) {
        hyv_network n = {0};
        if (m->file[c])
            err = hyv_network_load(&n, m, (enum hyv_component)c, dry);
        hyv_network_unload(&n);
    }
    hyv_backend_close(&dry);
    return err;
}

/* Everything but the tokenizers. */
static int open_files(hyv_model *m, const char *model, const hyv_choice *choice, hyv_log *log)
{
    *m = (hyv_model){.log = log};
    int err = hyv_parts_find(&m->parts, model, choice, log);
    if (err >= 0 && m->parts.index)
        err = hyv_config_index(m->parts.index, log);
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++) {
        if (!m->parts.part[c].path) /* only when not all of them are wanted */
            continue;
        if ((err = hyv_model_open_file(m, (enum hyv_component)c)) >= 0)
            err = hyv_model_read_numbers(m, (enum hyv_component)c);
    }
    if (err >= 0)
        err = hyv_model_check_task(m, choice);
    m->config.shift = hyv_parts_fast(&m->parts) ? HYV_SHIFT_FAST : HYV_SHIFT;
    if (err >= 0 && m->parts.scheduler)
        err = hyv_config_scheduler(&m->config.shift, m->parts.scheduler, log);
    bool whole = true;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        whole = whole && m->file[c];
    if (err < 0 || !whole)
        return err;
    return hyv_config_check_fit(&m->config, *model ? model : "the model", log);
}

int hyv_model_open_files(hyv_model *m, const char *model, const hyv_choice *choice, hyv_log *log)
{
    int err = open_files(m, model, choice, log);
    if (err >= 0)
        err = check_tensors(m);
    if (err < 0)
        hyv_model_close(m);
    return err < 0 ? err : 0;
}

static int open_tokenizers(hyv_model *m, const char *model, const hyv_choice *choice)
{
    const int err = hyv_model_open_tokens(m, HYV_TOKENIZER_LLAMA, model, choice, NULL);
    return err < 0 ? err : hyv_model_open_tokens(m, HYV_TOKENIZER_CLIP, model, choice, NULL);
}

int hyv_model_open(hyv_model *m, const char *model, const hyv_choice *choice, hyv_log *log)
{
    int err = open_files(m, model, choice, log);
    if (err >= 0)
        err = check_tensors(m);
    if (err >= 0)
        err = open_tokenizers(m, model, choice);
    if (err < 0)
        hyv_model_close(m);
    return err < 0 ? err : 0;
}

void hyv_model_close(hyv_model *m)
{
    for (int c = 0; c < HYV_COMPONENTS; c++)
        hyv_checkpoint_close(&m->file[c]);
    hyv_bpe_close(&m->llm_tokens);
    hyv_bpe_close(&m->clip_tokens);
    hyv_parts_free(&m->parts);
}

static size_t network_size(enum hyv_component component)
{
    static const size_t sizes[HYV_COMPONENTS] = {sizeof(hyv_llama), sizeof(hyv_clip),
                                                 sizeof(hyv_dit), sizeof(hyv_vae)};
    return sizes[component];
}

static void bind(hyv_network *n, const hyv_binder *b)
{
    const hyv_model_config *c = &n->model->config;
    switch (n->component) {
    case HYV_TEXT_ENCODER:
        hyv_llama_bind(n->net.llama, &c->llama, b);
        break;
    case HYV_TEXT_ENCODER_2:
        hyv_clip_bind(n->net.clip, &c->clip, b);
        break;
    case HYV_TRANSFORMER:
        hyv_dit_bind(n->net.dit, &c->dit, b);
        break;
    default:
        hyv_vae_bind(n->net.vae, &c->vae, b);
        break;
    }
}

int hyv_network_bind(hyv_network *n, const hyv_model *m, enum hyv_component component,
                     hyv_backend *be, void *opaque, hyv_weights_fault *report)
{
    *n = (hyv_network){.model = m, .component = component};
    n->net.any = hyv_calloc(1, network_size(component));
    if (!n->net.any || hyv_weights_new(&n->weights, be, m->file[component], &m->names[component],
                                       hyv_component_name(component), m->log) < 0)
        return hyv_log_error(m->log, -ENOMEM, "out of memory");
    hyv_weights_report(n->weights, opaque, report);
    const hyv_binder binder = hyv_weights_binder(n->weights);
    bind(n, &binder);
    return 0;
}

int hyv_network_load(hyv_network *n, const hyv_model *m, enum hyv_component component,
                     hyv_backend *be)
{
    const int err = hyv_network_bind(n, m, component, be, NULL, NULL);
    return err < 0 ? err : hyv_weights_status(n->weights);
}

int hyv_network_list(const hyv_model *m, enum hyv_component component, const hyv_binder *b)
{
    hyv_model all = *m;
    hyv_network n = {.model = &all, .component = component};
    all.config.llama.layers_used = all.config.llama.layers;
    n.net.any = hyv_calloc(1, network_size(component));
    if (n.net.any)
        bind(&n, b);
    const bool memory = n.net.any != NULL;
    hyv_free_host(n.net.any);
    return memory ? 0 : hyv_log_error(m->log, -ENOMEM, "out of memory");
}

void hyv_network_unload(hyv_network *n)
{
    hyv_weights_free(&n->weights);
    hyv_free_host(n->net.any);
    if (n->model)
        hyv_checkpoint_drop(n->model->file[n->component]);
    *n = (hyv_network){0};
}
