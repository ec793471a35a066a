/* A model folder in the diffusers layout.
 *
 * Tensor names are used without the leading levels that some writers add ("text_model.",
 * "language_model.model."). Knows no video.
 */
#include "model.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

const char *hyv_component_name(enum hyv_component component)
{
    static const char *const names[HYV_COMPONENTS] = {"text_encoder", "text_encoder_2",
                                                      "transformer", "vae"};
    return names[component];
}

static int open_file(hyv_model *m, const char *folder, enum hyv_component c)
{
    static const char *const prefixes[HYV_COMPONENTS][3] = {
        {"language_model.model.", "language_model.", "model."}, {"text_model."}, {NULL}, {NULL}};
    char *path = hyv_path_join(folder, hyv_component_name(c));
    if (!path)
        return hyv_log_error(m->log, -ENOMEM, "out of memory");
    const int err = hyv_checkpoint_open(&m->file[c], path, m->log);
    hyv_free_host(path);
    for (int i = 0; err >= 0 && i < 3 && prefixes[c][i]; i++)
        hyv_checkpoint_strip(m->file[c], prefixes[c][i]);
    return err;
}

static int open_tokens(hyv_bpe **bpe, const char *folder, const char *name, hyv_log *log)
{
    char *path = hyv_path_join(folder, name);
    if (!path)
        return hyv_log_error(log, -ENOMEM, "out of memory");
    const int err = hyv_bpe_open(bpe, path, log);
    hyv_free_host(path);
    return err;
}

/* Binds every component on the null backend, which finds missing and misshapen tensors. */
static int check_tensors(const hyv_model *m)
{
    hyv_backend *dry = NULL;
    int err = hyv_backend_open(&dry, "null", &(hyv_backend_config){0});
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++) {
        hyv_network n = {0};
        err = hyv_network_load(&n, m, (enum hyv_component)c, dry);
        hyv_network_unload(&n);
    }
    hyv_backend_close(&dry);
    return err;
}

/* No config.json has the refiner's MLP width; the tensor tells. */
static void find_refiner_width(hyv_model *m)
{
    const hyv_tensor *t =
        hyv_checkpoint_find(m->file[HYV_TRANSFORMER],
                            "context_embedder.token_refiner.refiner_blocks.0.ff.net.0.proj.weight");
    const bool there = t && t->rank == 2 && t->shape[0] > 0 && t->shape[0] <= 16 * HYV_WIDTH_MAX;
    m->config.dit.refiner_mlp_width = there ? t->shape[0] : 4 * m->config.dit.width;
}

static int open_files(hyv_model *m, const char *folder, hyv_log *log)
{
    *m = (hyv_model){.log = log};
    int err = hyv_config_load(&m->config, folder, log);
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++)
        err = open_file(m, folder, (enum hyv_component)c);
    if (err >= 0)
        find_refiner_width(m);
    return err;
}

static int open_tokenizers(hyv_model *m, const char *folder, hyv_log *log)
{
    const int err = open_tokens(&m->llm_tokens, folder, "tokenizer", log);
    return err < 0 ? err : open_tokens(&m->clip_tokens, folder, "tokenizer_2", log);
}

