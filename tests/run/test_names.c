/* Every published way to name the tensors of a model, and every layout of its files.
 *
 * The reference's own files in other names (tests/golden/names) must give the recorded noise
 * prediction. Files renamed here, by the rules in which the distributions are documented, must give
 * the same bytes as the original, through the public options. What is ambiguous, missing or another
 * family's must be refused by name.
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/hunyuanvideo.h"
#include "../../engine/run/model.h"
#include "../../kernels/half.h"
#include "../check.h"
#include "../gguf.h"
#include "../golden.h"
#include "../published.h"
#include "../tiny.h"

#define T2V GOLDEN_FOLDER "/t2v"

enum { PATH_BYTES = 512, WIDTH = 32, HEIGHT = 32, FRAMES = 5 };

static char root[64]; /* everything written here stands below */

/* ---- files ----------------------------------------------------------------------------------- */

static void make_folders(char *path)
{
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
}

/* "root/NAME" with all its folders. */
static const char *place(char path[PATH_BYTES], const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", root, name);
    make_folders(path);
    return path;
}

static void link_to(const char *from, const char *name)
{
    char path[PATH_BYTES];
    char *target = realpath(from, NULL);
    CHECK_MSG(target && symlink(target, place(path, name)) == 0, "%s cannot be linked to", from);
    free(target);
}

typedef struct renamed {
    char name[256];
    const hyv_tensor *from; /* NULL: one zero */
    int64_t shape[HYV_TENSOR_RANK_MAX];
    int rank;
    int64_t head; /* rows of each head of this size change from halves to pairs; 0: none do */
} renamed;

/* Row 2i + j of a pair-wise head is row j * half + i of the original. */
static void order_rows(char *data, const renamed *r)
{
    const hyv_tensor *t = r->from;
    const size_t row = t->size_bytes / (size_t)t->shape[0];
    for (int64_t i = 0; i < t->shape[0]; i++) {
        const int64_t k = i % r->head, from = i - k + k % 2 * (r->head / 2) + k / 2;
        memcpy(data + (size_t)i * row, (const char *)t->data + (size_t)from * row, row);
    }
}

static void put_array(gguf_file *f, const char *key, uint32_t type, int64_t count)
{
    gguf_key(f, key, HYV_VALUE_ARRAY);
    gguf_put(&f->values, type, 4);
    gguf_put(&f->values, (uint64_t)count, 8);
}

static void put_text(gguf_file *f, const char *text)
{
    gguf_put_string(&f->values, text, strlen(text));
}

enum { VOCABULARY = 896 };

/* The reference's tokenizer.json as llama.cpp's keys. */
static void put_tokenizer(gguf_file *f)
{
    static const char *tokens[VOCABULARY];
    bool special[VOCABULARY] = {false};
    json_t *doc = json_load_file(T2V "/tokenizer/tokenizer.json", 0, NULL), *value;
    const json_t *model = json_object_get(doc, "model"), *merges;
    const char *text;
    size_t i;
    static char unused[VOCABULARY][24];
    for (int id = 0; id < VOCABULARY; id++) {
        snprintf(unused[id], sizeof(unused[id]), "[PAD%d]", id);
        tokens[id] = unused[id];
    }
    json_object_foreach(json_object_get(model, "vocab"), text, value)
        tokens[json_integer_value(value)] = text;
    json_array_foreach(json_object_get(doc, "added_tokens"), i, value)
    {
        const json_int_t id = json_integer_value(json_object_get(value, "id"));
        tokens[id] = json_string_value(json_object_get(value, "content"));
        special[id] = true;
    }
    gguf_key_string(f, "tokenizer.ggml.model", "gpt2");
    gguf_key_string(f, "tokenizer.ggml.pre", "llama-bpe");
    put_array(f, "tokenizer.ggml.tokens", HYV_VALUE_STRING, VOCABULARY);
    for (int id = 0; id < VOCABULARY; id++) {
        put_text(f, tokens[id]);
        if (strcmp(tokens[id], "<|begin_of_text|>") == 0)
            special[id] = true;
    }
    put_array(f, "tokenizer.ggml.token_type", HYV_VALUE_I32, VOCABULARY);
    for (int id = 0; id < VOCABULARY; id++)
        gguf_put(&f->values, special[id] ? 3 : 1, 4);
    merges = json_object_get(model, "merges");
    put_array(f, "tokenizer.ggml.merges", HYV_VALUE_STRING, (int64_t)json_array_size(merges));
    json_array_foreach(merges, i, value)
    {
        char pair[512];
        snprintf(pair, sizeof(pair), "%s %s", json_string_value(json_array_get(value, 0)),
                 json_string_value(json_array_get(value, 1)));
        put_text(f, json_is_string(value) ? json_string_value(value) : pair);
    }
    for (uint32_t id = 0; id < VOCABULARY; id++)
        if (strcmp(tokens[id], "<|begin_of_text|>") == 0)
            gguf_key_u32(f, "tokenizer.ggml.bos_token_id", id);
    json_decref(doc);
}

