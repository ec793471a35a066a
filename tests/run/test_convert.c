/* Converting: every type in both containers, from every published form; what comes out has the
 * names, shapes and values of published files, and the engine predicts with it what it predicts
 * with the same values in F32. Refusals leave nothing; memory does not grow with the model.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/run/convert.h"
#include "../../engine/run/model.h"
#include "../../kernels/half.h"
#include "../../kernels/quant.h"
#include "../check.h"
#include "../deviation.h"
#include "../golden.h"
#include "../tiny.h"

#define HYV         "build/hyv"
#define T2V         GOLDEN_FOLDER "/t2v"
#define TRANSFORMER T2V "/transformer"
#define NAMES       GOLDEN_FOLDER "/names"

enum { PATH_BYTES = 256 };

static char root[64]; /* everything written here stands below */
static char message[1024];
static double fraction; /* of the last progress */
static int calls, stop_at;

static const char *place(char path[PATH_BYTES], const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", root, name);
    return path;
}

/* ---- converting ------------------------------------------------------------------------------ */

static void on_log(void *opaque, enum hyv_log_level level, const char *text)
{
    (void)opaque;
    if (level == HYV_LOG_ERROR)
        snprintf(message, sizeof(message), "%s", text);
}

static int on_progress(void *opaque, const hyv_progress *p)
{
    (void)opaque;
    CHECK(p->phase == HYV_PHASE_CONVERT && p->fraction >= fraction && p->fraction <= 1.0);
    CHECK(p->step >= 0 && p->step <= p->steps);
    fraction = p->fraction;
    return ++calls == stop_at;
}

/* `option` and `value`: what is converted. */
static int convert_as(const char *option, const char *value, const char *threads, const char *out,
                      const char *type, const char *component)
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *o = hyv_options_new();
    callbacks.log = on_log;
    callbacks.progress = on_progress;
    message[0] = '\0';
    fraction = 0.0;
    calls = 0;
    CHECK(!option || hyv_options_set(o, option, value) == 0);
    CHECK(hyv_options_set(o, "threads", threads) == 0);
    const int err = hyv_convert(o, out, type, component, &callbacks);
    CHECK_MSG(err >= 0 || err == -ECANCELED || message[0], "%d without a message", err);
    CHECK_MSG(err < 0 || fraction == 1.0, "progress ends at %g", fraction);
    hyv_options_free(&o);
    return err;
}

static bool convert(const char *from, const char *out, const char *type)
{
    const int err = convert_as("model", from, "2", out, type, NULL);
    return CHECK_MSG(err == 0, "%s to %s as %s: %d, %s", from, out, type, err, message);
}

/* A configuration beside a file, under its name. */
static void link_config(const char *file, const char *config)
{
    char path[PATH_BYTES];
    char *target = realpath(config, NULL);
    snprintf(path, sizeof(path), "%.*s.json", (int)(strrchr(file, '.') - file), file);
    unlink(path);
    CHECK_MSG(target && symlink(target, path) == 0, "%s cannot be linked to", config);
    free(target);
}

/* The golden transformer in other forms, with a configuration beside each. */
static void link_sources(void)
{
    static const char *const files[] = {
        "official_bf16.safetensors",      "mp_rank_00_model_states.pt",
        "mp_rank_00_model_states_fp8.pt", "mp_rank_00_model_states_fp8_map.pt",
        "comfyui_fp8_scaled.safetensors", "hunyuan-video-t2v-mixed.gguf"};
    char from[PATH_BYTES], path[PATH_BYTES];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(from, sizeof(from), NAMES "/%s", files[i]);
        char *target = realpath(from, NULL);
        CHECK_MSG(target && symlink(target, place(path, files[i])) == 0, "%s", from);
        free(target);
        link_config(path, TRANSFORMER "/config.json");
    }
}

/* How many files and folders of the root have names that begin so. */
static int count_files(const char *start)
{
    char command[2 * PATH_BYTES];
    int count = -1;
    snprintf(command, sizeof(command), "ls '%s' | grep -c '^%s'", root, start);
    FILE *f = popen(command, "r");
    CHECK(f && fscanf(f, "%d", &count) == 1);
    if (f)
        pclose(f);
    return count;
}

