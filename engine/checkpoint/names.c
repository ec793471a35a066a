/* The tables of other projects' tensor names, and telling a file by them: see names.h.
 *
 * Official names are those of Tencent's HunyuanVideo (modules/models.py), which GGUF files of the
 * transformer keep; ComfyUI's are those of its own module tree; Llama's GGUF names are llama.cpp's.
 * In a pattern # is a number that both names share, ~ the same counted from the other end, and what
 * follows = takes the place of the suffix. Knows no shapes.
 */
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_MAX = 4, PROBES_MAX = 4 };

typedef struct name_row {
    const char *ours, *theirs;
    hyv_slice slice;
    int index;
} name_row;

struct hyv_naming {
    enum hyv_component component;
    const char *label;
    const name_row *rows;          /* NULL: the same names */
    const char *probe[PROBES_MAX]; /* any of these tensors tells the naming */
};

#define WHOLE HYV_SLICE_WHOLE, 0

/* ---- the transformer ------------------------------------------------------------------------- */

static const name_row official_rows[] = {
    {"x_embedder.proj", "img_in.proj", WHOLE},
    {"time_text_embed.timestep_embedder.linear_1", "time_in.mlp.0", WHOLE},
    {"time_text_embed.timestep_embedder.linear_2", "time_in.mlp.2", WHOLE},
    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.mlp.0", WHOLE},
    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.mlp.2", WHOLE},
    {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer", WHOLE},
    {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer", WHOLE},
    {"context_embedder.proj_in", "txt_in.input_embedder", WHOLE},
    {"context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.mlp.0",
     WHOLE},
    {"context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.mlp.2",
     WHOLE},
    {"context_embedder.time_text_embed.text_embedder.linear_#", "txt_in.c_embedder.linear_#",
     WHOLE},
#define OURS(part)   "context_embedder.token_refiner.refiner_blocks.#." part
#define THEIRS(part) "txt_in.individual_token_refiner.blocks.#." part
    {OURS("norm#"), THEIRS("norm#"), WHOLE},
    {OURS("attn.to_q"), THEIRS("self_attn_qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.to_k"), THEIRS("self_attn_qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.to_v"), THEIRS("self_attn_qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.to_out.0"), THEIRS("self_attn_proj"), WHOLE},
    {OURS("ff.net.0.proj"), THEIRS("mlp.fc1"), WHOLE},
    {OURS("ff.net.2"), THEIRS("mlp.fc2"), WHOLE},
    {OURS("norm_out.linear"), THEIRS("adaLN_modulation.1"), WHOLE},
#undef OURS
#undef THEIRS
#define OURS(part)   "transformer_blocks.#." part
#define THEIRS(part) "double_blocks.#." part
    {OURS("norm1.linear"), THEIRS("img_mod.linear"), WHOLE},
    {OURS("attn.to_q"), THEIRS("img_attn_qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.to_k"), THEIRS("img_attn_qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.to_v"), THEIRS("img_attn_qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.norm_q"), THEIRS("img_attn_q_norm"), WHOLE},
    {OURS("attn.norm_k"), THEIRS("img_attn_k_norm"), WHOLE},
    {OURS("attn.to_out.0"), THEIRS("img_attn_proj"), WHOLE},
    {OURS("ff.net.0.proj"), THEIRS("img_mlp.fc1"), WHOLE},
    {OURS("ff.net.2"), THEIRS("img_mlp.fc2"), WHOLE},
    {OURS("norm1_context.linear"), THEIRS("txt_mod.linear"), WHOLE},
    {OURS("attn.add_q_proj"), THEIRS("txt_attn_qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.add_k_proj"), THEIRS("txt_attn_qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.add_v_proj"), THEIRS("txt_attn_qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.norm_added_q"), THEIRS("txt_attn_q_norm"), WHOLE},
    {OURS("attn.norm_added_k"), THEIRS("txt_attn_k_norm"), WHOLE},
    {OURS("attn.to_add_out"), THEIRS("txt_attn_proj"), WHOLE},
    {OURS("ff_context.net.0.proj"), THEIRS("txt_mlp.fc1"), WHOLE},
    {OURS("ff_context.net.2"), THEIRS("txt_mlp.fc2"), WHOLE},
#undef OURS
#undef THEIRS
#define OURS(part)   "single_transformer_blocks.#." part
#define THEIRS(part) "single_blocks.#." part
    {OURS("norm.linear"), THEIRS("modulation.linear"), WHOLE},
    {OURS("attn.to_q"), THEIRS("linear1"), HYV_SLICE_HEAD, 0},
    {OURS("attn.to_k"), THEIRS("linear1"), HYV_SLICE_HEAD, 1},
    {OURS("attn.to_v"), THEIRS("linear1"), HYV_SLICE_HEAD, 2},
    {OURS("proj_mlp"), THEIRS("linear1"), HYV_SLICE_TAIL, 3},
    {OURS("attn.norm_q"), THEIRS("q_norm"), WHOLE},
    {OURS("attn.norm_k"), THEIRS("k_norm"), WHOLE},
    {OURS("proj_out"), THEIRS("linear2"), WHOLE},
#undef OURS
#undef THEIRS
    /* Shift above scale; ours has the scale above. */
    {"norm_out.linear", "final_layer.adaLN_modulation.1", HYV_SLICE_SWAPPED, 0},
    {"proj_out", "final_layer.linear", WHOLE},
    {NULL, NULL, WHOLE}};

/* What ComfyUI calls otherwise; the rest is as in the official files. */
static const name_row comfy_rows[] = {
    {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer", WHOLE},
    {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer", WHOLE},
    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer", WHOLE},
    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer", WHOLE},
    {"context_embedder.time_text_embed.timestep_embedder.linear_1", "txt_in.t_embedder.in_layer",
     WHOLE},
    {"context_embedder.time_text_embed.timestep_embedder.linear_2", "txt_in.t_embedder.out_layer",
     WHOLE},
    {"context_embedder.time_text_embed.text_embedder.linear_1", "txt_in.c_embedder.in_layer",
     WHOLE},
    {"context_embedder.time_text_embed.text_embedder.linear_2", "txt_in.c_embedder.out_layer",
     WHOLE},
#define OURS(part)   "context_embedder.token_refiner.refiner_blocks.#." part
#define THEIRS(part) "txt_in.individual_token_refiner.blocks.#." part
    {OURS("attn.to_q"), THEIRS("self_attn.qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.to_k"), THEIRS("self_attn.qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.to_v"), THEIRS("self_attn.qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.to_out.0"), THEIRS("self_attn.proj"), WHOLE},
    {OURS("ff.net.0.proj"), THEIRS("mlp.0"), WHOLE},
    {OURS("ff.net.2"), THEIRS("mlp.2"), WHOLE},
#undef OURS
#undef THEIRS
#define OURS(part)   "transformer_blocks.#." part
#define THEIRS(part) "double_blocks.#." part
    {OURS("norm1.linear"), THEIRS("img_mod.lin"), WHOLE},
    {OURS("attn.to_q"), THEIRS("img_attn.qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.to_k"), THEIRS("img_attn.qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.to_v"), THEIRS("img_attn.qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.norm_q"), THEIRS("img_attn.norm.query_norm=scale"), WHOLE},
    {OURS("attn.norm_k"), THEIRS("img_attn.norm.key_norm=scale"), WHOLE},
    {OURS("attn.to_out.0"), THEIRS("img_attn.proj"), WHOLE},
    {OURS("ff.net.0.proj"), THEIRS("img_mlp.0"), WHOLE},
    {OURS("ff.net.2"), THEIRS("img_mlp.2"), WHOLE},
    {OURS("norm1_context.linear"), THEIRS("txt_mod.lin"), WHOLE},
    {OURS("attn.add_q_proj"), THEIRS("txt_attn.qkv"), HYV_SLICE_THIRD, 0},
    {OURS("attn.add_k_proj"), THEIRS("txt_attn.qkv"), HYV_SLICE_THIRD, 1},
    {OURS("attn.add_v_proj"), THEIRS("txt_attn.qkv"), HYV_SLICE_THIRD, 2},
    {OURS("attn.norm_added_q"), THEIRS("txt_attn.norm.query_norm=scale"), WHOLE},
    {OURS("attn.norm_added_k"), THEIRS("txt_attn.norm.key_norm=scale"), WHOLE},
    {OURS("attn.to_add_out"), THEIRS("txt_attn.proj"), WHOLE},
    {OURS("ff_context.net.0.proj"), THEIRS("txt_mlp.0"), WHOLE},
    {OURS("ff_context.net.2"), THEIRS("txt_mlp.2"), WHOLE},
#undef OURS
#undef THEIRS
#define OURS(part)   "single_transformer_blocks.#." part
#define THEIRS(part) "single_blocks.#." part
    {OURS("norm.linear"), THEIRS("modulation.lin"), WHOLE},
    {OURS("attn.norm_q"), THEIRS("norm.query_norm=scale"), WHOLE},
    {OURS("attn.norm_k"), THEIRS("norm.key_norm=scale"), WHOLE},
#undef OURS
#undef THEIRS
    {NULL, NULL, WHOLE}};

/* ---- the others ------------------------------------------------------------------------------ */

static const name_row llama_gguf_rows[] = {
    {"embed_tokens", "token_embd", WHOLE},
    {"norm", "output_norm", WHOLE},
    {"layers.#.input_layernorm", "blk.#.attn_norm", WHOLE},
    {"layers.#.self_attn.q_proj", "blk.#.attn_q", WHOLE},
    {"layers.#.self_attn.k_proj", "blk.#.attn_k", WHOLE},
    {"layers.#.self_attn.v_proj", "blk.#.attn_v", WHOLE},
    {"layers.#.self_attn.o_proj", "blk.#.attn_output", WHOLE},
    {"layers.#.post_attention_layernorm", "blk.#.ffn_norm", WHOLE},
    {"layers.#.mlp.gate_proj", "blk.#.ffn_gate", WHOLE},
    {"layers.#.mlp.up_proj", "blk.#.ffn_up", WHOLE},
    {"layers.#.mlp.down_proj", "blk.#.ffn_down", WHOLE},
    {NULL, NULL, WHOLE}};

/* ComfyUI's tree is that of Stable Diffusion's first-stage model: blocks count from the pixels. */
static const name_row vae_ldm_rows[] = {
#define RESNET(ours, theirs)                                                                \
    {ours "norm#", theirs "norm#", WHOLE}, {ours "conv#.conv", theirs "conv#.conv", WHOLE}, \
    {                                                                                       \
        ours "conv_shortcut.conv", theirs "nin_shortcut.conv", WHOLE                        \
    }
#define HALF(half)                                                                     \
    RESNET(half ".mid_block.resnets.0.", half ".mid.block_1."),                        \
        RESNET(half ".mid_block.resnets.1.", half ".mid.block_2."),                    \
        {half ".mid_block.attentions.0.group_norm", half ".mid.attn_1.norm", WHOLE},   \
        {half ".mid_block.attentions.0.to_q", half ".mid.attn_1.q", WHOLE},            \
        {half ".mid_block.attentions.0.to_k", half ".mid.attn_1.k", WHOLE},            \
        {half ".mid_block.attentions.0.to_v", half ".mid.attn_1.v", WHOLE},            \
        {half ".mid_block.attentions.0.to_out.0", half ".mid.attn_1.proj_out", WHOLE}, \
    {                                                                                  \
        half ".conv_norm_out", half ".norm_out", WHOLE                                 \
    }
    HALF("decoder"),
    HALF("encoder"),
    RESNET("decoder.up_blocks.#.resnets.#.", "decoder.up.~.block.#."),
    {"decoder.up_blocks.#.upsamplers.0.conv.conv", "decoder.up.~.upsample.conv.conv", WHOLE},
    RESNET("encoder.down_blocks.#.resnets.#.", "encoder.down.#.block.#."),
    {"encoder.down_blocks.#.downsamplers.0.conv.conv", "encoder.down.#.downsample.conv.conv",
     WHOLE},
    {NULL, NULL, WHOLE}};

static const hyv_naming namings[] = {
    {HYV_TRANSFORMER,
     "diffusers",
     NULL,
     {"context_embedder.proj_in.weight", "single_transformer_blocks.0.proj_mlp.weight",
      "transformer_blocks.0.attn.add_q_proj.weight"}},
    {HYV_TRANSFORMER,
     "official",
     official_rows,
     {"txt_in.t_embedder.mlp.0.weight", "double_blocks.0.img_attn_qkv.weight",
      "single_blocks.0.modulation.linear.weight"}},
    {HYV_TRANSFORMER,
     "ComfyUI",
     comfy_rows,
     {"txt_in.t_embedder.in_layer.weight", "double_blocks.0.img_attn.qkv.weight",
      "single_blocks.0.modulation.lin.weight"}},
    {HYV_TEXT_ENCODER,
     "Llama",
     NULL,
     {"layers.0.mlp.gate_proj.weight", "layers.0.self_attn.o_proj.weight"}},
    {HYV_TEXT_ENCODER,
     "GGUF",
     llama_gguf_rows,
     {"blk.0.ffn_gate.weight", "blk.0.attn_output.weight"}},
    {HYV_TEXT_ENCODER_2,
     "CLIP",
     NULL,
     {"embeddings.token_embedding.weight", "final_layer_norm.weight"}},
    {HYV_VAE,
     "diffusers",
     NULL,
     {"decoder.mid_block.resnets.0.conv1.conv.weight",
      "decoder.up_blocks.0.resnets.0.conv1.conv.weight"}},
    {HYV_VAE,
     "ComfyUI",
     vae_ldm_rows,
     {"decoder.mid.block_1.conv1.conv.weight", "decoder.up.0.block.0.conv1.conv.weight"}}};

/* What may stand before all names of a component. */
static const char *const prefixes[] = {"",
                                       "model.diffusion_model.",
                                       "diffusion_model.",
                                       "model.model.",
                                       "model.",
                                       "module.",
                                       "net.",
                                       "transformer.",
                                       "vae.",
                                       "first_stage_model.",
                                       "text_model.",
                                       "text_encoder.",
                                       "language_model.model.",
                                       "model.language_model.",
                                       "language_model.",
                                       "text_encoders.llava_llama3.transformer.model.",
                                       "text_encoders.clip_l.transformer.text_model.",
                                       "clip_l.transformer.text_model.",
                                       "llama.transformer.model."};

/* Models that share some of our names, or that people try: a tensor that only they have. */
static const struct {
    const char *family;
    enum hyv_component component; /* what the file is not, therefore */
    const char *probe[PROBES_MAX];
} families[] = {
    {"HunyuanVideo 1.5",
     HYV_TRANSFORMER,
     {"double_blocks.0.img_attn_q.weight", "cond_type_embedding.weight", "cond_type_embed.weight",
      "byt5_in.fc1.weight"}},
    {"FramePack",
     HYV_TRANSFORMER,
     {"clean_x_embedder.proj.weight", "clean_x_embedder.proj_2x.weight"}},
    {"Flux", HYV_TRANSFORMER, {"txt_in.weight", "x_embedder.weight"}},
    {"Wan",
     HYV_TRANSFORMER,
     {"blocks.0.cross_attn.q.weight", "condition_embedder.time_embedder.linear_1.weight"}},
    {"LTX-Video",
     HYV_TRANSFORMER,
     {"transformer_blocks.0.scale_shift_table", "adaln_single.linear.weight"}},
    {"CogVideoX",
     HYV_TRANSFORMER,
     {"patch_embed.text_proj.weight", "transformer_blocks.0.norm1.norm.weight"}},
    {"Stable Diffusion 3", HYV_TRANSFORMER, {"joint_blocks.0.x_block.attn.qkv.weight"}},
    {"Stable Diffusion",
     HYV_TRANSFORMER,
     {"input_blocks.0.0.weight", "down_blocks.0.resnets.0.norm1.weight"}},
    {"Qwen2 (the text encoder of HunyuanVideo 1.5)",
     HYV_TEXT_ENCODER,
     {"layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias"}},
    {"T5",
     HYV_TEXT_ENCODER,
     {"encoder.block.0.layer.0.SelfAttention.q.weight", "enc.blk.0.attn_q.weight"}},
    {"the VAE of HunyuanVideo 1.5",
     HYV_VAE,
     {"decoder.norm_out.gamma", "decoder.mid.block_1.norm1.gamma",
      "decoder.mid_block.resnets.0.norm1.gamma"}},
    {"the VAE of Wan", HYV_VAE, {"decoder.middle.0.residual.0.gamma"}},
    {"the VAE of CogVideoX",
     HYV_VAE,
     {"decoder.up_blocks.0.resnets.0.norm1.norm_layer.weight",
      "decoder.mid_block.resnets.0.norm1.norm_layer.weight"}},
    {"the VAE of LTX-Video",
     HYV_VAE,
     {"decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",
      "decoder.mid_block.res_blocks.0.conv1.conv.weight"}},
    {"the VAE of an image model", HYV_VAE, {"decoder.conv_in.weight"}},
    {"a tiny autoencoder (TAEHV or TAEW2.1)", HYV_VAE, {"decoder.3.conv.0.weight"}}};

/* ---- patterns -------------------------------------------------------------------------------- */

/* Does the whole of `name` match `pattern`? Notes the numbers that # stands for. */
static bool match(const char *pattern, const char *name, int numbers[NUMBERS_MAX])
{
    int count = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*pattern != *name++)
                return false;
            continue;
        }
        if (*name < '0' || *name > '9' || count == NUMBERS_MAX)
            return false;
        int value = 0;
        for (int digits = 0; *name >= '0' && *name <= '9'; name++)
            if (++digits > 6)
                return false;
            else
                value = 10 * value + (*name - '0');
        numbers[count++] = value;
    }
    return !*name;
}

static const name_row *find_row(const name_row *rows, const char *module, int numbers[NUMBERS_MAX])
{
    for (; rows && rows->ours; rows++)
        if (match(rows->ours, module, numbers))
            return rows;
    return NULL;
}

/* Appends within the array; a longer name is cut, so that it is not found. */
static void append(char name[HYV_PLACE_NAME_MAX], const char *text, size_t n)
{
    const size_t length = strlen(name), room = HYV_PLACE_NAME_MAX - 1 - length;
    n = n < room ? n : room;
    memcpy(name + length, text, n);
    name[length + n] = '\0';
}

static void substitute(hyv_place *p, const char *pattern, const int numbers[NUMBERS_MAX],
                       int levels)
{
    for (; *pattern && *pattern != '='; pattern++) {
        char number[16];
        if (*pattern == '#' || *pattern == '~') {
            snprintf(number, sizeof(number), "%d",
                     *pattern == '#' ? *numbers : levels - 1 - *numbers);
            append(p->name, number, strlen(number));
            numbers++;
        } else {
            append(p->name, pattern, 1);
        }
    }
}

void hyv_names_place(const hyv_names *names, const char *module, const char *suffix,
                     hyv_place *place)
{
    int numbers[NUMBERS_MAX] = {0};
    const hyv_naming *n = names->naming;
    const char *prefix = names->prefix ? names->prefix : "";
    const name_row *row = n ? find_row(n->rows, module, numbers) : NULL;
    if (!row && n && n->rows == comfy_rows)
        row = find_row(official_rows, module, numbers);
    *place = (hyv_place){0};
    append(place->name, prefix, strlen(prefix));
    if (row) {
        const char *own = strchr(row->theirs, '=');
        substitute(place, row->theirs, numbers, names->levels);
        place->slice = row->slice;
        place->index = row->index;
        suffix = own ? own + 1 : suffix;
    } else {
        append(place->name, module, strlen(module));
    }
    append(place->name, ".", *suffix != '\0');
    append(place->name, suffix, strlen(suffix));
}

void hyv_names_place_full(const hyv_names *names, const char *name, hyv_place *place)
{
    char module[HYV_PLACE_NAME_MAX] = "";
    const char *dot = strrchr(name, '.');
    append(module, name, dot ? (size_t)(dot - name) : strlen(name));
    hyv_names_place(names, module, dot ? dot + 1 : "", place);
}

bool hyv_names_ours(const hyv_names *names, const char *name, char ours[HYV_PLACE_NAME_MAX])
{
    const char *prefix = names->prefix ? names->prefix : "", *dot = strrchr(name, '.');
    char module[HYV_PLACE_NAME_MAX] = "";
    int numbers[NUMBERS_MAX] = {0};
    hyv_place place = {0};
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return false;
    name += strlen(prefix);
    append(module, name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
    const name_row *row = names->naming ? names->naming->rows : NULL;
    while (row && row->theirs && !match(row->theirs, module, numbers))
        row++;
    if (row && row->theirs)
        substitute(&place, row->ours, numbers, 0);
    else
        append(place.name, module, strlen(module));
    append(place.name, name + strlen(module), strlen(name + strlen(module)));
    memcpy(ours, place.name, sizeof(place.name));
    /* The way there must be the way back. */
    const size_t length = strlen(prefix);
    hyv_names_place_full(names, ours, &place);
    return place.slice == HYV_SLICE_WHOLE && strcmp(place.name + length, name) == 0;
}

hyv_names hyv_names_published(enum hyv_component component, bool gguf)
{
    hyv_names names = {.prefix = component == HYV_TEXT_ENCODER_2 ? "text_model." : ""};
    for (size_t i = 0; gguf && i < sizeof(namings) / sizeof(namings[0]); i++)
        if (namings[i].rows == (component == HYV_TRANSFORMER    ? official_rows
                                : component == HYV_TEXT_ENCODER ? llama_gguf_rows
                                                                : NULL) &&
            namings[i].rows)
            names.naming = &namings[i];
    return names;
}

hyv_tensor *hyv_names_find(const hyv_names *names, hyv_checkpoint *c, const char *name)
{
    hyv_place place;
    hyv_names_place_full(names, name, &place);
    return hyv_checkpoint_find(c, place.name);
}

/* ---- looking at a file ----------------------------------------------------------------------- */

/* The prefix with which one of the tensors is there; NULL if none is. */
static const char *find_probe(hyv_checkpoint *c, const char *const probe[PROBES_MAX])
{
    char name[256];
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        for (int k = 0; k < PROBES_MAX && probe[k]; k++) {
            snprintf(name, sizeof(name), "%s%s", prefixes[i], probe[k]);
            if (hyv_checkpoint_find(c, name))
                return prefixes[i];
        }
    return NULL;
}

int hyv_names_blocks(const hyv_names *names, hyv_checkpoint *c, const char *module)
{
    hyv_place place;
    int blocks = 0;
    hyv_names_place(names, module, "", &place);
    /* Up to the first number behind the prefix, which is the block's. */
    const size_t skip = names->prefix ? strlen(names->prefix) : 0;
    const size_t n = skip + strcspn(place.name + skip, "0123456789");
    const int64_t count = hyv_checkpoint_count(c);
    for (int64_t i = 0; i < count; i++) {
        const char *name = hyv_checkpoint_at(c, i)->name;
        if (strncmp(name, place.name, n) != 0 || name[n] < '0' || name[n] > '9')
            continue;
        char *end;
        const long number = strtol(name + n, &end, 10);
        if (*end == '.' && number < 100000 && number >= blocks)
            blocks = (int)number + 1;
    }
    return blocks;
}

static bool is_lora(hyv_checkpoint *c)
{
    static const char *const parts[] = {".lora_A.", ".lora_B.", ".lora_up.", ".lora_down."};
    for (int64_t i = 0; i < hyv_checkpoint_count(c); i++)
        for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++)
            if (strstr(hyv_checkpoint_at(c, i)->name, parts[k]))
                return true;
    return false;
}

void hyv_names_identify(hyv_identity *found, hyv_checkpoint *c)
{
    *found = (hyv_identity){0};
    for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]); i++) {
        const hyv_naming *n = &namings[i];
        const char *prefix = found->names[n->component].naming ? NULL : find_probe(c, n->probe);
        if (!prefix)
            continue;
        found->names[n->component] = (hyv_names){.naming = n, .prefix = prefix};
        if (n->rows == vae_ldm_rows)
            found->names[n->component].levels = 4;
    }
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (find_probe(c, families[i].probe)) {
            found->foreign = found->foreign ? found->foreign : families[i].family;
            found->names[families[i].component] = (hyv_names){0};
        }
    for (int i = 0; i < HYV_COMPONENTS; i++)
        found->components += found->names[i].naming != NULL;
    if (!found->components && !found->foreign && is_lora(c))
        found->foreign = "a LoRA";
    hyv_names *vae = &found->names[HYV_VAE];
    if (vae->levels)
        vae->levels = hyv_names_blocks(vae, c, "decoder.up_blocks.0.resnets.0.norm1");
}

