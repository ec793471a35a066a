/* The doctor names what is wrong: each kind of damage, one after the other, made out of the golden
 * model, through the public header.
 *
 * A case gives the finding that must come: its kind, its severity, its component, the end of the
 * file's path, the tensor, and words of what was found. The undamaged model has no finding, and
 * neither has it in other containers. Counts and ranges are tests/run/test_values.c's matter.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"
#include "../damage.h"
#include "../gguf.h"

#define MATRIX "x_embedder.proj.weight"

typedef struct expected {
    const char *kind;                              /* with a ? before it: a warning */
    const char *component, *file, *tensor, *words; /* NULL: whatever it is */
} expected;

/* What came of an inspection. */
typedef struct seen {
    const expected *want;
    bool found;
    int errors, warnings, components, tensors, examined;
    char all[8192]; /* for the message */
    char summary[1024];
    int stop_after; /* tensors; 0: never */
    uint64_t bytes, of;
} seen;

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static int on_finding(void *opaque, const hyv_finding *f)
{
    seen *s = opaque;
    const expected *w = s->want;
    const bool warning = f->severity == HYV_SEVERITY_WARNING;
    const size_t used = strlen(s->all);
    s->errors += !warning;
    s->warnings += warning;
    snprintf(s->all + used, sizeof(s->all) - used, "\n  [%s %s %s %s: %s]", f->kind, f->component,
             f->file, f->tensor, f->found);
    CHECK(f->size == sizeof(*f) && *f->kind && *f->found);
    CHECK_MSG(*f->valid && *f->advice, "no advice for %s: %s", f->kind, f->found);
    s->found |=
        w && !strcmp(w->kind + (*w->kind == '?'), f->kind) && (*w->kind == '?') == warning &&
        (!w->component || !strcmp(w->component, f->component)) &&
        (!w->file || ends_with(f->file, w->file)) &&
        (!w->tensor || !strcmp(w->tensor, f->tensor)) && (!w->words || strstr(f->found, w->words));
    return 0;
}

static int on_component(void *opaque, const hyv_component_info *info)
{
    seen *s = opaque;
    s->components++;
    if (!strcmp(info->component, "transformer"))
        snprintf(s->summary, sizeof(s->summary), "%s", info->summary);
    CHECK(*info->family && *info->file && *info->summary);
    return 0;
}

static int on_tensor(void *opaque, const hyv_tensor_info *info)
{
    seen *s = opaque;
    s->tensors++;
    s->examined += info->examined;
    CHECK(!info->examined || (info->min <= info->max && isfinite(info->min + info->max)));
    return s->stop_after && s->tensors == s->stop_after;
}

static int on_progress(void *opaque, uint64_t bytes, uint64_t of)
{
    seen *s = opaque;
    CHECK(bytes >= s->bytes && bytes <= of);
    s->bytes = bytes;
    s->of = of;
    return 0;
}

/* `more`: pairs of option names and values, NULL behind the last. */
static int examine(seen *s, const char *model, const char *const *more)
{
    hyv_options *o = hyv_options_new();
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_inspection to = HYV_INIT(hyv_inspection);
    callbacks.opaque = s;
    to.values = 1;
    to.component = on_component;
    to.tensor = on_tensor;
    to.finding = on_finding;
    to.progress = on_progress;
    CHECK(o && hyv_options_set(o, "model", model) == 0);
    for (; more && *more; more += 2)
        CHECK(hyv_options_set(o, more[0], more[1]) == 0);
    const int result = hyv_inspect(o, &callbacks, &to);
    hyv_options_free(&o);
    return result;
}

/* ---- damages --------------------------------------------------------------------------------- */

typedef void damage_function(const damaged *d);

static void nothing(const damaged *d)
{
    (void)d;
}

/* Damages of the transformer's tensors: the list is changed by `change`. */
static void change_tensors(const damaged *d, void (*change)(damage_list *))
{
    damage_list list;
    char *path = damage_path(d, DAMAGE_TRANSFORMER);
    if (damage_load(&list, path)) {
        change(&list);
        damage_store(d, DAMAGE_TRANSFORMER, &list, 0, 1);
    }
    damage_free(&list);
    free(path);
}