static bool same_files(const char *a, const char *b)
{
    hyv_map x, y;
    const bool there = hyv_map_open(&x, a) == 0, both = there && hyv_map_open(&y, b) == 0;
    const bool same = both && x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    if (both)
        hyv_map_close(&y);
    if (there)
        hyv_map_close(&x);
    return same;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static hyv_checkpoint *open_file(const char *path)
{
    hyv_log log = {0};
    hyv_checkpoint *c = NULL;
    CHECK_MSG(hyv_checkpoint_open(&c, path, &log) >= 0, "%s", log.error);
    return c;
}

/* Both files have the same tensors, of the same shapes and values, whatever their types. */
static void compare_files(const char *what, const char *got_path, const char *want_path)
{
    hyv_checkpoint *got = open_file(got_path), *want = open_file(want_path);
    const int64_t count = want ? hyv_checkpoint_count(want) : 0;
    CHECK_MSG(got && hyv_checkpoint_count(got) == count, "%s: other tensors", what);
    for (int64_t i = 0; got && i < count; i++) {
        const hyv_tensor *w = hyv_checkpoint_at(want, i), *g = hyv_checkpoint_find(got, w->name);
        if (!CHECK_MSG(g && g->rank == w->rank &&
                           memcmp(g->shape, w->shape, sizeof(w->shape[0]) * (size_t)w->rank) == 0,
                       "%s: %s is missing or has another shape", what, w->name))
            continue;
        float *a = malloc((size_t)g->count * sizeof(*a)),
              *b = malloc((size_t)g->count * sizeof(*b));
        hyv_decode(a, g->data, g->type, 0, g->count);
        hyv_decode(b, w->data, w->type, 0, w->count);
        CHECK_MSG(memcmp(a, b, (size_t)g->count * sizeof(*a)) == 0, "%s: %s has other values", what,
                  w->name);
        free(a);
        free(b);
    }
    hyv_checkpoint_close(&got);
    hyv_checkpoint_close(&want);
}

static int count_types(const char *path, hyv_type type)
{
    hyv_checkpoint *c = open_file(path);
    int count = 0;
    for (int64_t i = 0; c && i < hyv_checkpoint_count(c); i++)
        count += hyv_checkpoint_at(c, i)->type == type;
    hyv_checkpoint_close(&c);
    return count;
}

/* All values of these files can be held by bf16, so that names and shapes are all that changes. */
static void check_names(void)
{
    char path[PATH_BYTES], two[PATH_BYTES], official[PATH_BYTES], pt[PATH_BYTES];
    place(official, "official_bf16.safetensors");
    place(pt, "mp_rank_00_model_states.pt");
    place(path, "names.safetensors");
    if (convert(TRANSFORMER, path, "f32"))
        compare_files("diffusers to itself", path, TRANSFORMER);
    if (convert(pt, place(two, "pt.safetensors"), "bf16"))
        compare_files("official .pt to diffusers", two, TRANSFORMER);
    if (convert(TRANSFORMER, place(two, "names.gguf"), "bf16"))
        compare_files("diffusers to GGUF", two, official);
    if (convert(official, place(two, "names.gguf"), "f16"))
        compare_files("official to GGUF", two, official);
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        static const char *const folders[HYV_COMPONENTS] = {"text_encoder", "text_encoder_2",
                                                            "transformer", "vae"};
        char from[PATH_BYTES];
        snprintf(from, sizeof(from), T2V "/%s", folders[c]);
        if (convert(from, path, "same"))
            compare_files(folders[c], path, from);
    }
}

/* There and back: by way of another type, another container, fused and swapped rows, rotary pairs
 * and back, the last file is the first. */
static void check_round_trips(void)
{
    static const struct {
        const char *from, *type, *through, *type_through;
    } trips[] = {{TRANSFORMER, "bf16", "through.safetensors", "f32"},
                 {TRANSFORMER, "bf16", "through.gguf", "bf16"},
                 {TRANSFORMER, "f16", "through.gguf", "f32"},
                 {T2V "/text_encoder", "f16", "through.gguf", "f16"},
                 {T2V "/text_encoder", "bf16", "through.gguf", "f32"},
                 {T2V "/text_encoder_2", "f16", "through.gguf", "same"},
                 {T2V "/vae", "f16", "through.gguf", "f32"}};
    char first[PATH_BYTES], through[PATH_BYTES], last[PATH_BYTES], config[PATH_BYTES];
    place(first, "first.safetensors");
    place(last, "last.safetensors");
    for (size_t i = 0; i < sizeof(trips) / sizeof(trips[0]); i++) {
        place(through, trips[i].through);
        snprintf(config, sizeof(config), "%s/config.json", trips[i].from);
        link_config(first, config);
        link_config(through, config);
        if (convert(trips[i].from, first, trips[i].type) &&
            convert(first, through, trips[i].type_through) && convert(through, last, trips[i].type))
            CHECK_MSG(same_files(first, last), "%s by way of %s", trips[i].from,
                      trips[i].type_through);
    }
}

