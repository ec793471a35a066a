/* Converting a model: what the user asked for, checked; then file after file: see convert.h.
 *
 * The containers follow from the names of outputs and from the types; blueprint.c knows what is in
 * a file, recode.c writes it, convert_folder.c does the rest of a folder. Reads no values itself.
 */
#include "convert.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "blueprint.h"
#include "convert_folder.h"
#include "recode.h"
#include "variant.h"

static const struct {
    const char *name;
    hyv_type type;
} types[] = {{"same", HYV_TYPES}, {"f32", HYV_F32},   {"f16", HYV_F16},   {"bf16", HYV_BF16},
             {"f8", HYV_F8_E4M3}, {"Q8_0", HYV_Q8_0}, {"Q6_K", HYV_Q6_K}, {"Q4_K", HYV_Q4_K}};

typedef struct job {
    const char *out;
    hyv_type type;
    const hyv_writer *writer; /* of the one file; NULL: a folder */
    unsigned wanted;          /* bits of components */
    hyv_params params;
    hyv_model m;
    bool open;
    hyv_blueprint blueprint[HYV_COMPONENTS]; /* without writer: of a component that is not there */
    hyv_recoder *recoder;
    const hyv_run *run;
    hyv_log *log;
} job;

/* ---- what is asked for ----------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcasecmp(s + n - m, tail) == 0;
}

static int read_type(job *j, const char *name)
{
    hyv_string valid = {0};
    j->type = HYV_TYPES;
    if (!name || !*name)
        return 0;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcasecmp(types[i].name, name) == 0) {
            j->type = types[i].type;
            hyv_string_free(&valid);
            return 0;
        }
        hyv_string_append(&valid, "%s%s", i ? ", " : "", types[i].name);
    }
    const int err = hyv_log_error(j->log, -EINVAL, "type: \"%.60s\" is unknown; valid: %s", name,
                                  hyv_string_text(&valid));
    hyv_string_free(&valid);
    return err;
}

static int read_component(job *j, const char *name)
{
    j->wanted = (1u << HYV_COMPONENTS) - 1;
    if (!name || !*name)
        return 0;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        if (strcmp(hyv_component_name((enum hyv_component)c), name) == 0) {
            j->wanted = 1u << c;
            return 0;
        }
    return hyv_log_error(j->log, -EINVAL,
                         "component: \"%.60s\" is unknown; valid: text_encoder, text_encoder_2, "
                         "transformer, vae",
                         name);
}

static int read_output(job *j, const char *out)
{
    static const char *const others[] = {".pt", ".pth", ".bin", ".ckpt", ".sft"};
    j->out = out;
    if (!out || !*out)
        return hyv_log_error(j->log, -EINVAL, "there is no name for the output");
    if (ends_with(out, hyv_writer_safetensors.ending))
        j->writer = &hyv_writer_safetensors;
    else if (ends_with(out, hyv_writer_gguf.ending))
        j->writer = &hyv_writer_gguf;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (ends_with(out, others[i]))
            return hyv_log_error(j->log, -EINVAL,
                                 "%s: files that end in %s are not written; valid: .safetensors, "
                                 ".gguf, or the name of a folder",
                                 out, others[i]);
    if (j->type == HYV_TYPES || !j->writer || j->writer->holds(j->type))
        return 0;
    return hyv_log_error(j->log, -EINVAL,
                         "type %s: a %s file cannot hold it; end the name of the output in %s",
                         hyv_type_name(j->type), j->writer->name,
                         j->writer == &hyv_writer_gguf ? ".safetensors" : ".gguf");
}

static int read_model(job *j, const hyv_options *options)
{
    hyv_choice *choice = &j->params.choice;
    const int err = hyv_params_source(&j->params, options, j->log);
    if (err < 0)
        return err;
    if (strcmp(j->params.model, "test") == 0)
        return hyv_log_error(j->log, -EINVAL, "option model: test has no weights to convert");
    for (int c = 0; c < HYV_COMPONENTS; c++)
        if (*j->params.model || choice->component[c])
            choice->wanted |= j->wanted & 1u << c;
    if (!choice->wanted)
        return hyv_log_error(j->log, -EINVAL, "component: no option names a file for it");
    return 0;
}

/* Why a single file cannot be read is said as it is. */
static int try_file(const job *j)
{
    hyv_checkpoint *c = NULL;
    if (!hyv_path_is_file(j->params.model))
        return 0;
    const int err = hyv_checkpoint_open(&c, j->params.model, j->log);
    hyv_checkpoint_close(&c);
    return err;
}

