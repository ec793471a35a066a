/* Everything that is wrong with a model, in one run: see doctor.h.
 *
 * Follows the order in which model.c opens one: places, configurations, files, numbers, tensors,
 * what the components must have in common, tokenizers. Messages of those steps become findings;
 * what only the doctor looks for (a configuration that contradicts the tensors, merges that were
 * cut, an untold task) is found here. Knows no video.
 */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../base/util.h"
#include "examine.h"
#include "variant.h"

typedef struct doctor {
    const hyv_params *params;
    hyv_findings findings;
    hyv_log quiet; /* of all below: errors are taken from it, warnings come through it */
    hyv_model model;
    hyv_examiner examiner;
    bool numbers[HYV_COMPONENTS]; /* known */
    const char *at;               /* the component whose turn it is */
} doctor;

static void on_warning(void *opaque, int level, const char *message)
{
    doctor *d = opaque;
    const hyv_finding usual = {
        .severity = HYV_SEVERITY_WARNING, .component = d->at, .kind = "warning"};
    if (level == HYV_LEVEL_WARNING)
        hyv_finding_tell_message(&d->findings, &usual, message);
}

/* A step has failed; what it said is taken for a finding. */
static void tell_error(doctor *d, int err, const char *file, const char *kind, const char *valid,
                       const char *advice)
{
    const hyv_finding usual = {.severity = HYV_SEVERITY_ERROR,
                               .component = d->at,
                               .file = file,
                               .kind = kind,
                               .valid = valid,
                               .advice = advice};
    if (err == -ENOMEM)
        d->findings.err = err;
    else
        hyv_finding_tell_message(&d->findings, &usual, d->quiet.error);
    hyv_log_clear(&d->quiet);
}

static void tell_place(void *opaque, enum hyv_component c, const char *path, const char *message,
                       bool harmless)
{
    doctor *d = opaque;
    const hyv_finding usual = {.severity = harmless ? HYV_SEVERITY_WARNING : HYV_SEVERITY_ERROR,
                               .component = c < HYV_COMPONENTS ? hyv_component_name(c) : "",
                               .file = path,
                               .kind = "foreign_family",
                               .valid = "HunyuanVideo's files",
                               .advice = "download HunyuanVideo's, or leave the file out"};
    hyv_finding_tell_message(&d->findings, &usual, message);
}

/* ---- configurations -------------------------------------------------------------------------- */

static const char config_advice[] = "take config.json and weights from the same model";

static void check_file(doctor *d, const char *path, int (*check)(const char *, hyv_log *))
{
    const int err = path ? check(path, &d->quiet) : 0;
    if (err < 0)
        tell_error(d, err, path, "bad_config", "what the published model has", config_advice);
}

static int check_scheduler(const char *path, hyv_log *log)
{
    double shift;
    return hyv_config_scheduler(&shift, path, log);
}

static void tell_contradiction(void *opaque, enum hyv_component c, const char *key, int64_t is,
                               int64_t should)
{
    doctor *d = opaque;
    char text[96], valid[96];
    snprintf(text, sizeof(text), "%s is %lld, which contradicts the tensors", key, (long long)is);
    snprintf(valid, sizeof(valid), "%lld, as the tensors show", (long long)should);
    const hyv_finding finding = {.severity = HYV_SEVERITY_ERROR,
                                 .kind = "config_contradicts",
                                 .component = hyv_component_name(c),
                                 .file = d->model.parts.part[c].config,
                                 .found = text,
                                 .valid = valid,
                                 .advice = config_advice};
    hyv_finding_tell(&d->findings, &finding);
}

static void forget_numbers(hyv_model_config *config, enum hyv_component c)
{
    switch (c) {
    case HYV_TRANSFORMER:
        config->dit = (hyv_dit_config){0};
        break;
    case HYV_TEXT_ENCODER:
        config->llama = (hyv_llama_config){0};
        break;
    case HYV_TEXT_ENCODER_2:
        config->clip = (hyv_clip_config){0};
        break;
    default:
        config->vae = (hyv_vae_config){0};
        break;
    }
}