/* ---- predictions ----------------------------------------------------------------------------- */

static float *predict(const char *transformer, size_t *count)
{
    hyv_options *o = hyv_options_new();
    static const char *const pairs[][2] = {{"model", T2V},    {"prompt", "a cat on the grass"},
                                           {"width", "32"},   {"height", "32"},
                                           {"frames", "5"},   {"steps", "2"},
                                           {"guidance", "6"}, {"seed", "3"},
                                           {"threads", "1"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        CHECK(hyv_options_set(o, pairs[i][0], pairs[i][1]) == 0);
    CHECK(hyv_options_set(o, "transformer", transformer) == 0);
    float *p = deviation_prediction(o, "fp32", "auto", count);
    hyv_options_free(&o);
    return p;
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, size_t n)
{
    double lost = 0.0, all = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double e = (double)a[i] - (double)b[i];
        lost += e * e;
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(lost / all);
}

/* A source as a type gives the prediction of the same values in F32, to the bit, and that of the
 * source within `bound`. */
static void check_type(const char *from, const float *of_source, const char *out, const char *type,
                       double bound)
{
    char path[PATH_BYTES], plain[PATH_BYTES];
    size_t n = 0, m = 0;
    place(path, out);
    place(plain, "plain.safetensors");
    link_config(path, TRANSFORMER "/config.json");
    link_config(plain, TRANSFORMER "/config.json");
    if (!convert(from, path, type) || (bound > 0.0 && !convert(path, plain, "f32")))
        return;
    float *got = predict(path, &n), *want = bound > 0.0 ? predict(plain, &m) : NULL;
    const size_t bytes = n * sizeof(*got);
    if (got && bound > 0.0) {
        const double d = distance(got, of_source, n);
        CHECK_MSG(want && n == m && memcmp(got, want, bytes) == 0,
                  "%s as %s: not the prediction of the same values in F32", from, out);
        CHECK_MSG(d <= bound, "%s as %s: prediction off by %g, more than %g", from, type, d, bound);
    } else {
        CHECK_MSG(got && memcmp(got, of_source, bytes) == 0, "%s as %s: not the prediction it had",
                  from, type);
    }
    free(got);
    free(want);
}

/* The golden transformer in all its forms. F32, F16 and BF16 hold its values; what fp8 with a scale
 * and blocks made of them is held by F32. Bounds of the others are some seven times the error of a
 * matrix, 0.2 % for bf16, 0.5 % for Q8_0, 2.7 % for f8. */
static void check_types(void)
{
    static const struct {
        const char *file;
        double exact; /* bound for bf16 */
    } sources[] = {{"official_bf16.safetensors", 0.0},
                   {"mp_rank_00_model_states.pt", 0.0},
                   {"mp_rank_00_model_states_fp8.pt", 0.0},
                   {"comfyui_fp8_scaled.safetensors", 0.01},
                   {"hunyuan-video-t2v-mixed.gguf", 0.01}};
    char source[PATH_BYTES];
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        size_t n = 0;
        place(source, sources[i].file);
        float *p = predict(source, &n);
        if (!CHECK(p != NULL))
            continue;
        check_type(source, p, "out.safetensors", "same", sources[i].exact);
        check_type(source, p, "out.gguf", "same", sources[i].exact);
        check_type(source, p, "out.safetensors", "f32", 0.0);
        check_type(source, p, "out.gguf", "f32", 0.0);
        check_type(source, p, "out.safetensors", "bf16", sources[i].exact);
        check_type(source, p, "out.gguf", "bf16", sources[i].exact);
        check_type(source, p, "out.safetensors", "f16", sources[i].exact);
        check_type(source, p, "out.gguf", "f16", sources[i].exact);
        check_type(source, p, "out.safetensors", "f8", 0.2);
        check_type(source, p, "out.gguf", "Q8_0", 0.05);
        free(p);
    }
}

/* ---- a model wide enough for blocks of 256 --------------------------------------------------- */

static bool write_wide(char folder[64], bool bare, int64_t width, const char *nan)
{
    hyv_model golden;
    hyv_log log = {0};
    if (!CHECK_MSG(hyv_model_open(&golden, T2V, NULL, &log) >= 0, "%s", log.error))
        return false;
    tiny_model m = {.config = golden.config, .shards = 1, .seed = 5, .bare = bare};
    hyv_model_close(&golden);
    m.config.dit.width = width;
    m.config.dit.heads = bare ? width / 128 : 2; /* 128 needs no configuration */
    m.config.dit.head_dim = width / m.config.dit.heads;
    m.config.dit.rope_dims[0] = m.config.dit.head_dim / 8;
    m.config.dit.rope_dims[1] = m.config.dit.rope_dims[2] = m.config.dit.head_dim / 16 * 7;
    m.config.dit.mlp_width = m.config.dit.refiner_mlp_width = 4 * width;
    m.damaged = nan;
    m.fault = nan ? TINY_NAN : 0;
    return tiny_write(&m, folder);
}

/* Relative error of the matrices of a type, against the source. `rows`: of a fused matrix that is
 * our q, k and v. */
static double error_of(const char *path, const char *folder, hyv_type type)
{
    static const char *const thirds[] = {"to_q", "to_k", "to_v"};
    char from[PATH_BYTES], name[96];
    snprintf(from, sizeof(from), "%s/transformer", folder);
    hyv_checkpoint *got = open_file(path), *want = open_file(from);
    const hyv_tensor *g =
        got ? hyv_checkpoint_find(got, "double_blocks.0.img_attn_qkv.weight") : NULL;
    double lost = 0.0, all = 0.0;
    CHECK_MSG(g && g->type == type, "%s: not %s", path, hyv_type_name(type));
    for (int i = 0; i < 3 && g; i++) {
        snprintf(name, sizeof(name), "transformer_blocks.0.attn.%s.weight", thirds[i]);
        const hyv_tensor *w = hyv_checkpoint_find(want, name);
        float *a = malloc((size_t)w->count * sizeof(*a)),
              *b = malloc((size_t)w->count * sizeof(*b));
        hyv_decode(a, g->data, g->type, i * w->count, w->count);
        hyv_decode(b, w->data, w->type, 0, w->count);
        for (int64_t k = 0; k < w->count; k++) {
            lost += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
            all += (double)b[k] * (double)b[k];
        }
        free(a);
        free(b);
    }
    hyv_checkpoint_close(&got);
    hyv_checkpoint_close(&want);
    return sqrt(lost / all);
}

static void check_blocks(void)
{
    /* Weights here are uniform: steps of 1/127, 1/32 and 1/7.5 of the largest, each of which loses
     * 1 / sqrt(12) of itself against a root mean square of 1 / sqrt(3), and a little for rounding
     * the small scales. */
    static const struct {
        const char *type;
        hyv_type is;
        double bound;
    } kinds[] = {
        {"Q8_0", HYV_Q8_0, 0.0045}, {"Q6_K", HYV_Q6_K, 0.0180}, {"Q4_K", HYV_Q4_K, 0.0720}};
    char folder[64], path[PATH_BYTES], plain[PATH_BYTES], config[PATH_BYTES], one[PATH_BYTES];
    if (!write_wide(folder, false, 256, NULL))
        return;
    snprintf(config, sizeof(config), "%s/transformer/config.json", folder);
    place(path, "wide.gguf");
    place(plain, "wide.safetensors");
    place(one, "one.gguf");
    link_config(path, config);
    link_config(plain, config);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t size[2] = {0};
        CHECK(convert_as("model", folder, "3", path, kinds[i].type, "transformer") == 0);
        CHECK(convert_as("model", folder, "1", one, kinds[i].type, "transformer") == 0);
        CHECK_MSG(same_files(path, one), "%s: other bytes with other threads", kinds[i].type);
        const double e = error_of(path, folder, kinds[i].is);
        CHECK_MSG(e > 0.0 && e <= kinds[i].bound, "%s: error %g", kinds[i].type, e);
        printf("%s: error of uniform weights %.4f\n", kinds[i].type, e);
        if (!convert(path, plain, "f32"))
            continue;
        uint8_t *frames[2];
        for (int k = 0; k < 2; k++) {
            hyv_options *o = hyv_options_new();
            static const char *const pairs[][2] = {{"prompt", "a cat"}, {"width", "32"},
                                                   {"height", "32"},    {"frames", "1"},
                                                   {"steps", "1"},      {"seed", "3"}};
            for (size_t n = 0; n < sizeof(pairs) / sizeof(pairs[0]); n++)
                CHECK(hyv_options_set(o, pairs[n][0], pairs[n][1]) == 0);
            CHECK(hyv_options_set(o, "model", folder) == 0);
            CHECK(hyv_options_set(o, "transformer", k ? plain : path) == 0);
            frames[k] = deviation_frames(o, "fp32", "auto", 1, &size[k]);
            hyv_options_free(&o);
        }
        CHECK_MSG(frames[0] && frames[1] && size[0] == size[1] &&
                      memcmp(frames[0], frames[1], size[0]) == 0,
                  "%s: other frames than of the same values in F32", kinds[i].type);
        free(frames[0]);
        free(frames[1]);
    }
    /* Blocks that stay are copied; as bf16 in safetensors they are rounded once. */
    CHECK(convert(path, one, "same") && same_files(path, one));
    CHECK(convert(path, one, "Q4_K") && same_files(path, one));
    CHECK(convert(path, plain, "same") && count_types(plain, HYV_BF16) > 0);
    tiny_remove(folder);
}