bool hyv_names_unused(const hyv_names *names, enum hyv_component component, const char *name)
{
    static const char *const known[HYV_COMPONENTS][14] = {
        {"layers.", "norm.weight", "lm_head.", "vision_tower.", "multi_modal_projector.",
         "language_model.", "model.", "blk.", "output_norm.", "output.", "rope_freqs.",
         "scaled_fp8", "tokenizer", NULL},
        {"text_projection", "visual_projection.", "vision_model.", "logit_scale",
         "embeddings.position_ids", "text_model.embeddings.position_ids", "scaled_fp8", NULL},
        {"scaled_fp8", NULL},
        {"encoder.", "quant_conv.", NULL}};
    const size_t n = names->prefix ? strlen(names->prefix) : 0;
    const bool inside = n == 0 || strncmp(name, names->prefix, n) == 0;
    const char *rest = inside ? name + n : name;
    const char *const *part = known[component];
    while (*part && strncmp(rest, *part, strlen(*part)) != 0)
        part++;
    return *part != NULL;
}

const char *hyv_names_label(const hyv_names *names)
{
    const hyv_naming *n = names->naming;
    const char *prefix = names->prefix ? names->prefix : "";
    if (!n)
        return "diffusers";
    if (n->component != HYV_TEXT_ENCODER || n->rows)
        return n->label;
    return strstr(prefix, "language_model") ? "LLaVA"
           : *prefix                        ? "causal language model"
                                            : "LlamaModel";
}

const char *hyv_component_name(enum hyv_component component)
{
    static const char *const names[HYV_COMPONENTS] = {"text_encoder", "text_encoder_2",
                                                      "transformer", "vae"};
    return names[component];
}