/* Where the config.json cannot be used, the shapes may tell enough to go on. */
static void read_numbers(doctor *d, enum hyv_component c)
{
    hyv_model *m = &d->model;
    hyv_part *part = &m->parts.part[c];
    const int err = hyv_model_read_numbers(m, c);
    d->numbers[c] = err >= 0;
    if (err >= 0) {
        if (part->config)
            hyv_variant_compare(&m->config, c, m->file[c], &m->names[c], d, tell_contradiction);
        return;
    }
    d->examiner.image |= err == -ENOSYS;
    tell_error(d, err, part->config ? part->config : part->path, "bad_config",
               "what the published model has", config_advice);
    char *config = part->config;
    part->config = NULL;
    forget_numbers(&m->config, c);
    d->numbers[c] = config && hyv_model_read_numbers(m, c) >= 0;
    part->config = config;
    hyv_log_clear(&d->quiet);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void open_component(doctor *d, enum hyv_component c)
{
    hyv_model *m = &d->model;
    const char *path = m->parts.part[c].path;
    d->at = hyv_component_name(c);
    const int err = path ? hyv_model_open_file(m, c) : 0;
    if (err < 0) {
        tell_error(d, err, path, NULL, NULL, NULL);
        hyv_checkpoint_close(&m->file[c]);
    }
    if (m->file[c])
        read_numbers(d, c);
    else if (m->parts.part[c].config) {
        /* For what it says of itself. */
        const int bad = hyv_config_read(&m->config, c, m->parts.part[c].config, &d->quiet);
        if (bad < 0)
            tell_error(d, bad, m->parts.part[c].config, "bad_config",
                       "what the published model has", config_advice);
    }
    if (c == HYV_TRANSFORMER && !m->parts.part[c].config)
        d->examiner.image |= hyv_parts_task(&m->parts) == HYV_TASK_I2V;
    if (m->file[c])
        d->examiner.of += hyv_checkpoint_bytes(m->file[c]);
}

/* Text to video, and image to video that replaces the first frame, have the same tensors. */
static void check_task(doctor *d)
{
    const hyv_part *part = &d->model.parts.part[HYV_TRANSFORMER];
    const hyv_choice *choice = &d->params->choice;
    const int err = hyv_model_check_task(&d->model, choice);
    d->at = hyv_component_name(HYV_TRANSFORMER);
    if (err < 0)
        tell_error(d, err, part->path, "image_to_video", "a text-to-video model",
                   "take the text-to-video model");
    else if (!part->config && choice->task == HYV_TASK_AUTO &&
             hyv_parts_task(&d->model.parts) == HYV_TASK_AUTO) {
        const hyv_finding finding = {
            .severity = HYV_SEVERITY_WARNING,
            .kind = "ambiguous_task",
            .component = d->at,
            .file = part->path,
            .found = "may be text to video or image to video: both have these tensors, and "
                     "neither a config.json nor the path tells",
            .valid = "a config.json beside it, t2v in its path, or the option task",
            .advice = "set task=t2v if it is text to video; it is taken for that meanwhile"};
        hyv_finding_tell(&d->findings, &finding);
    }
}

/* What all components together must be. */
static void check_whole(doctor *d)
{
    const char *model = *d->params->model ? d->params->model : "the model";
    bool all = true;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        all &= d->model.file[c] && d->numbers[c];
    if (d->model.file[HYV_TRANSFORMER])
        check_task(d);
    d->at = "";
    const int err = all ? hyv_config_check_fit(&d->model.config, model, &d->quiet) : 0;
    if (err < 0)
        tell_error(d, err, d->params->model, NULL, NULL, NULL);
}

/* ---- tokenizers ------------------------------------------------------------------------------ */

static const struct {
    const char *name, *family;
    enum hyv_component encoder;
} tokenizers[HYV_TOKENIZERS] = {{"tokenizer", "Llama", HYV_TEXT_ENCODER},
                                {"tokenizer_2", "CLIP", HYV_TEXT_ENCODER_2}};

static const char tokenizer_advice[] =
    "download the tokenizer again, all its files of one revision";

/* Files that were passed over since they do not look like a tokenizer: why not? */
static bool tell_passed(doctor *d, enum hyv_tokenizer which)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    const char *chosen = d->params->choice.tokenizer[which];
    char *folder =
        chosen ? hyv_strdup(chosen) : hyv_path_join(d->params->model, tokenizers[which].name);
    bool told = false;
    for (int i = 0; folder && i < 2 && !told; i++) {
        char *path =
            hyv_path_is_file(folder) ? hyv_strdup(folder) : hyv_path_join(folder, names[i]);
        hyv_bpe *bpe = NULL;
        const int err = path && hyv_path_is_file(path) ? hyv_bpe_open(&bpe, path, &d->quiet) : 0;
        told = err < 0;
        if (!path)
            d->findings.err = -ENOMEM;
        if (told)
            tell_error(d, err, path, "damaged_tokenizer", "the tokenizer's own file",
                       tokenizer_advice);
        hyv_bpe_close(&bpe);
        hyv_free_host(path);
    }
    if (!folder)
        d->findings.err = -ENOMEM;
    hyv_free_host(folder);
    return told;
}

static void tell_tokenizer(doctor *d, enum hyv_tokenizer which, const hyv_bpe *bpe,
                           const char *file)
{
    const hyv_inspection *to = d->findings.to;
    hyv_string summary = {0};
    hyv_string_append(&summary, "%s: byte-pair encoding of %s, %lld tokens: %s", d->at,
                      tokenizers[which].family, (long long)hyv_bpe_size(bpe), file);
    const hyv_component_info info = {.size = sizeof(info),
                                     .component = d->at,
                                     .file = file,
                                     .config = "",
                                     .family = tokenizers[which].family,
                                     .variant = "",
                                     .naming = "",
                                     .types = "",
                                     .values = hyv_bpe_size(bpe),
                                     .summary = hyv_string_text(&summary)};
    if (summary.failed)
        d->findings.err = -ENOMEM;
    hyv_log_write(d->examiner.run->log, HYV_LEVEL_INFO, "%s", info.summary);
    if (to->component && !d->findings.stop)
        d->findings.stop = to->component(d->findings.opaque, &info);
    hyv_string_free(&summary);
}