/* ---- folders --------------------------------------------------------------------------------- */

static uint8_t *frames_of(const char *model, size_t *size)
{
    hyv_options *o = hyv_options_new();
    static const char *const pairs[][2] = {{"prompt", "a cat on the grass"},
                                           {"width", "32"},
                                           {"height", "32"},
                                           {"frames", "5"},
                                           {"steps", "2"},
                                           {"seed", "3"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        CHECK(hyv_options_set(o, pairs[i][0], pairs[i][1]) == 0);
    CHECK(hyv_options_set(o, "model", model) == 0);
    uint8_t *frames = deviation_frames(o, "fp32", "auto", 1, size);
    hyv_options_free(&o);
    return frames;
}

/* Whole models: the same frames where types hold the values; else those of the folder that has the
 * rounded values in F32. */
static void check_folders(void)
{
    static const char *const types[] = {"same", "f32", "f16", "bf16", "f8", "Q8_0", "Q6_K", "Q4_K"};
    size_t size = 0, n = 0, m = 0;
    uint8_t *source = frames_of(T2V, &size);
    char path[PATH_BYTES], plain[PATH_BYTES];
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        char name[32];
        snprintf(name, sizeof(name), "folder-%s", types[i]);
        place(path, name);
        if (!convert(T2V, path, types[i]))
            continue;
        uint8_t *got = frames_of(path, &n);
        if (i < 4) {
            CHECK_MSG(got && n == size && memcmp(got, source, n) == 0, "%s: other frames",
                      types[i]);
        } else {
            snprintf(name, sizeof(name), "plain-%s", types[i]);
            uint8_t *want = convert(path, place(plain, name), "f32") ? frames_of(plain, &m) : NULL;
            CHECK_MSG(got && want && n == m && memcmp(got, want, n) == 0,
                      "%s: other frames than of the same values in F32", types[i]);
            free(want);
        }
        free(got);
    }
    free(source);
    CHECK(count_files("folder-") == 8);
    /* Into an empty folder that is there, but not into another. */
    place(path, "folder-empty");
    CHECK(mkdir(path, 0700) == 0);
    CHECK(convert(T2V, path, "bf16"));
    CHECK(convert_as("model", T2V, "1", path, "bf16", NULL) == -EEXIST && strstr(message, path));
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void expect(const char *what, int status, int wanted, const char *text)
{
    CHECK_MSG(status == wanted && strstr(message, text), "%s: %d, \"%s\" does not say \"%s\"", what,
              status, message, text);
    CHECK_MSG(count_files("refused") == 0, "%s: something is left", what);
}

static void check_refusals(void)
{
    char gguf[PATH_BYTES], st[PATH_BYTES], pt[PATH_BYTES], folder[PATH_BYTES];
    place(gguf, "refused.gguf");
    place(st, "refused.safetensors");
    place(pt, "refused.pt");
    place(folder, "refused");
#define TRY(option, value, out, type, component) \
    convert_as(option, value, "1", out, type, component)
    expect("type", TRY("model", T2V, st, "Q5_K", NULL), -EINVAL, "valid: same, f32, f16");
    expect("component", TRY("model", T2V, st, "f32", "unet"), -EINVAL, "text_encoder_2, ");
    expect("several", TRY("model", T2V, st, "f32", NULL), -EINVAL, "4 components");
    expect("fp8 in GGUF", TRY("model", T2V, gguf, "f8", "transformer"), -EINVAL, ".safetensors");
    expect("blocks in safetensors", TRY("model", T2V, st, "Q4_K", "transformer"), -EINVAL, ".gguf");
    expect("ending", TRY("model", T2V, pt, "f32", "transformer"), -EINVAL, ".pt are not written");
    expect("VAE in blocks", TRY("model", T2V, gguf, "Q8_0", "vae"), -ENOTSUP, "not quantised");
    expect("CLIP in fp8", TRY("model", T2V, st, "f8", "text_encoder_2"), -ENOTSUP, "not quantised");
    expect("test", TRY("model", "test", st, "f32", NULL), -EINVAL, "no weights");
    expect("nothing", TRY(NULL, NULL, st, "f32", NULL), -EINVAL, "option model");
    expect("no output", TRY("model", T2V, "", "f32", NULL), -EINVAL, "output");
    expect("missing", TRY("model", TRANSFORMER, st, "f32", "vae"), -ENOENT, "no vae");
    expect("no model", TRY("model", GOLDEN_FOLDER "/README.md", st, "f32", NULL), -EBADMSG,
           "README.md");
    expect("no folder", TRY("model", T2V, "/nowhere/refused.gguf", "f32", "vae"), -ENOENT,
           "/nowhere/refused.gguf");
    expect("no parent", TRY("model", T2V, "/nowhere/refused", "f32", NULL), -ENOENT, "/nowhere");
    expect("another family",
           TRY("transformer", GOLDEN_FOLDER "/lora/kohya.safetensors", st, "f32", NULL), -ENOTSUP,
           "not the transformer");
#undef TRY
    /* One component that an option names needs no model. */
    CHECK(convert_as("vae", T2V "/vae", "1", place(st, "vae.safetensors"), "f32", NULL) == 0);
    compare_files("a component by option", st, T2V "/vae");
}

static void check_damaged(void)
{
    static const char *const damaged[] = {"transformer_blocks.1.attn.to_k.weight",
                                          "single_transformer_blocks.0.attn.to_q.bias",
                                          "x_embedder.proj.weight"};
    static const char *const types[] = {"same", "bf16", "Q8_0", "f8"};
    char folder[64], out[PATH_BYTES];
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        if (!write_wide(folder, false, 64, damaged[i]))
            return;
        for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
            place(out, k == 2 ? "refused.gguf" : "refused.safetensors");
            expect(types[k], convert_as("model", folder, "2", out, types[k], "transformer"),
                   -EBADMSG, damaged[i]);
            expect(types[k],
                   convert_as("model", folder, "2", place(out, "refused"), types[k], NULL),
                   -EBADMSG, "holds NaN");
        }
        tiny_remove(folder);
    }
}

