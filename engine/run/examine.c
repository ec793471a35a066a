/* Listing a component's tensors and what is wrong with them: see examine.h.
 *
 * Knows no places of files, no configuration and no video.
 */
#include "examine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../base/util.h"
#include "values.h"

enum { REPORTED = -1000000 }; /* in hyv_tensor.used, which binding goes on to count up */

/* ---- what a component is --------------------------------------------------------------------- */

const char *hyv_component_family(enum hyv_component component)
{
    static const char *const families[HYV_COMPONENTS] = {"Llama", "CLIP", "HunyuanVideo",
                                                         "HunyuanVideo"};
    return families[component];
}

/* "BF16 100, F32 20": which types, and how many tensors of each; how many values in all. */
static int64_t append_types(hyv_string *s, hyv_checkpoint *file)
{
    const int64_t count = hyv_checkpoint_count(file);
    int64_t of[HYV_TYPES] = {0}, values = 0;
    for (int64_t i = 0; i < count; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(file, i);
        of[t->type]++;
        values += t->count;
    }
    const char *between = "";
    for (int t = 0; t < HYV_TYPES; t++)
        if (of[t]) {
            hyv_string_append(s, "%s%s %lld", between, hyv_type_name((hyv_type)t),
                              (long long)of[t]);
            between = ", ";
        }
    return values;
}

static void append_variant(hyv_string *s, const hyv_examiner *e)
{
    const hyv_model *m = e->model;
    const hyv_model_config *n = &m->config;
    switch (e->component) {
    case HYV_TEXT_ENCODER:
        hyv_string_append(s, "%lld of %lld layers used, width %lld, %lld heads",
                          (long long)n->llama.layers_used, (long long)n->llama.layers,
                          (long long)n->llama.width, (long long)n->llama.heads);
        break;
    case HYV_TEXT_ENCODER_2:
        hyv_string_append(s, "text model, %lld layers, width %lld", (long long)n->clip.layers,
                          (long long)n->clip.width);
        break;
    case HYV_TRANSFORMER:
        hyv_string_append(s,
                          "%s to video, %lld double and %lld single blocks, %lld heads of %lld, "
                          "guidance %s%s",
                          e->image ? "image" : "text", (long long)n->dit.double_blocks,
                          (long long)n->dit.single_blocks, (long long)n->dit.heads,
                          (long long)n->dit.head_dim, n->dit.guidance ? "embedded" : "not embedded",
                          hyv_parts_fast(&m->parts) ? ", for few steps by its path" : "");
        break;
    default:
        hyv_string_append(s, "causal 3-D VAE, %d blocks, %lld latent channels, scaling factor %g",
                          n->vae.blocks, (long long)n->vae.latent_channels, n->scaling_factor);
        break;
    }
}

static void tell_component(hyv_examiner *e, bool numbers)
{
    const hyv_model *m = e->model;
    const enum hyv_component c = e->component;
    hyv_string variant = {0}, types = {0}, summary = {0};
    if (numbers)
        append_variant(&variant, e);
    else if (c == HYV_TRANSFORMER && e->image)
        hyv_string_append(&variant, "image to video");
    hyv_component_info info = {.size = sizeof(info),
                               .component = hyv_component_name(c),
                               .file = m->parts.part[c].path,
                               .config = m->parts.part[c].config ? m->parts.part[c].config : "",
                               .family = hyv_component_family(c),
                               .naming = hyv_names_label(&m->names[c]),
                               .tensors = hyv_checkpoint_count(m->file[c]),
                               .bytes = hyv_checkpoint_bytes(m->file[c])};
    info.values = append_types(&types, m->file[c]);
    hyv_string_append(&summary, "%s: %s%s%s, %s names, %lld tensors (%s), %.1f MB: %s",
                      info.component, info.family, variant.length ? ", " : "",
                      hyv_string_text(&variant), info.naming, (long long)info.tensors,
                      hyv_string_text(&types), (double)info.bytes / 1e6, info.file);
    info.variant = hyv_string_text(&variant);
    info.types = hyv_string_text(&types);
    info.summary = hyv_string_text(&summary);
    if (variant.failed || types.failed || summary.failed)
        e->findings->err = -ENOMEM;
    hyv_log_write(e->run->log, HYV_LEVEL_INFO, "%s", info.summary);
    if (e->findings->to->component && !e->findings->stop)
        e->findings->stop = e->findings->to->component(e->findings->opaque, &info);
    hyv_string_free(&variant);
    hyv_string_free(&types);
    hyv_string_free(&summary);
}

