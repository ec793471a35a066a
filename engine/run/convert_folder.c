/* Folders of converted models, and the small files in them: see convert_folder.h.
 *
 * Layout and file names are those of diffusers. The folder is filled under another name and then
 * renamed, so that it is there whole or not at all. Writes no weights.
 */
#include "convert_folder.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/write.h"
#include "gguf_tokenizer.h"

enum { SMALL_FILE_BYTES = 64 << 20, OPEN_FOLDERS = 8 };

static int fail(hyv_log *log, int err, const char *path)
{
    return hyv_log_error(log, err, "%s: cannot be written: %s", path, strerror(-err));
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    (void)s, (void)kind, (void)where;
    return remove(path);
}

int hyv_convert_folder_new(char **partial, const char *path, hyv_log *log)
{
    struct stat there;
    hyv_string name = {0};
    *partial = NULL;
    /* Only an empty folder can be replaced by the rename that ends this. */
    if (stat(path, &there) == 0 && !S_ISDIR(there.st_mode))
        return hyv_log_error(log, -EEXIST,
                             "%s: there is such a file; name a new folder, or a file that ends in "
                             ".safetensors or .gguf",
                             path);
    if (stat(path, &there) == 0) {
        if (rmdir(path) != 0)
            return hyv_log_error(log, -EEXIST, "%s: there is such a folder, which is not empty",
                                 path);
        if (mkdir(path, there.st_mode & 0777) != 0)
            return fail(log, -errno, path);
    }
    hyv_string_append(&name, "%s.XXXXXX", path);
    if (name.failed)
        return fail(log, -ENOMEM, path);
    *partial = name.text;
    if (mkdtemp(*partial) && chmod(*partial, 0755) == 0)
        return 0;
    const int err = fail(log, -errno, path);
    hyv_free_host(*partial);
    *partial = NULL;
    return err;
}

int hyv_convert_folder_close(char **partial, const char *path, int err, hyv_log *log)
{
    if (!*partial)
        return err;
    if (!err) {
        const int renamed = hyv_folder_rename(*partial, path);
        err = renamed ? fail(log, renamed, path) : 0;
    }
    if (err)
        nftw(*partial, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS);
    hyv_free_host(*partial);
    *partial = NULL;
    return err;
}