/* A file in which one value of a bf16 matrix was replaced. */
static void check_range(void)
{
    static const struct {
        uint16_t bits;
        const char *type, *out, *text;
        int status;
    } cases[] = {{0x7f80, "bf16", "refused.safetensors", "holds Inf", -EBADMSG},
                 {0xff80, "f32", "refused.gguf", "holds Inf", -EBADMSG},
                 {0x4780, "f16", "refused.safetensors", "which F16 cannot hold", -ERANGE},
                 {0x4a80, "Q8_0", "refused.gguf", "which Q8_0 cannot hold", -ERANGE},
                 {0x4780, "f8", "large.safetensors", "", 0},
                 {0x7f7f, "bf16", "large.safetensors", "", 0}};
    static const char name[] = "transformer_blocks.0.norm1.linear.weight";
    char source[PATH_BYTES], out[PATH_BYTES];
    place(source, "range.safetensors");
    link_config(source, TRANSFORMER "/config.json");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!convert(TRANSFORMER, source, "bf16"))
            return;
        hyv_checkpoint *c = open_file(source);
        hyv_map map;
        const hyv_tensor *t = c ? hyv_checkpoint_find(c, name) : NULL;
        /* The data end with the file, so its place is known from there. */
        size_t behind = 0;
        for (int64_t k = 0; t && k < hyv_checkpoint_count(c); k++)
            if (hyv_checkpoint_at(c, k)->data >= t->data)
                behind += hyv_checkpoint_at(c, k)->size_bytes;
        hyv_checkpoint_close(&c);
        FILE *f = fopen(source, "r+b");
        CHECK(hyv_map_open(&map, source) == 0);
        CHECK(f && fseek(f, (long)(map.size - behind + 2 * 777), SEEK_SET) == 0 &&
              fwrite(&cases[i].bits, 2, 1, f) == 1 && fclose(f) == 0);
        hyv_map_close(&map);
        const int err =
            convert_as("model", source, "2", place(out, cases[i].out), cases[i].type, NULL);
        if (cases[i].status)
            expect(cases[i].type, err, cases[i].status, cases[i].text);
        else
            CHECK_MSG(err == 0, "%s: %s", cases[i].type, message);
        CHECK_MSG(err == 0 || strstr(message, name), "%s names no tensor", message);
    }
}