/* As llama.cpp's converter leaves a Llama. */
static void write_gguf(const char *path, const renamed *list, int count)
{
    gguf_file f = {0};
    const float zero = 0.0f;
    gguf_key_string(&f, "general.architecture", "llama");
    gguf_key_u32(&f, "llama.attention.head_count", 6);
    gguf_key_u32(&f, "llama.attention.head_count_kv", 2);
    put_tokenizer(&f);
    for (int i = 0; i < count; i++) {
        const renamed *r = &list[i];
        char *rows = r->head ? malloc(r->from->size_bytes) : NULL;
        if (rows)
            order_rows(rows, r);
        gguf_tensor(&f, r->name, r->rank, r->shape, r->from ? r->from->type : HYV_F32,
                    rows      ? rows
                    : r->from ? r->from->data
                              : (const void *)&zero);
        free(rows);
    }
    CHECK(gguf_write(&f, path));
}

static void write_tensors(const char *path, const renamed *list, int count)
{
    static const char *const types[] = {[HYV_F32] = "F32",
                                        [HYV_F16] = "F16",
                                        [HYV_BF16] = "BF16",
                                        [HYV_F8_E4M3] = "F8_E4M3",
                                        [HYV_U8] = "U8"};
    hyv_string header = {0};
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        const renamed *r = &list[i];
        const size_t bytes = r->from ? r->from->size_bytes : sizeof(float);
        hyv_string_append(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{", r->name,
                          types[r->from ? r->from->type : HYV_F32]);
        for (int k = 0; k < r->rank; k++)
            hyv_string_append(&header, "%s%lld", k ? "," : "", (long long)r->shape[k]);
        hyv_string_append(&header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
    }
    hyv_string_append(&header, "}");
    const uint64_t length = strlen(hyv_string_text(&header));
    const float zero = 0.0f;
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "%s cannot be written", path)) {
        fwrite(&length, sizeof(length), 1, f);
        fwrite(hyv_string_text(&header), 1, length, f);
        for (int i = 0; i < count; i++)
            if (list[i].from)
                fwrite(list[i].from->data, 1, list[i].from->size_bytes, f);
            else
                fwrite(&zero, sizeof(zero), 1, f);
        CHECK(fclose(f) == 0);
    }
    hyv_string_free(&header);
}

/* What documents call a key map: each rule replaces every occurrence; "^" only at the start. */
typedef struct rule {
    const char *from, *to;
} rule;

static void replace(char name[256], const rule *r)
{
    const bool start = *r->from == '^';
    const char *from = r->from + start;
    char done[256] = "",
         *at = start ? (strncmp(name, from, strlen(from)) ? NULL : name) : strstr(name, from);
    const char *rest = name;
    while (at) {
        snprintf(done + strlen(done), sizeof(done) - strlen(done), "%.*s%s", (int)(at - rest), rest,
                 r->to);
        rest = at + strlen(from);
        at = start ? NULL : strstr(rest, from);
    }
    snprintf(done + strlen(done), sizeof(done) - strlen(done), "%s", rest);
    memcpy(name, done, sizeof(done));
}

typedef struct form {
    const char *name;
    enum hyv_component component;
    const char *source; /* below tests/golden */
    rule rules[24];
    const char *extra[12]; /* tensors beside it that count for nothing */
    bool pairs;            /* a GGUF file, with q and k as llama.cpp permutes them */
    bool convolutions;     /* attention matrices as 1x1x1 convolutions */
} form;

static const form forms[] = {
    {"official, model.diffusion_model.",
     HYV_TRANSFORMER,
     "names/official_bf16.safetensors",
     {{"^", "model.diffusion_model."}},
     {"model_ema.decay"},
     false,
     false},
    {"official, module.",
     HYV_TRANSFORMER,
     "names/official_bf16.safetensors",
     {{"^", "module."}},
     {NULL},
     false,
     false},
    {"diffusers, loose", HYV_TRANSFORMER, "t2v/transformer", {{"^", ""}}, {NULL}, false, false},
    {"causal LM",
     HYV_TEXT_ENCODER,
     "t2v/text_encoder",
     {{"^", "model."}},
     {"lm_head.weight", "scaled_fp8", "tokenizer"},
     false,
     false},
    {"LLaVA, old names",
     HYV_TEXT_ENCODER,
     "t2v/text_encoder",
     {{"^", "language_model.model."}},
     {"language_model.lm_head.weight", "multi_modal_projector.linear_1.weight",
      "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
      "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight"},
     false,
     false},
    {"LLaVA, new names",
     HYV_TEXT_ENCODER,
     "t2v/text_encoder",
     {{"^", "model.language_model."}},
     {"lm_head.weight", "model.multi_modal_projector.linear_1.weight",
      "model.vision_tower.encoder.layers.0.mlp.fc1.weight"},
     false,
     false},
    {"llama.cpp",
     HYV_TEXT_ENCODER,
     "t2v/text_encoder",
     {{"^norm.", "output_norm."},
      {"^embed_tokens.", "token_embd."},
      {"^layers.", "blk."},
      {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}},
     {"output.weight", "rope_freqs.weight"},
     true,
     false},
    {"CLIP with its vision half",
     HYV_TEXT_ENCODER_2,
     "t2v/text_encoder_2",
     {{"^", ""}},
     {"vision_model.encoder.layers.0.mlp.fc1.weight", "vision_model.embeddings.class_embedding",
      "visual_projection.weight", "text_projection.weight", "logit_scale"},
     false,
     false},
    {"CLIP without text_model.",
     HYV_TEXT_ENCODER_2,
     "t2v/text_encoder_2",
     {{"^text_model.", ""}},
     {"text_projection.weight"},
     false,
     false},
    {"VAE, ComfyUI",
     HYV_VAE,
     "t2v/vae",
     {{"coder.up_blocks.0.", "coder.up.3."},
      {"coder.up_blocks.1.", "coder.up.2."},
      {"coder.up_blocks.2.", "coder.up.1."},
      {"coder.up_blocks.3.", "coder.up.0."},
      {"coder.down_blocks.", "coder.down."},
      {".mid_block.resnets.0.", ".mid.block_1."},
      {".mid_block.resnets.1.", ".mid.block_2."},
      {".resnets.", ".block."},
      {"downsamplers.0.conv", "downsample.conv"},
      {"upsamplers.0.conv", "upsample.conv"},
      {"mid_block.attentions.0.group_norm.", "mid.attn_1.norm."},
      {"mid_block.attentions.0.to_q.", "mid.attn_1.q."},
      {"mid_block.attentions.0.to_k.", "mid.attn_1.k."},
      {"mid_block.attentions.0.to_v.", "mid.attn_1.v."},
      {"mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."},
      {"conv_shortcut.conv.", "nin_shortcut.conv."},
      {"conv_norm_out.", "norm_out."}},
     {NULL},
     false,
     true},
    {"VAE, vae.", HYV_VAE, "t2v/vae", {{"^", "vae."}}, {"loss.logvar"}, false, false},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]), TENSORS_MAX = 512 };