int hyv_convert_subfolder(char **path, const char *folder, const char *name, hyv_log *log)
{
    *path = hyv_path_join(folder, name);
    const int err = !*path ? -ENOMEM : mkdir(*path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
    if (!err)
        return 0;
    hyv_free_host(*path);
    *path = NULL;
    return fail(log, err, name);
}

/* ---- small files ----------------------------------------------------------------------------- */

static int write_text(const char *folder, const char *name, const hyv_string *text, hyv_log *log)
{
    char *path = hyv_path_join(folder, name);
    const hyv_chunk all = {hyv_string_text(text), text->length};
    const int err = !path || text->failed ? -ENOMEM : hyv_file_write(path, &all, 1);
    hyv_free_host(path);
    return err ? fail(log, err, name) : 0;
}

static int copy(const char *folder, const char *name, const char *from, hyv_log *log)
{
    char *path = hyv_path_join(folder, name);
    const int err = path ? hyv_file_copy(path, from, SMALL_FILE_BYTES) : -ENOMEM;
    hyv_free_host(path);
    return err ? hyv_log_error(log, err, "%s: cannot be copied: %s", from, strerror(-err)) : 0;
}

/* A file that need not be there. */
static int copy_any(const char *folder, const char *name, const char *from_folder, hyv_log *log)
{
    char *from = hyv_path_join(from_folder, name);
    const int err = !from                    ? fail(log, -ENOMEM, name)
                    : hyv_path_is_file(from) ? copy(folder, name, from, log)
                                             : 0;
    hyv_free_host(from);
    return err;
}

/* For a language model whose numbers were keys of a GGUF file. */
static void describe_llama(hyv_string *s, const hyv_llama_config *c)
{
    hyv_string_append(s,
                      "{\n  \"architectures\": [\"LlamaModel\"],\n  \"model_type\": \"llama\",\n"
                      "  \"hidden_act\": \"silu\",\n  \"hidden_size\": %lld,\n"
                      "  \"intermediate_size\": %lld,\n  \"num_hidden_layers\": %lld,\n",
                      (long long)c->width, (long long)c->mlp_width, (long long)c->layers);
    hyv_string_append(s,
                      "  \"num_attention_heads\": %lld,\n  \"num_key_value_heads\": %lld,\n"
                      "  \"head_dim\": %lld,\n  \"vocab_size\": %lld,\n"
                      "  \"rms_norm_eps\": %.9g,\n  \"rope_theta\": %.9g\n}\n",
                      (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim,
                      (long long)c->vocabulary, c->eps, c->theta);
}

int hyv_convert_config(const char *folder, const hyv_model *m, enum hyv_component component)
{
    const char *config = m->parts.part[component].config;
    hyv_string text = {0};
    if (config)
        return copy(folder, "config.json", config, m->log);
    if (component != HYV_TEXT_ENCODER)
        return 0; /* the tensors said everything, as they will again */
    describe_llama(&text, &m->config.llama);
    const int err = write_text(folder, "config.json", &text, m->log);
    hyv_string_free(&text);
    return err;
}

/* ---- tokenizers, scheduler ------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* The file that was found and what belongs to it. */
static int copy_tokenizer(const char *folder, const char *path, hyv_log *log)
{
    static const char *const beside[] = {"merges.txt", "tokenizer_config.json",
                                         "special_tokens_map.json"};
    const bool pair = ends_with(path, "vocab.json");
    int err = copy(folder, pair ? "vocab.json" : "tokenizer.json", path, log);
    char *from = hyv_path_folder(path);
    if (!err && !from)
        err = fail(log, -ENOMEM, folder);
    for (size_t i = !pair; !err && i < sizeof(beside) / sizeof(beside[0]); i++)
        err = copy_any(folder, beside[i], from, log);
    hyv_free_host(from);
    return err;
}

static int take_tokenizer(const char *folder, const hyv_model *m, enum hyv_tokenizer which,
                          const char *model, const hyv_choice *choice)
{
    static const char *const names[HYV_TOKENIZERS] = {"tokenizer", "tokenizer_2"};
    hyv_string looked = {0}, text = {0};
    char *path = NULL, *own = NULL;
    int found = hyv_parts_tokenizer(&path, &looked, &m->parts, which, model, choice, m->log);
    if (found == 0 && which == HYV_TOKENIZER_LLAMA)
        found = hyv_gguf_tokenizer_text(&text, m->file[HYV_TEXT_ENCODER],
                                        m->parts.part[HYV_TEXT_ENCODER].path, m->log);
    int err = found < 0 ? found : 0;
    if (found > 0)
        err = hyv_convert_subfolder(&own, folder, names[which], m->log);
    if (found > 0 && !err)
        err = path ? copy_tokenizer(own, path, m->log)
                   : write_text(own, "tokenizer.json", &text, m->log);
    if (found == 0)
        hyv_log_write(m->log, HYV_LEVEL_WARNING,
                      "no tokenizer for the %s was found in %s: put it into %s of the new folder",
                      which == HYV_TOKENIZER_LLAMA ? "text encoder" : "second text encoder",
                      hyv_string_text(&looked), names[which]);
    hyv_free_host(path);
    hyv_free_host(own);
    hyv_string_free(&text);
    hyv_string_free(&looked);
    return err;
}

/* The shift of a model that was told by its name is written down, since its name is lost. */
static int take_scheduler(const char *folder, const hyv_model *m)
{
    hyv_string text = {0};
    char *own;
    int err = hyv_convert_subfolder(&own, folder, "scheduler", m->log);
    if (err)
        return err;
    hyv_string_append(&text,
                      "{\n  \"_class_name\": \"FlowMatchEulerDiscreteScheduler\",\n"
                      "  \"num_train_timesteps\": 1000,\n  \"shift\": %.9g\n}\n",
                      m->config.shift);
    err = m->parts.scheduler ? copy(own, "scheduler_config.json", m->parts.scheduler, m->log)
                             : write_text(own, "scheduler_config.json", &text, m->log);
    hyv_string_free(&text);
    hyv_free_host(own);
    return err;
}

int hyv_convert_extras(const char *folder, const hyv_model *m, const char *model,
                       const hyv_choice *choice)
{
    static const char *const files[] = {"model_index.json", "hunyuanvideo.yaml"};
    int err = 0;
    if (m->file[HYV_TEXT_ENCODER])
        err = take_tokenizer(folder, m, HYV_TOKENIZER_LLAMA, model, choice);
    if (!err && m->file[HYV_TEXT_ENCODER_2])
        err = take_tokenizer(folder, m, HYV_TOKENIZER_CLIP, model, choice);
    if (!err && m->file[HYV_TRANSFORMER])
        err = take_scheduler(folder, m);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (!err && *model && hyv_path_is_folder(model))
            err = copy_any(folder, files[i], model, m->log);
    return err;
}