static void check_merges(doctor *d, const hyv_bpe *bpe, const char *file)
{
    char example[HYV_BPE_EXAMPLE_BYTES], found[128];
    const int64_t unmade = hyv_bpe_unmade(bpe, example);
    if (unmade < 0)
        d->findings.err = (int)unmade;
    if (unmade <= 0)
        return;
    snprintf(found, sizeof(found), "no merge makes %lld of its tokens, '%s' for instance",
             (long long)unmade, example);
    const hyv_finding finding = {.severity = HYV_SEVERITY_ERROR,
                                 .kind = "merges_cut",
                                 .component = d->at,
                                 .file = file,
                                 .found = found,
                                 .valid = "a merge for every token of more than one byte",
                                 .advice = tokenizer_advice};
    hyv_finding_tell(&d->findings, &finding);
}

static void check_vocabulary(doctor *d, enum hyv_tokenizer which, const hyv_bpe *bpe,
                             const char *file)
{
    const hyv_model_config *c = &d->model.config;
    const int64_t rows = which == HYV_TOKENIZER_LLAMA ? c->llama.vocabulary : c->clip.vocabulary;
    char found[96], valid[96];
    if (!d->numbers[tokenizers[which].encoder] || hyv_bpe_size(bpe) <= rows)
        return;
    snprintf(found, sizeof(found), "has %lld tokens, more than the text encoder has embeddings",
             (long long)hyv_bpe_size(bpe));
    snprintf(valid, sizeof(valid), "at most %lld tokens", (long long)rows);
    const hyv_finding finding = {.severity = HYV_SEVERITY_ERROR,
                                 .kind = "wrong_tokenizer",
                                 .component = d->at,
                                 .file = file,
                                 .found = found,
                                 .valid = valid,
                                 .advice = "take encoder and tokenizer from the same model"};
    hyv_finding_tell(&d->findings, &finding);
}

static void check_tokenizer(doctor *d, enum hyv_tokenizer which)
{
    hyv_model *m = &d->model;
    const hyv_bpe *const *bpe =
        (const hyv_bpe *const *)(which == HYV_TOKENIZER_LLAMA ? &m->llm_tokens : &m->clip_tokens);
    char *file = NULL;
    d->at = tokenizers[which].name;
    const int err = hyv_model_open_tokens(m, which, d->params->model, &d->params->choice, &file);
    if (err < 0) {
        char message[sizeof(d->quiet.error)];
        memcpy(message, d->quiet.error, sizeof(message));
        hyv_log_clear(&d->quiet);
        if (file || err == -ENOMEM || !tell_passed(d, which)) {
            memcpy(d->quiet.error, message, sizeof(message));
            tell_error(d, err, file ? file : d->params->model, "damaged_tokenizer",
                       "the tokenizer's own files", tokenizer_advice);
        }
    } else {
        const char *place = file ? file : m->parts.part[tokenizers[which].encoder].path;
        tell_tokenizer(d, which, *bpe, place);
        check_merges(d, *bpe, place);
        check_vocabulary(d, which, *bpe, place);
    }
    hyv_free_host(file);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void examine_all(doctor *d)
{
    d->at = "";
    check_file(d, d->model.parts.index, hyv_config_index);
    check_file(d, d->model.parts.scheduler, check_scheduler);
    for (int c = 0; c < HYV_COMPONENTS && !d->findings.err; c++)
        open_component(d, (enum hyv_component)c);
    for (int c = 0; c < HYV_COMPONENTS && !d->findings.err; c++) {
        d->at = hyv_component_name((enum hyv_component)c);
        d->findings.stop |= d->examiner.run->interrupt(d->examiner.run->opaque);
        if (d->model.file[c])
            hyv_examine(&d->examiner, (enum hyv_component)c, d->numbers[c]);
    }
    if (!d->findings.err)
        check_whole(d);
    for (int i = 0; i < HYV_TOKENIZERS && !d->findings.err; i++)
        check_tokenizer(d, (enum hyv_tokenizer)i);
}

int hyv_doctor_examine(const hyv_params *params, const hyv_run *run, const hyv_inspection *to,
                       void *opaque)
{
    doctor d = {.params = params, .at = "", .findings = {to, opaque, run->log, 0, 0, 0}};
    d.quiet = (hyv_log){.opaque = &d, .write = on_warning};
    d.model.log = &d.quiet;
    d.examiner = (hyv_examiner){.model = &d.model, .findings = &d.findings, .run = run};
    int err =
        hyv_parts_survey(&d.model.parts, params->model, &params->choice, run->log, &d, tell_place);
    if (err >= 0)
        err = hyv_backend_open(&d.examiner.dry, "null", &(hyv_backend_config){0});
    if (err >= 0)
        examine_all(&d);
    hyv_backend_close(&d.examiner.dry);
    hyv_model_close(&d.model);
    if (err < 0 || d.findings.err)
        return err < 0 ? err : d.findings.err;
    return d.findings.stop ? -ECANCELED : d.findings.errors;
}
