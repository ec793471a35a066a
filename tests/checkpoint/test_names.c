/* The tables of names against the published counts: every tensor of a file is asked for once, and
 * no other.
 *
 * A naming is found from one telling tensor; then the bind list of the published size is walked and
 * the file's names collected. 856 tensors and 12,821,012,544 parameters are those of the published
 * transformer; the language model, CLIP and the decoder follow from their shapes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/checkpoint/names.h"
#include "../../engine/model/clip.h"
#include "../../engine/model/dit.h"
#include "../../engine/model/llama.h"
#include "../../engine/model/vae.h"
#include "../check.h"
#include "../published.h"

enum { TENSORS_MAX = 2048 };

typedef struct collector {
    const hyv_names *names;
    char *list[TENSORS_MAX];
    int count;
    int64_t parameters;
} collector;

static void collect(collector *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->list[i], name) == 0)
            return;
    if (CHECK(c->count < TENSORS_MAX))
        c->list[c->count++] = strdup(name);
}

static void collect_matrix(void *opaque, hyv_weight *out, const char *module,
                           const hyv_matrix_spec *s)
{
    collector *c = opaque;
    hyv_place place;
    hyv_names_place(c->names, module, "weight", &place);
    collect(c, place.name);
    if (s->bias) {
        hyv_names_place(c->names, module, "bias", &place);
        collect(c, place.name);
    }
    c->parameters += s->rows * s->cols + (s->bias ? s->rows : 0);
    *out = (hyv_weight){0};
}

static void collect_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    collector *c = opaque;
    hyv_place place;
    hyv_names_place_full(c->names, name, &place);
    collect(c, place.name);
    c->parameters += n;
    *out = NULL;
}

static void collect_table(void *opaque, hyv_mat *out, const char *name, int64_t rows, int64_t cols)
{
    const float *unused;
    collect_vector(opaque, &unused, name, rows * cols);
    *out = HYV_NO_MAT;
}

static void bind(enum hyv_component component, const hyv_binder *b)
{
    static const hyv_dit_config dit = PUBLISHED_DIT;
    static const hyv_llama_config llama = PUBLISHED_LLAMA(32);
    static const hyv_clip_config clip = PUBLISHED_CLIP;
    static const hyv_vae_config vae = PUBLISHED_VAE;
    void *net = calloc(1, sizeof(hyv_dit) + sizeof(hyv_llama) + sizeof(hyv_vae) + sizeof(hyv_clip));
    if (!CHECK(net != NULL))
        return;
    if (component == HYV_TRANSFORMER)
        hyv_dit_bind(net, &dit, b);
    else if (component == HYV_TEXT_ENCODER)
        hyv_llama_bind(net, &llama, b);
    else if (component == HYV_TEXT_ENCODER_2)
        hyv_clip_bind(net, &clip, b);
    else
        hyv_vae_bind(net, &vae, b);
    free(net);
}

/* A safetensors file of these tensors, one number each. */
static void write_file(const char *path, const char *const *names)
{
    hyv_string s = {0};
    int count = 0;
    for (; *names; names++, count++)
        hyv_string_append(&s, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                          count ? "," : "{", *names, 4 * count, 4 * count + 4);
    hyv_string_append(&s, "}");
    const uint64_t length = s.length;
    const float zero = 0.0f;
    FILE *f = fopen(path, "wb");
    if (CHECK(f != NULL)) {
        fwrite(&length, sizeof(length), 1, f);
        fwrite(s.text, 1, s.length, f);
        for (int i = 0; i < count; i++)
            fwrite(&zero, sizeof(zero), 1, f);
        CHECK(fclose(f) == 0);
    }
    hyv_string_free(&s);
}

typedef struct naming {
    const char *label;
    enum hyv_component component;
    int tensors;
    int64_t parameters;
    const char *tells[5];    /* tensors that are in the file */
    const char *examples[8]; /* names that must be asked for, with the prefix */
} naming;