/* ---- stopping, memory ------------------------------------------------------------------------ */

static void check_cancelled(void)
{
    char out[PATH_BYTES];
    for (stop_at = 1; stop_at < 300; stop_at += 60) {
        CHECK(convert_as("model", T2V, "2", place(out, "refused.gguf"), "Q8_0", "transformer") ==
              (calls == stop_at ? -ECANCELED : 0));
        CHECK(convert_as("model", T2V, "2", place(out, "refused"), "f8", NULL) == -ECANCELED);
        unlink(place(out, "refused.gguf"));
        CHECK_MSG(count_files("refused") == 0, "something is left when stopped at %d", stop_at);
    }
    stop_at = 0;
}

/* Peak resident memory in MiB of a program that converts, negative if it failed. */
static double peak_of(const char *model, const char *out, const char *type)
{
    const char *const arguments[] = {HYV,  "convert", model,         "-o",          out, "--type",
                                     type, "-q",      "--component", "transformer", NULL};
    struct rusage usage;
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        execv(HYV, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    if (wait4(child, &status, 0, &usage) != child || status != 0)
        return -1.0;
    return (double)usage.ru_maxrss / 1024.0;
}

/* A file of holes, a few hundred MB by its length: what is read is given back. Sanitizers multiply
 * memory. */
static void check_memory(void)
{
    enum { LARGE_MIB = 300, BOUND_MIB = 160 };
    char folder[64], path[PATH_BYTES], out[PATH_BYTES];
    if (getenv("QUICK")) {
        check_skip("memory of converting");
        return;
    }
    if (!write_wide(folder, true, 768, NULL))
        return;
    struct stat s = {0};
    snprintf(path, sizeof(path), "%s/transformer/diffusion_pytorch_model.safetensors", folder);
    CHECK_MSG(stat(path, &s) == 0 && s.st_size >> 20 >= LARGE_MIB, "a file of %lld MiB only",
              (long long)s.st_size >> 20);
    const double peak = peak_of(folder, place(out, "large.gguf"), "bf16");
    printf("peak of converting %lld MiB: %.0f MiB\n", (long long)s.st_size >> 20, peak);
    CHECK_MSG(peak > 0 && peak <= BOUND_MIB, "%.0f MiB", peak);
    tiny_remove(folder);
}

int main(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(root, sizeof(root), "%s/hyv-convert-XXXXXX",
             base && strlen(base) < 40 ? base : "/tmp");
    if (!CHECK(mkdtemp(root) != NULL))
        return check_done();
    link_sources();
    check_names();
    check_round_trips();
    check_types();
    check_blocks();
    check_folders();
    check_refusals();
    check_damaged();
    check_range();
    check_cancelled();
    check_memory();
    tiny_remove(root);
    return check_done();
}