#define TENSORS(name)                     \
    static void name(const damaged *d)    \
    {                                     \
        change_tensors(d, name##_change); \
    }

static void missing_change(damage_list *l)
{
    damage_drop(l, MATRIX);
}
TENSORS(missing)

static void extra_change(damage_list *l)
{
    damage_add(l, "what_is_this.weight", 2, 3);
}
TENSORS(extra)

static void misshapen_change(damage_list *l)
{
    damage_tensor *t = damage_find(l, MATRIX);
    t->shape[0] /= 2;
    t->shape[1] *= 2;
}
TENSORS(misshapen)

static void set_value(damage_list *l, float value)
{
    damage_tensor *t = damage_find(l, MATRIX);
    memcpy(t->data + t->bytes - sizeof(value), &value, sizeof(value));
}

static void not_a_number_change(damage_list *l)
{
    set_value(l, NAN);
}
TENSORS(not_a_number)

static void infinite_change(damage_list *l)
{
    set_value(l, -INFINITY);
}
TENSORS(infinite)

static void zero_change(damage_list *l)
{
    damage_tensor *t = damage_find(l, MATRIX);
    memset(t->data, 0, t->bytes);
}
TENSORS(zero)

static void rename_all(damage_list *l, const char *const *names, int count)
{
    while (l->count > count)
        free(l->tensors[--l->count].data);
    for (int i = 0; i < count; i++)
        snprintf(l->tensors[i].name, sizeof(l->tensors[i].name), "%s", names[i]);
}

static void v15_change(damage_list *l)
{
    rename_all(l, (const char *const[]){"double_blocks.0.img_attn_q.weight", "byt5_in.fc1.weight"},
               2);
}
TENSORS(v15)

static void flux_change(damage_list *l)
{
    rename_all(l, (const char *const[]){"txt_in.weight", "double_blocks.0.img_attn.qkv.weight"}, 2);
}
TENSORS(flux)

static void wan_change(damage_list *l)
{
    rename_all(l, (const char *const[]){"blocks.0.cross_attn.q.weight", "patch_embedding.weight"},
               2);
}
TENSORS(wan)

static void lora_change(damage_list *l)
{
    rename_all(l, (const char *const[]){"a.lora_A.weight", "a.lora_B.weight"}, 2);
}
TENSORS(lora)

static void unknown_change(damage_list *l)
{
    rename_all(l, (const char *const[]){"one", "two"}, 2);
}
TENSORS(unknown)

/* Of files as bytes. */
static void truncated(const damaged *d)
{
    damage_cut(d, DAMAGE_TRANSFORMER, -1000);
}

static void header_cut(const damaged *d)
{
    damage_cut(d, DAMAGE_TRANSFORMER, 200);
}

static void lfs(const damaged *d)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                                  "oid sha256:0123\nsize 25600000000\n";
    damage_write(d, DAMAGE_TRANSFORMER, pointer, sizeof(pointer) - 1);
}

static void lfs_tokenizer(const damaged *d)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\nsize 9\n";
    damage_write(d, "tokenizer/tokenizer.json", pointer, sizeof(pointer) - 1);
}

static void html(const damaged *d)
{
    static const char page[] = "<!DOCTYPE html><html><body>404</body></html>";
    damage_write(d, DAMAGE_VAE, page, sizeof(page) - 1);
}

static void empty(const damaged *d)
{
    damage_write(d, DAMAGE_VAE, "", 0);
}

static void bad_header(const damaged *d)
{
    damage_edit(d, DAMAGE_TRANSFORMER, "\":{", "\";{");
}

static void long_header(const damaged *d)
{
    damage_edit(d, DAMAGE_TRANSFORMER, "{\"", "{\""); /* a copy of its own */
    char *path = damage_path(d, DAMAGE_TRANSFORMER);
    FILE *f = fopen(path, "r+b");
    CHECK(f && fseek(f, 3, SEEK_SET) == 0 && putc(1, f) == 1 && fclose(f) == 0);
    free(path);
}

static void noise(const damaged *d)
{
    char bytes[4096];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37 + 11);
    damage_write(d, DAMAGE_VAE, bytes, sizeof(bytes));
}