/* ---- blueprints ------------------------------------------------------------------------------ */

static int count_components(const job *j)
{
    int count = 0;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        count += j->m.file[c] != NULL;
    return count;
}

static bool has_blocks(hyv_checkpoint *c)
{
    for (int64_t i = 0; i < hyv_checkpoint_count(c); i++)
        if (hyv_type_block(hyv_checkpoint_at(c, i)->type) > 1)
            return true;
    return false;
}

/* Type and container of a component in a folder: what is never quantised keeps its types. */
static void choose(const job *j, enum hyv_component c, hyv_type *type, const hyv_writer **writer)
{
    *type = hyv_blueprint_quantises(c, j->type) ? j->type : HYV_TYPES;
    const bool blocks = *type == HYV_TYPES ? j->type == HYV_TYPES && has_blocks(j->m.file[c])
                                           : hyv_type_block(*type) > 1;
    *writer = blocks ? &hyv_writer_gguf : &hyv_writer_safetensors;
}

static int make_blueprints(job *j)
{
    uint64_t work = 0;
    int64_t items = 0;
    int err = 0;
    for (int c = 0; c < HYV_COMPONENTS && !err; c++) {
        hyv_type type = j->type;
        const hyv_writer *writer = j->writer;
        hyv_blueprint *b = &j->blueprint[c];
        if (!j->m.file[c])
            continue;
        if (!writer)
            choose(j, (enum hyv_component)c, &type, &writer);
        err = hyv_blueprint_make(b, &j->m, (enum hyv_component)c, writer, type);
        for (int64_t i = 0; i < b->count; i++)
            work += hyv_recode_work(&b->list[i]);
        items += b->count;
        if (!err && b->left_out)
            hyv_log_write(j->log, HYV_LEVEL_INFO,
                          "%s: %lld tensors are no part of it and are left out, such as %s",
                          hyv_component_name((enum hyv_component)c), (long long)b->left_out,
                          b->left_out_name);
    }
    hyv_recode_begin(j->recoder, work, items);
    return err;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* "name: 856 tensors (400 BF16, 456 Q4_K), 7680.1 MB of 25640.0 MB, rounding error 6.5 %". */
static void report(const job *j, enum hyv_component c, const char *path)
{
    const hyv_blueprint *b = &j->blueprint[c];
    const double loss = hyv_recode_loss(j->recoder);
    int64_t of[HYV_TYPES] = {0};
    hyv_string s = {0};
    for (int64_t i = 0; i < b->count; i++)
        of[b->list[i].tensor.type]++;
    for (int t = 0; t < HYV_TYPES; t++)
        if (of[t])
            hyv_string_append(&s, "%s%lld %s", s.length ? ", " : "", (long long)of[t],
                              hyv_type_name((hyv_type)t));
    if (loss >= 0)
        hyv_string_append(&s, "), %.1f MB from %.1f MB, rounding error %.2g %% of the matrices",
                          (double)b->size_bytes / 1e6,
                          (double)hyv_checkpoint_bytes(j->m.file[c]) / 1e6, loss * 100);
    else
        hyv_string_append(&s, "), %.1f MB from %.1f MB", (double)b->size_bytes / 1e6,
                          (double)hyv_checkpoint_bytes(j->m.file[c]) / 1e6);
    hyv_log_write(j->log, HYV_LEVEL_INFO, "%s: %lld tensors (%s", path, (long long)b->count,
                  hyv_string_text(&s));
    hyv_string_free(&s);
}

/* What the new file alone does not tell: numbers of another size than the published, or of another
 * kind than what GGUF's keys said. */
static void warn_config(const job *j, enum hyv_component c)
{
    const char *config = j->m.parts.part[c].config;
    hyv_model_config told = {0};
    hyv_log quiet = {0};
    hyv_variant_read(&told, c, j->m.file[c], &j->m.names[c]);
    const int stem = (int)(strlen(j->out) - strlen(j->writer->ending));
    const hyv_llama_config *l = &j->m.config.llama;
    const bool keys = c == HYV_TEXT_ENCODER && j->writer == &hyv_writer_safetensors && !config &&
                      ((float)l->eps != (float)HYV_LLAMA_EPS || l->theta != HYV_LLAMA_THETA ||
                       l->width != HYV_LLAMA_WIDTH);
    const bool lacks = hyv_config_check(&told, c, "", &quiet) < 0;
    if (lacks && config && !(c == HYV_TEXT_ENCODER && j->writer == &hyv_writer_gguf))
        hyv_log_write(j->log, HYV_LEVEL_WARNING,
                      "%s: not of the published size: to be read it needs a copy of %s beside it, "
                      "named %.*s.json",
                      j->out, config, stem, j->out);
    else if (keys)
        hyv_log_write(
            j->log, HYV_LEVEL_WARNING,
            "%s: not of the published size, which only a config.json can tell; convert to "
            "a folder to have one written",
            j->out);
}

static int write_file(job *j)
{
    int c = 0;
    while (!j->m.file[c])
        c++;
    const int err = hyv_recode_write(j->recoder, &j->blueprint[c], j->m.file[c], j->out);
    if (!err) {
        report(j, (enum hyv_component)c, j->out);
        warn_config(j, (enum hyv_component)c);
    }
    return err;
}

static int write_component(job *j, enum hyv_component c, const char *folder)
{
    hyv_string name = {0};
    char *own;
    int err = hyv_convert_subfolder(&own, folder, hyv_component_name(c), j->log);
    if (err)
        return err;
    hyv_string_append(&name, "%s/%s%s", own,
                      c < HYV_TRANSFORMER ? "model" : "diffusion_pytorch_model",
                      j->blueprint[c].writer->ending);
    err = name.failed ? hyv_log_error(j->log, -ENOMEM, "not enough memory for converting")
                      : hyv_convert_config(own, &j->m, c);
    if (!err)
        err = hyv_recode_write(j->recoder, &j->blueprint[c], j->m.file[c], name.text);
    if (!err)
        report(j, c, hyv_component_name(c));
    hyv_string_free(&name);
    hyv_free_host(own);
    return err;
}

static int write_folder(job *j)
{
    char *partial, *path = hyv_strdup(j->out);
    if (!path)
        return hyv_log_error(j->log, -ENOMEM, "not enough memory for converting");
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    int err = hyv_convert_folder_new(&partial, path, j->log);
    if (!err)
        err = hyv_convert_extras(partial, &j->m, j->params.model, &j->params.choice);
    for (int c = 0; c < HYV_COMPONENTS && !err; c++)
        if (j->m.file[c])
            err = write_component(j, (enum hyv_component)c, partial);
    err = hyv_convert_folder_close(&partial, path, err, j->log);
    hyv_free_host(path);
    return err;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int open_model(job *j)
{
    int err = try_file(j);
    if (err >= 0)
        err = hyv_model_open_files(&j->m, j->params.model, &j->params.choice, j->log);
    j->open = err >= 0;
    if (err >= 0 && j->writer && count_components(j) > 1)
        err = hyv_log_error(j->log, -EINVAL,
                            "%s: one file for a model of %d components; name one of them as the "
                            "component, or a folder as the output",
                            j->out, count_components(j));
    return err;
}

int hyv_convert_model(const hyv_options *options, const hyv_conversion *conversion,
                      const hyv_run *run)
{
    job *j = hyv_calloc(1, sizeof(*j));
    if (!j)
        return hyv_log_error(run->log, -ENOMEM, "not enough memory for converting");
    j->run = run;
    j->log = run->log;
    int err = read_type(j, conversion->type);
    if (err >= 0)
        err = read_component(j, conversion->component);
    if (err >= 0)
        err = read_output(j, conversion->out);
    if (err >= 0)
        err = read_model(j, options);
    if (err >= 0)
        err = open_model(j);
    if (err >= 0)
        err = hyv_recoder_new(&j->recoder, j->params.threads, run);
    if (err >= 0)
        err = make_blueprints(j);
    if (err >= 0)
        err = j->writer ? write_file(j) : write_folder(j);
    for (int c = 0; c < HYV_COMPONENTS; c++)
        hyv_blueprint_free(&j->blueprint[c]);
    hyv_recoder_free(&j->recoder);
    if (j->open)
        hyv_model_close(&j->m);
    hyv_params_clear(&j->params);
    hyv_free_host(j);
    return err;
}