static void rewrite(renamed *r, const hyv_tensor *t, const form *f, int64_t head)
{
    *r = (renamed){.from = t, .rank = t->rank};
    snprintf(r->name, sizeof(r->name), "%s", t->name);
    memcpy(r->shape, t->shape, sizeof(r->shape));
    for (int k = 0; k < 24 && f->rules[k].from; k++)
        replace(r->name, &f->rules[k]);
    if (f->pairs && (strstr(r->name, "attn_q.") || strstr(r->name, "attn_k.")))
        r->head = head;
    if (f->convolutions && strstr(r->name, "attn_1.") && r->rank == 2)
        for (r->rank = 5; r->shape[4] == 0;)
            r->shape[2] = r->shape[3] = r->shape[4] = 1;
}

/* The form as a file below the root, with the configuration that its tiny size needs. */
static void write_form(const form *f, const char *name)
{
    char path[PATH_BYTES];
    renamed *list = calloc(TENSORS_MAX, sizeof(*list));
    hyv_checkpoint *c = golden_file(f->source);
    int count = 0;
    if (!CHECK(list != NULL) || !c)
        return;
    for (; count < hyv_checkpoint_count(c) && count < TENSORS_MAX - 12; count++)
        rewrite(&list[count], hyv_checkpoint_at(c, count), f, 8);
    for (int k = 0; k < 12 && f->extra[k]; k++)
        snprintf(list[count++].name, sizeof(list->name), "%s", f->extra[k]);
    place(path, name);
    if (f->pairs)
        write_gguf(path, list, count);
    else
        write_tensors(path, list, count);
    hyv_checkpoint_close(&c);
    free(list);
}

static void write_config(enum hyv_component c, const char *name)
{
    char from[128];
    snprintf(from, sizeof(from), T2V "/%s/config.json", hyv_component_name(c));
    link_to(from, name);
}

/* ---- whole runs ------------------------------------------------------------------------------ */

typedef struct setting {
    const char *name, *value;
} setting;

typedef struct outcome {
    int status;
    char message[1024];
    uint8_t frames[FRAMES * WIDTH * HEIGHT * 3];
} outcome;

static void keep_error(void *opaque, enum hyv_log_level level, const char *message)
{
    if (level == HYV_LOG_ERROR)
        snprintf(((outcome *)opaque)->message, 1024, "%s", message);
}

/* One small video with these options. */
static void run(outcome *o, const setting *settings)
{
    static const setting always[] = {{"prompt", "a cat on the grass"},
                                     {"width", "32"},
                                     {"height", "32"},
                                     {"frames", "5"},
                                     {"steps", "2"},
                                     {"seed", "3"},
                                     {NULL, NULL}};
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *options = hyv_options_new();
    hyv_context *c = NULL;
    hyv_image image = HYV_INIT(hyv_image);
    memset(o, 0, sizeof(*o));
    callbacks.opaque = o;
    callbacks.log = keep_error;
    for (const setting *s = always; s->name; s++)
        CHECK(hyv_options_set(options, s->name, s->value) == 0);
    for (const setting *s = settings; s->name; s++)
        CHECK_MSG(hyv_options_set(options, s->name, s->value) == 0, "%s", s->name);
    o->status = hyv_open(&c, options, &callbacks);
    if (o->status >= 0)
        o->status = hyv_start(c, options, NULL);
    image.format = HYV_FORMAT_RGB24;
    image.width = WIDTH;
    image.height = HEIGHT;
    image.stride[0] = WIDTH * 3;
    for (int i = 0; i <= FRAMES && o->status >= 0; i++) {
        image.data[0] = o->frames + (size_t)(i < FRAMES ? i : 0) * WIDTH * HEIGHT * 3;
        o->status = hyv_read(c, &image);
        CHECK(o->status < 0 || o->status == (i < FRAMES));
    }
    hyv_close(&c);
    hyv_options_free(&options);
}

static outcome plain, other;