static void two_tensors(const damaged *d, const char *second)
{
    char header[512];
    snprintf(header, sizeof(header),
             "xxxxxxxx{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":%s}}",
             second);
    const uint64_t length = strlen(header) - 8;
    memcpy(header, &length, 8);
    memset(header + 8 + length, 0, 32);
    damage_write(d, DAMAGE_VAE, header, 8 + (size_t)length + 16);
}

static void overlap(const damaged *d)
{
    two_tensors(d, "[4,12]");
}

static void hole(const damaged *d)
{
    two_tensors(d, "[12,20]");
}

static void wrong_length(const damaged *d)
{
    two_tensors(d, "[8,12]");
}

static void trailing(const damaged *d)
{
    size_t size;
    char *path = damage_path(d, DAMAGE_VAE), *text;
    if (CHECK(hyv_file_read(&text, &size, path, 1 << 26) == 0)) {
        damage_write(d, DAMAGE_VAE, text, size + 1); /* with the NUL behind it */
        hyv_free_host(text);
    }
    free(path);
}

static void wrong_type(const damaged *d)
{
    damage_edit(d, DAMAGE_TRANSFORMER, "\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
}

static void unknown_type(const damaged *d)
{
    damage_edit(d, DAMAGE_TRANSFORMER, "\"dtype\":\"F32\"", "\"dtype\":\"F99\"");
}

static void unused_type(const damaged *d)
{
    damage_edit(d, DAMAGE_TRANSFORMER, "\"dtype\":\"F32\"", "\"dtype\":\"U32\"");
}

/* Shards. */
static void shards(const damaged *d, bool twice)
{
    damage_list list;
    char *path = damage_path(d, DAMAGE_CLIP), *copy = damage_path(d, "text_encoder_2");
    if (damage_load(&list, path)) {
        damage_remove(d, DAMAGE_CLIP);
        if (twice) /* in both halves */
            snprintf(list.tensors[1].name, sizeof(list.tensors[1].name), "%s",
                     list.tensors[0].name);
        damage_store(d, "text_encoder_2/m-1-of-2.safetensors", &list, 0, 2);
        damage_store(d, "text_encoder_2/m-2-of-2.safetensors", &list, 1, 2);
        hyv_string index = {0};
        for (int i = 0; i < list.count; i++)
            hyv_string_append(&index, "%s\"%s%s\":\"m-%d-of-2.safetensors\"", i ? "," : "",
                              list.tensors[i].name, twice && i == 1 ? "_" : "", i % 2 + 1);
        hyv_string all = {0};
        hyv_string_append(&all, "{\"weight_map\":{%s}}", hyv_string_text(&index));
        damage_write(d, "text_encoder_2/model.safetensors.index.json", hyv_string_text(&all),
                     all.length);
        hyv_string_free(&index);
        hyv_string_free(&all);
    }
    damage_free(&list);
    free(path);
    free(copy);
}

static void whole_shards(const damaged *d)
{
    shards(d, false);
}

static void twice(const damaged *d)
{
    shards(d, true);
}

static void shard_cut(const damaged *d)
{
    shards(d, false);
    damage_cut(d, "text_encoder_2/m-2-of-2.safetensors", -10);
}

static void shard_gone(const damaged *d)
{
    shards(d, false);
    damage_remove(d, "text_encoder_2/m-2-of-2.safetensors");
}

static void index_lies(const damaged *d)
{
    shards(d, false);
    damage_edit(d, "text_encoder_2/model.safetensors.index.json", "{\"weight_map\":{",
                "{\"weight_map\":{\"not.there\":\"m-1-of-2.safetensors\",");
}

static void index_leads_out(const damaged *d)
{
    shards(d, false);
    damage_edit(d, "text_encoder_2/model.safetensors.index.json", "m-1-of-2", "../m-1-of-2");
}

static void index_malformed(const damaged *d)
{
    shards(d, false);
    damage_cut(d, "text_encoder_2/model.safetensors.index.json", -2);
}

/* Other containers. */
static void take_transformer(const damaged *d, const char *name, const char *source)
{
    damage_remove(d, DAMAGE_TRANSFORMER);
    damage_copy(d, name, source);
}

static void whole_gguf(const damaged *d)
{
    take_transformer(d, "transformer/t.gguf", "tests/golden/names/hunyuan-video-t2v-mixed.gguf");
}

static void gguf_cut(const damaged *d)
{
    whole_gguf(d);
    damage_cut(d, "transformer/t.gguf", -100);
}

static void gguf_type(const damaged *d)
{
    const int64_t shape[1] = {32};
    gguf_file f = {0};
    damage_remove(d, DAMAGE_TRANSFORMER);
    gguf_key_string(&f, "general.architecture", "hyvid");
    gguf_describe(&f, "img_in.proj.weight", 1, shape, 77, 0);
    hyv_string bytes = gguf_bytes(&f);
    damage_write(d, "transformer/t.gguf", bytes.text, bytes.length);
    hyv_string_free(&bytes);
}

static void whole_pt(const damaged *d)
{
    take_transformer(d, "transformer/t.pt", "tests/golden/names/mp_rank_00_model_states.pt");
}

static void pt_cut(const damaged *d)
{
    whole_pt(d);
    damage_cut(d, "transformer/t.pt", -3000);
}

static void pt_code(const damaged *d)
{
    whole_pt(d);
    damage_edit(d, "transformer/t.pt", "collections\nOrderedDict", "subprocess\ncheck_output");
}

static void pt_view(const damaged *d)
{
    take_transformer(d, "transformer/t.pt", "tests/golden/pt/transposed.pt");
}

static void pt_legacy(const damaged *d)
{
    take_transformer(d, "transformer/t.pt", "tests/golden/pt/legacy.pt");
}

static void whole_fp8(const damaged *d)
{
    take_transformer(d, "transformer/t.pt", "tests/golden/names/mp_rank_00_model_states_fp8.pt");
    damage_copy(d, "transformer/t_map.pt", "tests/golden/names/mp_rank_00_model_states_fp8_map.pt");
}

static void fp8_alone(const damaged *d)
{
    whole_fp8(d);
    damage_remove(d, "transformer/t_map.pt");
}

/* Configurations. */
static void config_gone(const damaged *d)
{
    damage_remove(d, "transformer/config.json");
}

static void config_cut(const damaged *d)
{
    damage_cut(d, "vae/config.json", 50);
}

static void config_layers(const damaged *d)
{
    damage_edit(d, "transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 3");
}

static void config_width(const damaged *d)
{
    damage_edit(d, "text_encoder/config.json", "_size\": 80", "_size\": 96");
}

static void config_foreign(const damaged *d)
{
    damage_edit(d, "vae/config.json", "AutoencoderKLHunyuanVideo", "AutoencoderKLWan");
}

static void config_i2v(const damaged *d)
{
    damage_edit(d, "transformer/config.json", "_type\": null", "_type\": \"token_replace\"");
}

static void index_v15(const damaged *d)
{
    damage_edit(d, "model_index.json", "HunyuanVideoPipeline", "HunyuanVideo15Pipeline");
}

static void scheduler_foreign(const damaged *d)
{
    damage_edit(d, "scheduler/scheduler_config.json", "FlowMatchEulerDiscrete", "DDIM");
}

static void other_clip(const damaged *d)
{
    damage_copy(d, DAMAGE_CLIP, "tests/golden/i2v/text_encoder_2/model.safetensors");
    damage_copy(d, "text_encoder_2/config.json", "tests/golden/i2v/text_encoder_2/config.json");
}

/* Places. */
static void no_folder(const damaged *d)
{
    damage_remove(d, "vae");
}

static void no_weights(const damaged *d)
{
    damage_remove(d, DAMAGE_VAE);
}

static void folder_for_file(const damaged *d)
{
    damage_remove(d, DAMAGE_VAE);
    damage_write(d, DAMAGE_VAE "/x", "", 0);
}

static void unreadable(const damaged *d)
{
    char *path = damage_path(d, DAMAGE_VAE);
    damage_edit(d, DAMAGE_VAE, "{", "{");
    CHECK(chmod(path, 0) == 0);
    free(path);
}

static void wrong_component(const damaged *d)
{
    damage_copy(d, DAMAGE_TRANSFORMER, "tests/golden/t2v/vae/diffusion_pytorch_model.safetensors");
}

static void two_candidates(const damaged *d)
{
    damage_remove(d, DAMAGE_VAE);
    damage_copy(d, "vae/a.safetensors", "tests/golden/t2v/" DAMAGE_VAE);
    damage_copy(d, "vae/b.safetensors", "tests/golden/t2v/" DAMAGE_VAE);
}

/* A folder of loose files, which are told by what they hold. */
static void loose(const damaged *d)
{
    damage_remove(d, "transformer");
    damage_remove(d, "model_index.json");
    damage_copy(d, "loose/t.safetensors", "tests/golden/t2v/" DAMAGE_TRANSFORMER);
    damage_copy(d, "loose/t.json", "tests/golden/t2v/transformer/config.json");
}

static void loose_twice(const damaged *d)
{
    loose(d);
    damage_copy(d, "loose/u.safetensors", "tests/golden/t2v/" DAMAGE_TRANSFORMER);
}

static void loose_ambiguous(const damaged *d)
{
    loose(d);
    damage_remove(d, "loose/t.json");
}

static void loose_named(const damaged *d)
{
    loose_ambiguous(d);
    damage_remove(d, "loose");
    damage_copy(d, "loose/hunyuan_I2V.safetensors", "tests/golden/t2v/" DAMAGE_TRANSFORMER);
}

static void loose_flux(const damaged *d)
{
    flux(d);
    damage_edit(d, DAMAGE_TRANSFORMER, "{", "{");
    char *path = damage_path(d, DAMAGE_TRANSFORMER);
    loose(d); /* removes the folder */
    free(path);
    damage_write(d, "loose/page.safetensors", "<html>", 6);
}

/* Tokenizers. */
static void no_tokenizer(const damaged *d)
{
    damage_remove(d, "tokenizer/tokenizer.json");
}

static void tokenizer_cut(const damaged *d)
{
    damage_cut(d, "tokenizer/tokenizer.json", 3000);
}

static void vocabulary_cut(const damaged *d)
{
    damage_cut(d, "tokenizer_2/vocab.json", 500);
}

static void merges_cut(const damaged *d)
{
    damage_cut(d, "tokenizer_2/merges.txt", 1011); /* behind a line */
}

static void merge_cut(const damaged *d)
{
    damage_cut(d, "tokenizer_2/merges.txt", 1001);
}

static void merges_gone(const damaged *d)
{
    damage_remove(d, "tokenizer_2/merges.txt");
}

static void swapped_tokenizer(const damaged *d)
{
    damage_copy(d, "tokenizer/tokenizer.json", "tests/golden/i2v/tokenizer_2/tokenizer.json");
}

static void large_tokenizer(const damaged *d)
{
    damage_edit(d, "tokenizer/tokenizer.json", "\"added_tokens\": [",
                "\"added_tokens\": [{\"id\": 5000, \"content\": \"<|far|>\", \"special\": true},");
}

#define T "transformer"
#define V "vae"
#define L "text_encoder"
#define C "text_encoder_2"

static const struct damage_case {
    const char *name;
    damage_function *damage;
    expected want;
} cases[] = {
    {"truncated", truncated, {"truncated", T, DAMAGE_TRANSFORMER, NULL, "bytes"}},
    {"header cut", header_cut, {"truncated", T, DAMAGE_TRANSFORMER, NULL, "header"}},
    {"LFS pointer", lfs, {"lfs_pointer", T, DAMAGE_TRANSFORMER, NULL, "git lfs pull"}},
    {"HTML page", html, {"web_page", V, DAMAGE_VAE, NULL, "HTML"}},
    {"empty", empty, {"empty", V, DAMAGE_VAE, NULL, "empty"}},
    {"header damaged", bad_header, {"bad_json", T, DAMAGE_TRANSFORMER, NULL, "line 1"}},
    {"header too long", long_header, {"truncated", T, DAMAGE_TRANSFORMER, NULL, "header takes"}},
    {"noise", noise, {"not_weights", V, DAMAGE_VAE, NULL, "safetensors"}},
    {"overlap", overlap, {"bad_ranges", V, DAMAGE_VAE, "b", "overlap"}},
    {"hole", hole, {"bad_ranges", V, DAMAGE_VAE, "b", "hole"}},
    {"range and shape", wrong_length, {"bad_ranges", V, DAMAGE_VAE, "b", "range has 4"}},
    {"trailing byte", trailing, {"trailing_bytes", V, DAMAGE_VAE, NULL, "1 bytes after"}},
    {"tensor missing", missing, {"missing_tensor", T, NULL, MATRIX, "missing"}},
    {"tensor extra", extra, {"?extra_tensor", T, DAMAGE_TRANSFORMER, "what_is_this.weight", NULL}},
    {"tensor misshapen", misshapen, {"misshapen_tensor", T, DAMAGE_TRANSFORMER, MATRIX, "shape ["}},
    {"NaN", not_a_number, {"nan", T, DAMAGE_TRANSFORMER, MATRIX, "1 of "}},
    {"Inf", infinite, {"inf", T, DAMAGE_TRANSFORMER, MATRIX, "1 of "}},
    {"zeros", zero, {"all_zero", T, DAMAGE_TRANSFORMER, MATRIX, NULL}},
    {"integers", wrong_type, {"unsupported_type", T, DAMAGE_TRANSFORMER, NULL, "has type I32"}},
    {"unknown type", unknown_type, {"unsupported_type", T, DAMAGE_TRANSFORMER, NULL, "'F99'"}},
    {"unused type", unused_type, {"?unsupported_type", T, NULL, NULL, "type U32"}},
    {"shard cut", shard_cut, {"truncated", C, "m-2-of-2.safetensors", NULL, "truncated"}},
    {"shard gone", shard_gone, {"missing_file", C, ".index.json", NULL, "m-2-of-2.safetensors"}},
    {"index lies", index_lies, {"bad_index", C, ".index.json", "not.there", "m-1-of-2"}},
    {"index leads out", index_leads_out, {"bad_index", C, ".index.json", NULL, "plain file name"}},
    {"index malformed", index_malformed, {"bad_json", C, ".index.json", NULL, "JSON"}},
    {"tensor twice", twice, {"duplicate_tensor", C, NULL, NULL, "m-1-of-2"}},
    {"GGUF cut", gguf_cut, {"truncated", T, "t.gguf", NULL, "takes"}},
    {"GGUF type", gguf_type, {"unsupported_type", T, "t.gguf", "img_in.proj.weight", "77"}},
    {"pickle cut", pt_cut, {"truncated", T, "t.pt", NULL, "directory"}},
    {"pickle with code", pt_code, {"code_in_pickle", T, "t.pt", NULL, "subprocess.check_output"}},
    {"pickle of views", pt_view, {"unsupported_container", T, "t.pt", "w", "view"}},
    {"legacy pickle", pt_legacy, {"unsupported_container", T, "t.pt", NULL, "1.6"}},
    {"fp8 without its map", fp8_alone, {"missing_file", T, "t.pt", NULL, "t_map.pt"}},
    {"no config", config_gone, {"no_config", T, NULL, NULL, "rope_axes_dim"}},
    {"config cut", config_cut, {"bad_json", V, "vae/config.json", NULL, "JSON"}},
    {"config of more layers",
     config_layers,
     {"config_contradicts", T, "transformer/config.json", NULL, "num_layers is 3"}},
    {"and what it asks for",
     config_layers,
     {"missing_tensor", T, NULL, "transformer_blocks.2.attn.to_q.weight", NULL}},
    {"config of another width",
     config_width,
     {"config_contradicts", L, "text_encoder/config.json", NULL, "intermediate_size"}},
    {"config of Wan", config_foreign, {"bad_config", V, "vae/config.json", NULL, "KLWan"}},
    {"config of I2V", config_i2v, {"image_to_video", T, NULL, NULL, "token_replace"}},
    {"pipeline of 1.5", index_v15, {"foreign_family", "", "model_index.json", NULL, "1.5"}},
    {"foreign scheduler", scheduler_foreign, {"bad_config", "", NULL, NULL, "DDIM"}},
    {"components of two models",
     other_clip,
     {"components_do_not_fit", "", NULL, NULL, "pooled_projection_dim"}},
    {"no folder", no_folder, {"missing_component", V, "vae", NULL, "no folder"}},
    {"no weights", no_weights, {"missing_file", V, "vae", NULL, "no weights"}},
    {"a folder for a file", folder_for_file, {"not_a_file", V, DAMAGE_VAE, NULL, "regular"}},
    {"wrong component", wrong_component, {"wrong_component", T, NULL, NULL, "the vae"}},
    {"two candidates", two_candidates, {"several_candidates", V, "vae", NULL, "2 files"}},
    {"loose: two transformers",
     loose_twice,
     {"several_candidates", T, "u.safetensors", NULL, "t.safetensors"}},
    {"loose: ambiguous", loose_ambiguous, {"?ambiguous_task", T, NULL, NULL, "image"}},
    {"loose: named I2V", loose_named, {"image_to_video", T, NULL, NULL, "by its name"}},
    {"loose: a page beside", loose_flux, {"?web_page", "", "page.safetensors", NULL, NULL}},
    {"HunyuanVideo 1.5", v15, {"foreign_family", T, NULL, NULL, "HunyuanVideo 1.5"}},
    {"Flux", flux, {"foreign_family", T, NULL, NULL, "Flux"}},
    {"Wan", wan, {"foreign_family", T, NULL, NULL, "Wan"}},
    {"a LoRA", lora, {"foreign_family", T, NULL, NULL, "LoRA"}},
    {"unknown tensors", unknown, {"unknown_tensors", T, NULL, NULL, "unknown tensors"}},
    {"no tokenizer", no_tokenizer, {"missing_tokenizer", "tokenizer", NULL, NULL, "Llama 3"}},
    {"tokenizer cut", tokenizer_cut, {"bad_json", "tokenizer", "tokenizer.json", NULL, "JSON"}},
    {"tokenizer's LFS pointer", lfs_tokenizer, {"lfs_pointer", "tokenizer", NULL, NULL, "LFS"}},
    {"vocabulary cut", vocabulary_cut, {"bad_json", "tokenizer_2", "vocab.json", NULL, "JSON"}},
    {"merges cut", merges_cut, {"merges_cut", "tokenizer_2", "vocab.json", NULL, "no merge makes"}},
    {"a merge cut",
     merge_cut,
     {"damaged_tokenizer", "tokenizer_2", "merges.txt", NULL, "merge 136"}},
    {"merges gone", merges_gone, {"missing_file", "tokenizer_2", NULL, NULL, "merges.txt"}},
    {"tokenizer of CLIP", swapped_tokenizer, {"missing_tokenizer", "tokenizer", NULL, NULL, NULL}},
    {"tokenizer too large",
     large_tokenizer,
     {"wrong_tokenizer", "tokenizer", "tokenizer.json", NULL, "5001 tokens"}},
};

static void check_case(const struct damage_case *c)
{
    damaged d;
    seen s = {.want = &c->want};
    if (!damage_begin(&d))
        return;
    c->damage(&d);
    const int result = examine(&s, d.folder, NULL);
    CHECK_MSG(s.found, "%s: not named by%s", c->name, s.all);
    CHECK_MSG(result == s.errors, "%s: %d of %d errors returned", c->name, result, s.errors);
    CHECK_MSG(*c->want.kind == '?' || result > 0, "%s: taken for healthy", c->name);
    damage_end(&d);
}

/* ---- what is whole --------------------------------------------------------------------------- */

static void test_whole(void)
{
    static const struct {
        const char *name, *words;
        damage_function *make;
    } whole[] = {
        {"golden", "diffusers names", nothing},
        {"shards", "diffusers names", whole_shards},
        {"GGUF", "Q4_0 8", whole_gguf},
        {"PyTorch", "official names", whole_pt},
        {"fp8 with its map", "F8_E4M3", whole_fp8},
        {"loose files", "t.safetensors", loose},
    };
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        damaged d;
        seen s = {0};
        if (!damage_begin(&d))
            continue;
        whole[i].make(&d);
        const int result = examine(&s, d.folder, NULL);
        CHECK_MSG(result == 0 && s.errors == 0 && s.warnings == 0, "%s: %d errors, %d warnings%s",
                  whole[i].name, s.errors, s.warnings, s.all);
        CHECK_MSG(strstr(s.summary, whole[i].words), "%s: %s", whole[i].name, s.summary);
        CHECK(s.components == 6 && s.examined > 300 && s.examined <= s.tensors);
        CHECK_MSG(s.bytes == s.of && s.of > 500000, "%llu of %llu bytes",
                  (unsigned long long)s.bytes, (unsigned long long)s.of);
        damage_end(&d);
    }
}