int hyv_model_open(hyv_model *m, const char *folder, hyv_log *log)
{
    int err = open_files(m, folder, log);
    if (err >= 0)
        err = check_tensors(m);
    if (err >= 0)
        err = open_tokenizers(m, folder, log);
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

static int load(hyv_network *n, const hyv_model *m, enum hyv_component component, hyv_backend *be,
                void *opaque,
                void (*report)(void *opaque, const char *name, bool misshapen, const char *note))
{
    *n = (hyv_network){.model = m, .component = component};
    n->net.any = hyv_calloc(1, network_size(component));
    if (!n->net.any || hyv_weights_new(&n->weights, be, m->file[component],
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
    const int err = load(n, m, component, be, NULL, NULL);
    return err < 0 ? err : hyv_weights_status(n->weights);
}

void hyv_network_unload(hyv_network *n)
{
    hyv_weights_free(&n->weights);
    hyv_free_host(n->net.any);
    if (n->model)
        hyv_checkpoint_drop(n->model->file[n->component]);
    *n = (hyv_network){0};
}

/* ---- looking into a model -------------------------------------------------------------------- */

typedef struct inspection {
    const char *component;
    hyv_tensor_function *tensor;
    void *opaque;
    hyv_checkpoint *file;
    int wrong, stop;
} inspection;

static void emit(inspection *s, hyv_tensor_info *info)
{
    info->size = sizeof(*info);
    info->component = s->component;
    if (!s->stop)
        s->stop = s->tensor(s->opaque, info);
}

static void describe(hyv_tensor_info *info, const hyv_tensor *t)
{
    info->name = t->name;
    info->type = hyv_type_name(t->type);
    info->rank = t->rank;
    memcpy(info->shape, t->shape, sizeof(info->shape));
}

static void report_wrong(void *opaque, const char *name, bool misshapen, const char *note)
{
    inspection *s = opaque;
    hyv_tensor_info info = {.name = name, .type = "", .state = HYV_TENSOR_MISSING, .note = note};
    hyv_tensor *t = misshapen ? hyv_checkpoint_find(s->file, name) : NULL;
    if (t) {
        describe(&info, t);
        info.state = HYV_TENSOR_MISSHAPEN;
        t->used = -1; /* reported */
    }
    s->wrong++;
    emit(s, &info);
}

/* Parts of the published networks that text to video does not run, by how their names begin. */
static bool known_unused(enum hyv_component c, const char *name)
{
    static const char *const known[HYV_COMPONENTS][10] = {
        {"layers.", "norm.weight", "lm_head.", "vision_tower.", "multi_modal_projector.",
         "language_model.", "model."},
        {"text_projection.", "visual_projection.", "vision_model.", "logit_scale",
         "embeddings.position_ids", "text_model.embeddings.position_ids"},
        {NULL},
        {"encoder.", "quant_conv."}};
    for (int i = 0; known[c][i]; i++)
        if (strncmp(name, known[c][i], strlen(known[c][i])) == 0)
            return true;
    return false;
}

static void report_present(inspection *s, enum hyv_component c)
{
    const int64_t count = hyv_checkpoint_count(s->file);
    for (int64_t i = 0; i < count && !s->stop; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(s->file, i);
        hyv_tensor_info info = {.state = HYV_TENSOR_USED, .note = ""};
        if (t->used < 0)
            continue;
        describe(&info, t);
        if (t->used == 0)
            info.state = known_unused(c, t->name) ? HYV_TENSOR_UNUSED : HYV_TENSOR_FOREIGN;
        emit(s, &info);
    }
}

static void log_component(const hyv_model *m, enum hyv_component c)
{
    const hyv_model_config *n = &m->config;
    hyv_string s = {0};
    switch (c) {
    case HYV_TEXT_ENCODER:
        hyv_string_append(&s, "Llama, %lld of %lld layers used, width %lld, %lld heads",
                          (long long)n->llama.layers_used, (long long)n->llama.layers,
                          (long long)n->llama.width, (long long)n->llama.heads);
        break;
    case HYV_TEXT_ENCODER_2:
        hyv_string_append(&s, "CLIP text model, %lld layers, width %lld", (long long)n->clip.layers,
                          (long long)n->clip.width);
        break;
    case HYV_TRANSFORMER:
        hyv_string_append(&s,
                          "HunyuanVideo transformer, text to video, %lld double and %lld single "
                          "blocks, %lld heads of %lld, guidance %s",
                          (long long)n->dit.double_blocks, (long long)n->dit.single_blocks,
                          (long long)n->dit.heads, (long long)n->dit.head_dim,
                          n->dit.guidance ? "embedded" : "not embedded");
        break;
    default:
        hyv_string_append(&s, "causal 3-D VAE, %d blocks, %lld latent channels, scaling factor %g",
                          n->vae.blocks, (long long)n->vae.latent_channels, n->scaling_factor);
        break;
    }
    hyv_log_write(m->log, HYV_LEVEL_INFO, "%s: %s, %lld tensors, %.1f MB", hyv_component_name(c),
                  hyv_string_text(&s), (long long)hyv_checkpoint_count(m->file[c]),
                  (double)hyv_checkpoint_bytes(m->file[c]) / 1e6);
    hyv_string_free(&s);
}

static int inspect_component(const hyv_model *m, enum hyv_component c, hyv_backend *dry,
                             hyv_tensor_function *tensor, void *opaque)
{
    inspection s = {
        .component = hyv_component_name(c), .tensor = tensor, .opaque = opaque, .file = m->file[c]};
    hyv_network n = {0};
    log_component(m, c);
    const int err = load(&n, m, c, dry, &s, report_wrong);
    /* What is neither missing nor misshapen and yet cannot be read, a type for instance. */
    const int status = err < 0 || s.wrong ? err : hyv_weights_status(n.weights);
    hyv_network_unload(&n);
    if (err < 0)
        return err;
    report_present(&s, c);
    return s.stop ? -ECANCELED : s.wrong ? s.wrong : status;
}

int hyv_model_inspect(const char *folder, hyv_log *log, hyv_tensor_function *tensor, void *opaque)
{
    hyv_model m;
    hyv_backend *dry = NULL;
    int wrong = 0, err = open_files(&m, folder, log);
    if (err >= 0)
        err = hyv_backend_open(&dry, "null", &(hyv_backend_config){0});
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++) {
        err = inspect_component(&m, (enum hyv_component)c, dry, tensor, opaque);
        wrong += err > 0 ? err : 0;
    }
    if (err >= 0)
        err = open_tokenizers(&m, folder, log);
    hyv_backend_close(&dry);
    hyv_model_close(&m);
    return err < 0 ? err : wrong;
}