static void expect_same(const char *what, const setting *settings)
{
    run(&other, settings);
    CHECK_MSG(other.status == 0, "%s: %d, %s", what, other.status, other.message);
    CHECK_MSG(memcmp(plain.frames, other.frames, sizeof(plain.frames)) == 0,
              "%s: other frames than the original's", what);
}

/* Each of `parts` must stand in the message. */
static void expect_refusal(const char *what, const setting *settings, int status,
                           const char *const *parts)
{
    run(&other, settings);
    CHECK_MSG(other.status == status, "%s: status %d, %s", what, other.status, other.message);
    for (; *parts; parts++)
        CHECK_MSG(strstr(other.message, *parts) != NULL, "%s: \"%s\" does not say \"%s\"", what,
                  other.message, *parts);
}

static void check_forms(void)
{
    for (int i = 0; i < FORMS; i++) {
        const form *f = &forms[i];
        char name[64], path[PATH_BYTES];
        snprintf(name, sizeof(name), "form%d/file.weights", i);
        write_form(f, name);
        place(path, name);
        snprintf(name, sizeof(name), "form%d/config.json", i);
        write_config(f->component, name);
        expect_same(f->name, (const setting[]){{"model", T2V},
                                               {hyv_component_name(f->component), path},
                                               {NULL, NULL}});
    }
}

/* ---- layouts --------------------------------------------------------------------------------- */

/* Forms 0, 3, 7 and 9 under the names of a distribution. */
static void write_layout(const char *folder, const char *const names[HYV_COMPONENTS])
{
    static const int chosen[HYV_COMPONENTS] = {3, 7, 0, 9};
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        char name[PATH_BYTES / 2], config[PATH_BYTES / 2];
        snprintf(name, sizeof(name), "%s/%s", folder, names[c]);
        write_form(&forms[chosen[c]], name);
        snprintf(config, sizeof(config), "%s", name);
        snprintf(strrchr(config, '.'), 8, ".json");
        write_config((enum hyv_component)c, config);
    }
}

static void check_layouts(void)
{
    static const char *const comfy[HYV_COMPONENTS] = {
        "split_files/text_encoders/llava_llama3_fp16.safetensors",
        "split_files/text_encoders/clip_l.safetensors",
        "split_files/diffusion_models/hunyuan_video_t2v_720p_bf16.safetensors",
        "split_files/vae/hunyuan_video_vae_bf16.safetensors"};
    static const char *const tencent[HYV_COMPONENTS] = {
        "text_encoder/model.safetensors", "text_encoder_2/model.safetensors",
        "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
        "hunyuan-video-t2v-720p/vae/pytorch_model.pt"};
    static const char *const loose[HYV_COMPONENTS] = {"a.bin", "b.bin", "c.bin", "d.bin"};
    const struct {
        const char *folder, *const *names, *tokenizer, *tokenizer_2;
    } layouts[] = {
        {"comfy", comfy, "comfy/tokenizer", "comfy/tokenizer_2"},
        {"tencent", tencent, "tencent/text_encoder/tokenizer.json", "tencent/tokenizer_2"},
        {"loose", loose, "loose/tokenizer", "loose/clip"},
    };
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        char path[PATH_BYTES];
        write_layout(layouts[i].folder, layouts[i].names);
        link_to(strstr(layouts[i].tokenizer, ".json") ? T2V "/tokenizer/tokenizer.json"
                                                      : T2V "/tokenizer",
                layouts[i].tokenizer);
        link_to(T2V "/tokenizer_2", layouts[i].tokenizer_2);
        snprintf(path, sizeof(path), "%s/%s", root, layouts[i].folder);
        expect_same(layouts[i].folder, (const setting[]){{"model", path}, {NULL, NULL}});
    }
}

/* Both tokenizers' files in one folder, and every component named by itself. */
static void check_single_files(void)
{
    char path[HYV_COMPONENTS + 1][PATH_BYTES];
    link_to(T2V "/tokenizer/tokenizer.json", "mixed/tokenizer.json");
    link_to(T2V "/tokenizer/tokenizer_config.json", "mixed/tokenizer_config.json");
    link_to(T2V "/tokenizer_2/vocab.json", "mixed/vocab.json");
    link_to(T2V "/tokenizer_2/merges.txt", "mixed/merges.txt");
    place(path[0], "loose/a.bin");
    place(path[1], "loose/b.bin");
    place(path[2], "loose/c.bin");
    place(path[3], "loose/d.bin");
    place(path[4], "mixed");
    const setting all[] = {{"transformer", path[2]},
                           {"vae", path[3]},
                           {"text_encoder", path[0]},
                           {"text_encoder_2", path[1]},
                           {"tokenizer", path[4]},
                           {"tokenizer_2", path[4]},
                           {NULL, NULL}};
    expect_same("components alone", all);
    expect_same("a single file and the rest",
                (const setting[]){
                    {"model", path[2]}, all[1], all[2], all[3], all[4], all[5], {NULL, NULL}});
    expect_refusal("a single file alone", (const setting[]){{"model", path[2]}, {NULL, NULL}},
                   -ENOENT, (const char *const[]){"text_encoder, text_encoder_2, vae", NULL});
    expect_refusal("no tokenizer", (const setting[]){all[0], all[1], all[2], all[3], {NULL, NULL}},
                   -ENOENT, (const char *const[]){"tokenizer.json", "option tokenizer", NULL});
    expect_refusal("CLIP's tokenizer for Llama",
                   (const setting[]){{"model", T2V}, {"tokenizer", T2V "/tokenizer_2"}, {0}},
                   -EBADMSG, (const char *const[]){"option tokenizer", "Llama 3", NULL});
    expect_refusal("no such file",
                   (const setting[]){{"model", T2V}, {"vae", "/does/not/exist"}, {0}}, -ENOENT,
                   (const char *const[]){"option vae", "/does/not/exist", NULL});
    expect_refusal("the wrong component", (const setting[]){{"model", T2V}, {"vae", path[2]}, {0}},
                   -ENOTSUP, (const char *const[]){"this is the transformer, not the vae", NULL});
}