/* A fault of one component hides none of another's. */
static void test_together(void)
{
    const expected wants[] = {{"truncated", V, DAMAGE_VAE, NULL, NULL},
                              {"nan", T, DAMAGE_TRANSFORMER, MATRIX, NULL},
                              {"merges_cut", "tokenizer_2", NULL, NULL, NULL},
                              {"config_contradicts", C, NULL, NULL, NULL}};
    damaged d;
    if (!damage_begin(&d))
        return;
    damage_cut(&d, DAMAGE_VAE, -1);
    not_a_number(&d);
    merges_cut(&d);
    damage_edit(&d, "text_encoder_2/config.json", "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 1");
    for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
        seen s = {.want = &wants[i]};
        const int result = examine(&s, d.folder, NULL);
        CHECK_MSG(s.found && result == 4, "%s: %d errors%s", wants[i].kind, result, s.all);
    }
    damage_end(&d);
}

/* Options name components, right and wrong ones. */
static void test_options(void)
{
    const expected gone = {"missing_component", V, "/no/such", NULL, "option vae"};
    const char *const right[] = {"transformer", "tests/golden/names/mp_rank_00_model_states.pt",
                                 NULL};
    const char *const wrong[] = {"vae", "/no/such", NULL};
    seen s = {0};
    /* Its numbers do not stand in the file, and no configuration beside it. */
    CHECK(examine(&s, "tests/golden/t2v", right) == 1 && strstr(s.summary, "official names"));
    CHECK_MSG(strstr(s.all, "no_config") && strstr(s.all, "ambiguous_task"), "%s", s.all);
    s = (seen){.want = &gone};
    CHECK_MSG(examine(&s, "tests/golden/t2v", wrong) == 1 && s.found, "%s", s.all);
}