/* ---- values ---------------------------------------------------------------------------------- */

static int on_bytes(void *opaque, size_t bytes)
{
    hyv_examiner *e = opaque;
    hyv_findings *f = e->findings;
    e->done += bytes;
    if (f->to->progress)
        f->stop |= f->to->progress(f->opaque, e->done < e->of ? e->done : e->of, e->of);
    return f->stop |= e->run->interrupt(e->run->opaque);
}

static void tell_tensor(hyv_examiner *e, const hyv_tensor_info *info, const char *kind,
                        enum hyv_severity severity, const char *valid, const char *advice,
                        const char *found)
{
    const hyv_finding finding = {.severity = severity,
                                 .kind = kind,
                                 .component = info->component,
                                 .file = info->file,
                                 .tensor = info->name,
                                 .found = found,
                                 .valid = valid,
                                 .advice = advice};
    hyv_finding_tell(e->findings, &finding);
}

static void tell_values(hyv_examiner *e, const hyv_tensor_info *info, const hyv_tensor *t,
                        const hyv_values *v)
{
    static const char advice[] = "download the file again; if it is whole, its conversion failed: "
                                 "take another";
    const bool used = info->state != HYV_TENSOR_UNUSED && info->state != HYV_TENSOR_FOREIGN;
    const enum hyv_severity severity = used ? HYV_SEVERITY_ERROR : HYV_SEVERITY_WARNING;
    char found[96];
    snprintf(found, sizeof(found), "%lld of %lld values are NaN", (long long)v->nan,
             (long long)t->count);
    if (v->nan)
        tell_tensor(e, info, "nan", severity, "finite values", advice, found);
    snprintf(found, sizeof(found), "%lld of %lld values are Inf", (long long)v->inf,
             (long long)t->count);
    if (v->inf)
        tell_tensor(e, info, "inf", severity, "finite values", advice, found);
    /* Biases may be; a matrix of zeros stands in a file whose space was never filled. */
    if (v->zero && used && t->rank >= 2 && t->count > 1)
        tell_tensor(e, info, "all_zero", severity, "values of a trained matrix",
                    "download the file again: this part of it was never filled",
                    "all values are 0");
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void describe(hyv_tensor_info *info, const hyv_examiner *e, const hyv_tensor *t)
{
    info->file = hyv_checkpoint_tensor_path(e->model->file[e->component], t);
    info->name = t->name;
    info->type = hyv_type_name(t->type);
    info->rank = t->rank;
    memcpy(info->shape, t->shape, sizeof(info->shape));
}

/* t: NULL if the tensor is missing. */
static void emit(hyv_examiner *e, hyv_tensor_info *info, const hyv_tensor *t)
{
    hyv_findings *f = e->findings;
    hyv_checkpoint *file = e->model->file[e->component];
    hyv_values v;
    info->size = sizeof(*info);
    info->component = hyv_component_name(e->component);
    if (t)
        describe(info, e, t);
    /* The tensors of a file's other components get their own turn. */
    const bool own = e->model->alone[e->component] || info->state != HYV_TENSOR_FOREIGN;
    if (t && own && f->to->values && !f->stop && hyv_type_is_weight(t->type) &&
        hyv_values_look(&v, file, t, e, on_bytes) == 0) {
        info->examined = 1;
        info->nan = v.nan;
        info->inf = v.inf;
        info->min = v.min;
        info->max = v.max;
        tell_values(e, info, t, &v);
    }
    if (f->to->tensor && own && !f->stop)
        f->stop = f->to->tensor(f->opaque, info);
}

/* Several of our tensors may lie in one of the file's. */
static bool is_reported(hyv_examiner *e, const char *name)
{
    hyv_string line = {0};
    hyv_string_append(&line, "\n%s\n", name);
    const bool is = strstr(hyv_string_text(&e->reported), hyv_string_text(&line)) != NULL;
    if (!is)
        hyv_string_append(&e->reported, "\n%s\n", name);
    if (line.failed || e->reported.failed)
        e->findings->err = -ENOMEM;
    hyv_string_free(&line);
    return is;
}

static void report_wrong(void *opaque, const char *name, bool misshapen, const char *note)
{
    hyv_examiner *e = opaque;
    hyv_checkpoint *file = e->model->file[e->component];
    hyv_tensor *t = misshapen ? hyv_checkpoint_find(file, name) : NULL;
    hyv_tensor_info info = {.name = name,
                            .type = "",
                            .state = t ? HYV_TENSOR_MISSHAPEN : HYV_TENSOR_MISSING,
                            .note = note,
                            .file = hyv_checkpoint_path(file)};
    if (t)
        t->used = REPORTED;
    if (is_reported(e, name))
        return;
    emit(e, &info, t);
    if (!t) {
        tell_tensor(e, &info, "missing_tensor", HYV_SEVERITY_ERROR, "every tensor of the model",
                    "download the file again, all shards of one revision; or it belongs to "
                    "another model",
                    note);
        return;
    }
    const char *valid = strstr(note, "expected ");
    char *found = valid ? hyv_strndup(note, (size_t)(valid - note - 2)) : NULL;
    tell_tensor(e, &info, "misshapen_tensor", HYV_SEVERITY_ERROR, valid ? valid + 9 : "",
                "take the file and its config.json from the same model", found ? found : note);
    hyv_free_host(found);
}

static void tell_type(hyv_examiner *e, const hyv_tensor_info *info)
{
    char found[64];
    snprintf(found, sizeof(found), "has type %s", info->type);
    tell_tensor(e, info, "unsupported_type", HYV_SEVERITY_ERROR,
                "F32, F16, BF16, F8_E4M3, F8_E5M2 and GGUF's block types",
                "take a file of another type", found);
}

static void report_present(hyv_examiner *e, bool bound)
{
    const hyv_model *m = e->model;
    const enum hyv_component c = e->component;
    const int64_t count = hyv_checkpoint_count(m->file[c]);
    for (int64_t i = 0; i < count && !e->findings->stop; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(m->file[c], i);
        hyv_tensor_info info = {.state = HYV_TENSOR_USED, .note = ""};
        if (t->used < 0)
            continue;
        if (t->used == 0 && hyv_names_unused(&m->names[c], c, t->name))
            info.state = HYV_TENSOR_UNUSED;
        else if (t->used == 0 && bound)
            info.state = HYV_TENSOR_FOREIGN;
        emit(e, &info, t);
        if (info.state == HYV_TENSOR_FOREIGN && m->alone[c])
            tell_tensor(e, &info, "extra_tensor", HYV_SEVERITY_WARNING,
                        "the tensors of the model alone",
                        "nothing, if videos are good; the file may be of another model",
                        "belongs to no part of the model");
        if (t->used > 0 && !hyv_type_is_weight(t->type))
            tell_type(e, &info);
    }
}

/* What binding said beside missing, misshapen and mistyped tensors, a quantisation for instance. */
static void tell_binding(hyv_examiner *e, hyv_network *n)
{
    hyv_log *log = e->model->log;
    const hyv_finding usual = {.severity = HYV_SEVERITY_ERROR,
                               .component = hyv_component_name(e->component)};
    if (log->error[0] && !strstr(log->error, "has type"))
        hyv_finding_tell_message(e->findings, &usual, log->error);
    if (hyv_weights_status(n->weights) == -ENOMEM)
        e->findings->err = -ENOMEM;
    hyv_log_clear(log);
}

void hyv_examine(hyv_examiner *e, enum hyv_component component, bool numbers)
{
    hyv_network n = {0};
    e->component = component;
    tell_component(e, numbers);
    if (numbers && hyv_network_bind(&n, e->model, component, e->dry, e, report_wrong) < 0)
        e->findings->err = -ENOMEM;
    else if (numbers)
        tell_binding(e, &n);
    if (numbers)
        hyv_network_unload(&n);
    if (!e->findings->err)
        report_present(e, numbers);
    hyv_string_free(&e->reported);
}