static const naming namings[] = {
    {"diffusers",
     HYV_TRANSFORMER,
     1264,
     12821012544,
     {"context_embedder.proj_in.weight"},
     {"transformer_blocks.19.attn.add_q_proj.weight", "norm_out.linear.bias"}},
    {"official",
     HYV_TRANSFORMER,
     856,
     12821012544,
     {"model.diffusion_model.double_blocks.0.img_attn_qkv.weight"},
     {"model.diffusion_model.double_blocks.19.txt_attn_qkv.bias",
      "model.diffusion_model.single_blocks.39.linear1.weight",
      "model.diffusion_model.single_blocks.39.q_norm.weight",
      "model.diffusion_model.txt_in.individual_token_refiner.blocks.1.adaLN_modulation.1.weight",
      "model.diffusion_model.final_layer.adaLN_modulation.1.bias",
      "model.diffusion_model.guidance_in.mlp.2.bias"}},
    {"ComfyUI",
     HYV_TRANSFORMER,
     856,
     12821012544,
     {"model.model.txt_in.t_embedder.in_layer.weight"},
     {"model.model.double_blocks.7.img_attn.norm.query_norm.scale",
      "model.model.single_blocks.39.linear2.bias", "model.model.vector_in.out_layer.weight",
      "model.model.txt_in.individual_token_refiner.blocks.0.self_attn.qkv.weight",
      "model.model.double_blocks.0.txt_mlp.2.weight", "model.model.final_layer.linear.weight",
      "model.model.txt_in.c_embedder.out_layer.bias"}},
    {"LlamaModel",
     HYV_TEXT_ENCODER,
     289,
     7505182720,
     {"layers.0.mlp.gate_proj.weight"},
     {"embed_tokens.weight", "layers.31.self_attn.k_proj.weight"}},
    {"LLaVA",
     HYV_TEXT_ENCODER,
     289,
     7505182720,
     {"language_model.model.layers.0.mlp.gate_proj.weight"},
     {"language_model.model.layers.31.post_attention_layernorm.weight"}},
    {"GGUF",
     HYV_TEXT_ENCODER,
     289,
     7505182720,
     {"blk.0.ffn_gate.weight"},
     {"token_embd.weight", "blk.31.attn_output.weight", "blk.0.ffn_norm.weight"}},
    {"CLIP",
     HYV_TEXT_ENCODER_2,
     196,
     123060480,
     {"text_model.embeddings.token_embedding.weight"},
     {"text_model.final_layer_norm.bias", "text_model.encoder.layers.11.mlp.fc2.bias"}},
    {"diffusers",
     HYV_VAE,
     140,
     146136339,
     {"vae.decoder.mid_block.resnets.0.conv1.conv.weight"},
     {"vae.post_quant_conv.weight", "vae.decoder.up_blocks.2.resnets.0.conv_shortcut.conv.bias"}},
    {"ComfyUI",
     HYV_VAE,
     140,
     146136339,
     {"decoder.mid.block_1.conv1.conv.weight", "decoder.up.3.block.0.norm1.weight"},
     {"decoder.up.3.block.2.conv2.conv.weight", "decoder.up.1.block.0.nin_shortcut.conv.weight",
      "decoder.up.1.upsample.conv.conv.bias", "decoder.mid.attn_1.proj_out.weight",
      "decoder.norm_out.bias", "post_quant_conv.bias", "decoder.mid.block_2.norm2.weight"}},
};

static char path[] = "/tmp/hyv-names-XXXXXX";