static void test_permission(void)
{
    const expected want = {"unreadable", V, DAMAGE_VAE, NULL, "denied"};
    damaged d;
    seen s = {.want = &want};
    if (geteuid() == 0) {
        check_skip("a file that may not be read (root may read all)");
        return;
    }
    if (!damage_begin(&d))
        return;
    unreadable(&d);
    CHECK_MSG(examine(&s, d.folder, NULL) == 1 && s.found, "%s", s.all);
    damage_end(&d);
}

/* ---- stopping, logging ----------------------------------------------------------------------- */

static int interrupted(void *opaque)
{
    int *left = opaque;
    return (*left)-- <= 0;
}

static int logged(int *errors, const char *model)
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *o = hyv_options_new();
    CHECK(o && hyv_options_set(o, "model", model) == 0);
    callbacks.opaque = errors;
    callbacks.interrupt = interrupted;
    const hyv_inspection values = {.size = sizeof(values), .values = 1};
    const int result = hyv_inspect(o, &callbacks, &values);
    hyv_options_free(&o);
    return result;
}

static void test_stop(void)
{
    seen s = {.stop_after = 50};
    CHECK(examine(&s, "tests/golden/t2v", NULL) == -ECANCELED && s.tensors == 50);
    for (int left = 0; left < 100; left += 20)
        CHECK(logged(&(int){left}, "tests/golden/t2v") == -ECANCELED);
    CHECK(logged(&(int){1000000}, "tests/golden/t2v") == 0);
}

int main(void)
{
    test_whole();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_case(&cases[i]);
    test_together();
    test_options();
    test_permission();
    test_stop();
    return check_done();
}