/* A GGUF file of the language model tells its heads and has a tokenizer inside. */
/* hyv_convert with these options. */
static void convert_to(const char *out, const char *type, const setting *settings)
{
    hyv_options *o = hyv_options_new();
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    callbacks.opaque = &other;
    callbacks.log = keep_error;
    for (const setting *s = settings; s->name; s++)
        CHECK(hyv_options_set(o, s->name, s->value) == 0);
    const int err = hyv_convert(o, out, type, NULL, &callbacks);
    CHECK_MSG(err == 0, "%s: %d, %s", out, err, other.message);
    hyv_options_free(&o);
}

/* A language model whose numbers and tokenizer are keys of its file; also after it was converted,
 * to a folder, which gets them as files, and to another such file. */
static void check_gguf_alone(void)
{
    char path[HYV_COMPONENTS][PATH_BYTES], clip[PATH_BYTES], folder[PATH_BYTES], again[PATH_BYTES];
    link_to(T2V "/tokenizer_2", "alone/clip");
    write_form(&forms[6], "alone/llama.gguf");
    place(path[0], "alone/llama.gguf");
    place(path[1], "loose/b.bin");
    place(path[2], "loose/c.bin");
    place(path[3], "loose/d.bin");
    place(clip, "alone/clip");
    expect_same("keys of a GGUF file", (const setting[]){{"text_encoder", path[0]},
                                                         {"text_encoder_2", path[1]},
                                                         {"transformer", path[2]},
                                                         {"vae", path[3]},
                                                         {"tokenizer_2", clip},
                                                         {NULL, NULL}});
    place(folder, "alone/converted");
    convert_to(folder, "bf16",
               (const setting[]){{"text_encoder", path[0]},
                                 {"text_encoder_2", path[1]},
                                 {"transformer", path[2]},
                                 {"vae", path[3]},
                                 {"tokenizer_2", clip},
                                 {NULL, NULL}});
    expect_same("a folder made of it", (const setting[]){{"model", folder}, {NULL, NULL}});
    place(again, "alone/again.gguf");
    convert_to(again, "f32", (const setting[]){{"text_encoder", path[0]}, {NULL, NULL}});
    expect_same("a GGUF file made of it", (const setting[]){{"text_encoder", again},
                                                            {"text_encoder_2", path[1]},
                                                            {"transformer", path[2]},
                                                            {"vae", path[3]},
                                                            {"tokenizer_2", clip},
                                                            {NULL, NULL}});
}

static void check_ambiguous(void)
{
    char path[PATH_BYTES], second[PATH_BYTES];
    write_form(&forms[1], "loose/e.bin");
    write_config(HYV_TRANSFORMER, "loose/e.json");
    snprintf(path, sizeof(path), "%s/loose", root);
    expect_refusal("two transformers", (const setting[]){{"model", path}, {NULL, NULL}}, -EINVAL,
                   (const char *const[]){"c.bin", "e.bin", "transformer=", NULL});
    place(second, "loose/e.bin");
    expect_same("one of two",
                (const setting[]){{"model", path}, {"transformer", second}, {NULL, NULL}});
}