static void check_naming(const naming *n)
{
    hyv_log log = {0};
    hyv_checkpoint *file = NULL;
    hyv_identity found;
    collector c = {0};
    write_file(path, n->tells);
    if (!CHECK_MSG(hyv_checkpoint_open(&file, path, &log) == 0, "%s", log.error))
        return;
    hyv_names_identify(&found, file);
    c.names = &found.names[n->component];
    CHECK_MSG(c.names->naming && found.components == 1 && !found.foreign, "%s: %d components, %s",
              n->tells[0], found.components, found.foreign ? found.foreign : "none foreign");
    CHECK_MSG(strcmp(hyv_names_label(c.names), n->label) == 0, "%s: '%s'", n->tells[0],
              hyv_names_label(c.names));
    bind(n->component, &(hyv_binder){.opaque = &c,
                                     .matrix = collect_matrix,
                                     .vector = collect_vector,
                                     .table = collect_table});
    CHECK_MSG(c.count == n->tensors && c.parameters == n->parameters,
              "%s: %d tensors, %lld parameters", n->tells[0], c.count, (long long)c.parameters);
    for (int i = 0; i < 8 && n->examples[i]; i++) {
        bool asked = false;
        for (int k = 0; k < c.count; k++)
            asked |= strcmp(c.list[k], n->examples[i]) == 0;
        CHECK_MSG(asked, "%s: %s is never asked for", n->label, n->examples[i]);
    }
    for (int i = 0; i < c.count; i++)
        free(c.list[i]);
    hyv_checkpoint_close(&file);
}

/* One file may hold several components; a foreign part takes its own component away only. */
static void check_mixed(void)
{
    static const char *const all[] = {"model.diffusion_model.double_blocks.0.img_attn_qkv.weight",
                                      "vae.decoder.mid_block.resnets.0.conv1.conv.weight",
                                      "text_encoders.llava_llama3.transformer.model.layers.0.mlp."
                                      "gate_proj.weight",
                                      "clip_l.transformer.text_model.final_layer_norm.weight",
                                      NULL};
    static const char *const wrong[] = {"decoder.conv_in.weight", "layers.0.mlp.gate_proj.weight",
                                        NULL};
    hyv_log log = {0};
    hyv_checkpoint *file = NULL;
    hyv_identity found;
    write_file(path, all);
    CHECK(hyv_checkpoint_open(&file, path, &log) == 0);
    hyv_names_identify(&found, file);
    CHECK(found.components == HYV_COMPONENTS && !found.foreign);
    hyv_checkpoint_close(&file);
    write_file(path, wrong);
    CHECK(hyv_checkpoint_open(&file, path, &log) == 0);
    hyv_names_identify(&found, file);
    CHECK(found.components == 1 && found.names[HYV_TEXT_ENCODER].naming && found.foreign);
    hyv_checkpoint_close(&file);
}

/* A name as long as a file's may be, and a number that no counter holds. */
static void check_limits(void)
{
    static const char *const tells[] = {"double_blocks.0.img_attn_qkv.weight",
                                        "double_blocks.99999999999999999999.x", "double_blocks.7.x",
                                        NULL};
    hyv_log log = {0};
    hyv_checkpoint *file = NULL;
    hyv_identity found;
    hyv_place place;
    char name[2048];
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    write_file(path, tells);
    CHECK(hyv_checkpoint_open(&file, path, &log) == 0);
    hyv_names_identify(&found, file);
    const hyv_names *names = &found.names[HYV_TRANSFORMER];
    hyv_names_place(names, name, "weight", &place);
    CHECK(strlen(place.name) < HYV_PLACE_NAME_MAX);
    hyv_names_place_full(names, "transformer_blocks.12345678901234567890.attn.to_q.weight", &place);
    CHECK(!hyv_checkpoint_find(file, place.name));
    CHECK(hyv_names_blocks(names, file, "transformer_blocks.0.norm1.linear") == 8);
    hyv_checkpoint_close(&file);
}

int main(void)
{
    const int fd = mkstemp(path);
    if (!CHECK(fd >= 0))
        return check_done();
    close(fd);
    for (size_t i = 0; i < sizeof(namings) / sizeof(namings[0]); i++)
        check_naming(&namings[i]);
    check_mixed();
    check_limits();
    unlink(path);
    return check_done();
}