/* The nearest bf16, to even. */
static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float float_of(uint16_t bf16)
{
    const uint32_t bits = (uint32_t)bf16 << 16;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* ComfyUI's newer fp8: weight_scale, and how a layer is quantised in a tensor beside it. */
static void check_quantised(void)
{
    static const struct {
        const char *suffix, *text, *word; /* word: of the refusal; NULL: it is read */
    } cases[] = {{"comfy_quant", "{\"format\": \"float8_e4m3fn\"}", NULL},
                 {"comfy_quant", "{\"format\": \"mxfp8\"}", "quantised as 'mxfp8'"},
                 {"comfy_quant", "{\"format\": 8}", "format"},
                 {"comfy_quant", "{", "not valid JSON"},
                 {"pre_quant_scale", "1234", "pre_quant_scale"},
                 {"weight_scale_2", "1234", "weight_scale_2"}};
    hyv_checkpoint *c = golden_file("names/comfyui_fp8_scaled.safetensors");
    const int64_t count = c ? hyv_checkpoint_count(c) : 0;
    renamed *list = calloc((size_t)count + 1, sizeof(*list));
    const form same = {.rules = {{".scale_weight", ".weight_scale"}}}, as_it_is = {0};
    const char *layer = NULL;
    char path[PATH_BYTES];
    write_config(HYV_TRANSFORMER, "quantised/config.json");
    for (int64_t i = 0; i < count; i++)
        rewrite(&list[i], hyv_checkpoint_at(c, i), &as_it_is, 0);
    write_tensors(place(path, "quantised/t.weights"), list, (int)count);
    run(&other, (const setting[]){{"model", T2V}, {"transformer", path}, {NULL, NULL}});
    static outcome older;
    older = other;
    for (int64_t i = 0; i < count; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        rewrite(&list[i], t, &same, 0);
        layer = t->type == HYV_F8_E4M3 ? t->name : layer;
    }
    for (size_t i = 0; layer && i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int64_t bytes = (int64_t)strlen(cases[i].text);
        const hyv_tensor told = {.type = HYV_U8,
                                 .rank = 1,
                                 .shape = {bytes},
                                 .count = bytes,
                                 .data = cases[i].text,
                                 .size_bytes = (size_t)bytes};
        list[count] = (renamed){.from = &told, .shape = {bytes}, .rank = 1};
        snprintf(list[count].name, sizeof(list->name), "%.*s.%s", (int)(strlen(layer) - 7), layer,
                 cases[i].suffix);
        write_tensors(place(path, "quantised/t.weights"), list, (int)count + 1);
        run(&other, (const setting[]){{"model", T2V}, {"transformer", path}, {NULL, NULL}});
        if (cases[i].word)
            CHECK_MSG(other.status < 0 && strstr(other.message, cases[i].word), "%s: %d: %s",
                      cases[i].word, other.status, other.message);
        else
            CHECK_MSG(other.status == 0 &&
                          memcmp(other.frames, older.frames, sizeof(other.frames)) == 0,
                      "weight_scale: %d: %s", other.status, other.message);
    }
    CHECK(layer != NULL);
    free(list);
    hyv_checkpoint_close(&c);
}

/* Tencent's rounding: fp8 with .fp8_scale beside it, and the same values written out in bf16. */
static void check_rounded(void)
{
    hyv_checkpoint *c = golden_file("names/comfyui_fp8_scaled.safetensors");
    const int64_t count = c ? hyv_checkpoint_count(c) : 0;
    renamed *small = calloc((size_t)count, sizeof(*small)),
            *wide = calloc((size_t)count, sizeof(*wide));
    hyv_tensor *tensors = calloc((size_t)count, sizeof(*tensors));
    const form same = {.rules = {{".scale_weight", ".fp8_scale"}}};
    char path[2][PATH_BYTES];
    for (int64_t i = 0; i < count; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        char name[300];
        rewrite(&small[i], t, &same, 0);
        rewrite(&wide[i], t, &same, 0);
        snprintf(name, sizeof(name), "%.*s.scale_weight", (int)(strlen(t->name) - 7), t->name);
        const hyv_tensor *scale = t->type == HYV_F8_E4M3 ? hyv_checkpoint_find(c, name) : NULL;
        if (!scale) {
            if (strstr(wide[i].name, ".fp8_scale"))
                snprintf(wide[i].name, sizeof(wide->name), "unused.%d", (int)i);
            continue;
        }
        uint16_t *values = malloc((size_t)t->count * sizeof(*values));
        const float factor = float_of(bf16_of(hyv_element(scale->data, scale->type, 0)));
        for (int64_t k = 0; k < t->count; k++)
            values[k] = bf16_of(hyv_element(t->data, t->type, k) * factor);
        tensors[i] = *t;
        tensors[i].type = HYV_BF16;
        tensors[i].data = values;
        tensors[i].size_bytes = (size_t)t->count * sizeof(*values);
        wide[i].from = &tensors[i];
    }
    write_tensors(place(path[0], "rounded/small.weights"), small, (int)count);
    write_tensors(place(path[1], "rounded/wide.weights"), wide, (int)count);
    write_config(HYV_TRANSFORMER, "rounded/config.json");
    run(&other, (const setting[]){{"model", T2V}, {"transformer", path[1]}, {NULL, NULL}});
    static outcome written;
    written = other;
    run(&other, (const setting[]){{"model", T2V}, {"transformer", path[0]}, {NULL, NULL}});
    CHECK_MSG(other.status == 0 && written.status == 0, "%s%s", other.message, written.message);
    CHECK(memcmp(other.frames, written.frames, sizeof(other.frames)) == 0);
    CHECK(memcmp(other.frames, plain.frames, sizeof(other.frames)) != 0);
    for (int64_t i = 0; i < count; i++)
        free((void *)(uintptr_t)tensors[i].data);
    free(tensors);
    free(small);
    free(wide);
    hyv_checkpoint_close(&c);
}

/* ---- other families, and what no tensor tells ------------------------------------------------ */

static void check_families(void)
{
    static const struct {
        const char *tensor, *family;
        enum hyv_component component;
    } others[] = {
        {"double_blocks.0.img_attn_q.weight", "HunyuanVideo 1.5", HYV_TRANSFORMER},
        {"clean_x_embedder.proj.weight", "FramePack", HYV_TRANSFORMER},
        {"model.diffusion_model.txt_in.weight", "Flux", HYV_TRANSFORMER},
        {"blocks.0.cross_attn.q.weight", "Wan", HYV_TRANSFORMER},
        {"decoder.norm_out.gamma", "HunyuanVideo 1.5", HYV_VAE},
        {"decoder.middle.0.residual.0.gamma", "Wan", HYV_VAE},
        {"decoder.up_blocks.0.resnets.0.norm1.norm_layer.weight", "CogVideoX", HYV_VAE},
        {"decoder.up_blocks.0.res_blocks.0.conv1.conv.weight", "LTX-Video", HYV_VAE},
        {"decoder.3.conv.0.weight", "TAEHV", HYV_VAE},
        {"model.layers.0.self_attn.q_proj.bias", "Qwen2", HYV_TEXT_ENCODER},
        {"encoder.block.0.layer.0.SelfAttention.q.weight", "T5", HYV_TEXT_ENCODER},
        {"a.lora_A.weight", "LoRA", HYV_TRANSFORMER},
        {"something.else", "unknown", HYV_TRANSFORMER},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        char path[PATH_BYTES];
        renamed one = {0};
        snprintf(one.name, sizeof(one.name), "%s", others[i].tensor);
        write_tensors(place(path, "family/model.safetensors"), &one, 1);
        expect_refusal(others[i].tensor,
                       (const setting[]){{"model", T2V},
                                         {hyv_component_name(others[i].component), path},
                                         {NULL, NULL}},
                       -ENOTSUP, (const char *const[]){others[i].family, path, NULL});
    }
}

/* ---- numbers from shapes ------------------------------------------------------------------- */

static const hyv_model_config published = PUBLISHED_MODEL(30);

/* The published sizes without any configuration, as files with holes. The language model's last two
 * layers are not used, but counted. */
static void check_numbers(void)
{
    tiny_model t = {.config = published, .bare = true};
    char folder[64];
    hyv_model m;
    hyv_log quiet = {0};
    t.config.llama.layers_used = 32;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        t.storage[c] = TINY_BF16;
    if (!tiny_write(&t, folder))
        return;
    const int err = hyv_model_open(&m, folder, NULL, &quiet);
    if (CHECK_MSG(err >= 0, "the published sizes: %s", quiet.error)) {
        const hyv_model_config *c = &m.config;
        const size_t first = offsetof(hyv_vae_config, block_out_channels);
        CHECK(memcmp(&c->dit, &published.dit, offsetof(hyv_dit_config, guidance)) == 0);
        CHECK(memcmp(&c->llama, &published.llama, sizeof(c->llama)) == 0);
        CHECK(memcmp(&c->clip, &published.clip, offsetof(hyv_clip_config, activation)) == 0);
        CHECK(memcmp((const char *)&c->vae + first, (const char *)&published.vae + first,
                     offsetof(hyv_vae_config, mid_block_attention) - first) == 0);
        CHECK(c->dit.guidance && c->clip.activation == HYV_QUICK_GELU);
        CHECK(c->vae.blocks == published.vae.blocks && c->vae.mid_block_attention);
        CHECK(c->scaling_factor == published.scaling_factor && c->shift == published.shift);
        hyv_model_close(&m);
    }
    tiny_remove(folder);
    expect_refusal(
        "sizes that no shape tells",
        (const setting[]){{"model", T2V},
                          {"transformer", GOLDEN_FOLDER "/names/official_bf16.safetensors"},
                          {NULL, NULL}},
        -ENOTSUP, (const char *const[]){"rope_axes_dim", "config.json", NULL});
}

/* ---- what no tensor tells -------------------------------------------------------------------- */

/* A transformer without configuration whose path says i2v, then the same with the task set. */
static void check_task(void)
{
    tiny_model t = {.config = published, .bare = true};
    char folder[64], from[PATH_BYTES], path[PATH_BYTES];
    t.config.dit.double_blocks = t.config.dit.single_blocks = 1;
    t.config.dit.text_width = 48;
    t.config.dit.pooled_width = 40;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        t.storage[c] = TINY_BF16;
    if (!tiny_write(&t, folder))
        return;
    snprintf(from, sizeof(from), "%s/transformer/diffusion_pytorch_model.safetensors", folder);
    link_to(from, "task/hunyuan_video_I2V.safetensors");
    place(path, "task/hunyuan_video_I2V.safetensors");
    const setting named[] = {{"model", T2V}, {"transformer", path}, {NULL, NULL}};
    expect_refusal("i2v by its name", named, -ENOSYS,
                   (const char *const[]){"image-to-video", "task=t2v", NULL});
    hyv_model m;
    hyv_log quiet = {0};
    const hyv_choice choice = {.component[HYV_TRANSFORMER] = path, .task = HYV_TASK_T2V};
    CHECK_MSG(hyv_model_open(&m, T2V, &choice, &quiet) >= 0, "task=t2v: %s", quiet.error);
    hyv_model_close(&m);
    const setting wide[] = {{"model", T2V}, {"task", "i2v"}, {NULL, NULL}};
    expect_refusal("task=i2v", wide, -ENOSYS, (const char *const[]){"option task", NULL});
    tiny_remove(folder);
}

/* ---- the reference's files ------------------------------------------------------------------- */

static hyv_mat put(hyv_backend *be, const float *host, int64_t rows, int64_t cols)
{
    const hyv_mat m = hyv_new(be, rows, cols);
    hyv_upload(be, m, host);
    return m;
}

/* The first step of t2v_en, whose recorded inputs leave arithmetic as the only difference. */
static void check_prediction(hyv_model *m, hyv_backend *be, const char *what, const float *expected)
{
    hyv_checkpoint *g = golden_file("cases/t2v_en.safetensors");
    const hyv_dit_config *c = &m->config.dit;
    const hyv_grid grid = {3, 8, 8};
    const int64_t rows = hyv_grid_rows(grid);
    hyv_network n = {0};
    int64_t count = 0;
    if (!g || !CHECK(hyv_network_load(&n, m, HYV_TRANSFORMER, be) >= 0))
        return;
    const float *text = golden_floats(g, "text_states", &count);
    const int64_t tokens = count / c->text_width;
    float *noise = malloc((size_t)(rows * c->in_channels) * sizeof(float));
    float *want = malloc((size_t)(rows * c->out_channels) * sizeof(float));
    float *mean = calloc((size_t)c->text_width, sizeof(float));
    golden_channels_last(noise, golden_floats(g, "noise", NULL), rows, c->in_channels);
    golden_channels_last(want, expected, rows, c->out_channels);
    for (int64_t k = 0; k < c->text_width; k++) {
        double sum = 0.0;
        for (int64_t i = 0; i < tokens; i++)
            sum += (double)text[i * c->text_width + k];
        mean[k] = (float)(sum / (double)tokens);
    }
    const size_t mark = hyv_mark(be);
    const hyv_dit_vectors vectors = {
        .time = put(be, golden_floats(g, "sinusoid_timesteps", NULL), 1, HYV_SINUSOID_DIM),
        .guidance = put(be, golden_floats(g, "sinusoid_guidance", NULL), 1, HYV_SINUSOID_DIM),
        .pooled = put(be, golden_floats(g, "pooled", NULL), 1, c->pooled_width)};
    const hyv_mat modulations = hyv_new(be, 1, hyv_dit_modulation_cols(c));
    hyv_dit_modulate(be, n.net.dit, modulations, &vectors, NULL);
    const hyv_dit_input in = {
        .latents = put(be, noise, rows, c->in_channels),
        .grid = grid,
        .text = put(be, text, tokens, c->text_width),
        .text_mean = put(be, mean, 1, c->text_width),
        .time = vectors.time,
        .modulations = modulations,
        .rope = {put(be, golden_floats(g, "rope_cos", NULL), rows / 4, c->head_dim),
                 put(be, golden_floats(g, "rope_sin", NULL), rows / 4, c->head_dim)}};
    const hyv_mat out = hyv_new(be, rows, c->out_channels);
    hyv_dit_forward(be, n.net.dit, out, &in, NULL);
    CHECK(hyv_backend_error(be) == 0);
    const double e = golden_compare(what, out.data, want, rows * c->out_channels, 5e-4);
    printf("%s: largest error of the prediction %.2g\n", what, e);
    hyv_release(be, mark);
    free(noise);
    free(want);
    free(mean);
    hyv_network_unload(&n);
    hyv_checkpoint_close(&g);
}

static void check_golden(hyv_backend *be)
{
    static const struct {
        const char *file, *expected;
    } files[] = {{"official_bf16.safetensors", "unquantised"},
                 {"mp_rank_00_model_states.pt", "unquantised"},
                 {"comfyui_fp8_scaled.safetensors", "comfyui_fp8_scaled"},
                 {"mp_rank_00_model_states_fp8.pt", "tencent_fp8"},
                 {"hunyuan-video-t2v-mixed.gguf", "gguf_mixed"}};
    hyv_checkpoint *expected = golden_file("names/expected.safetensors");
    link_to(T2V "/transformer/config.json", "golden/config.json");
    link_to(GOLDEN_FOLDER "/names/mp_rank_00_model_states_fp8_map.pt",
            "golden/mp_rank_00_model_states_fp8_map.pt");
    for (size_t i = 0; expected && i < sizeof(files) / sizeof(files[0]); i++) {
        char from[PATH_BYTES], path[PATH_BYTES], name[128];
        hyv_model m;
        hyv_log quiet = {0};
        hyv_choice choice = {.component[HYV_TRANSFORMER] = path};
        snprintf(from, sizeof(from), GOLDEN_FOLDER "/names/%s", files[i].file);
        snprintf(name, sizeof(name), "golden/%s", files[i].file);
        link_to(from, name);
        place(path, name);
        const int err = hyv_model_open(&m, T2V, &choice, &quiet);
        if (!CHECK_MSG(err >= 0, "%s: %s", files[i].file, quiet.error))
            continue;
        check_prediction(&m, be, files[i].file, golden_floats(expected, files[i].expected, NULL));
        hyv_model_close(&m);
    }
    hyv_checkpoint_close(&expected);
}

int main(void)
{
    hyv_backend *be = NULL;
    const char *base = getenv("TMPDIR");
    snprintf(root, sizeof(root), "%s/hyv-names-XXXXXX", base && strlen(base) < 40 ? base : "/tmp");
    if (!CHECK(mkdtemp(root) != NULL) ||
        !CHECK(hyv_backend_open(&be, "cpu", &(hyv_backend_config){0}) == 0) ||
        !CHECK(hyv_arena_resize(be, (size_t)64 << 20) == 0))
        return check_done();
    check_golden(be);
    run(&plain, (const setting[]){{"model", T2V}, {NULL, NULL}});
    CHECK_MSG(plain.status == 0, "%s", plain.message);
    check_forms();
    check_layouts();
    check_single_files();
    check_gguf_alone();
    check_ambiguous();
    check_rounded();
    check_quantised();
    check_families();
    check_numbers();
    check_task();
    hyv_backend_close(&be);
    tiny_remove(root);
    return check_done();
}
