/* Where the tokenizer of a text encoder lies: see hyv_parts_tokenizer in parts.h.
 *
 * Follows the places of the published distributions, beside the encoders and in folders named
 * tokenizer and tokenizer_2; whose a file is tells a token that the other family has not. Reads a
 * file as text only; what is in it is bpe_file.c's matter.
 */
#include <errno.h>
#include <string.h>

#include "parts.h"

enum { TOKENIZER_BYTES_MAX = 64 << 20 };

static int no_memory(hyv_log *log)
{
    return hyv_log_error(log, -ENOMEM, "not enough memory to look for tokenizers");
}

static bool is_there(const char *path)
{
    return hyv_path_is_file(path) || hyv_path_is_folder(path);
}

typedef struct finder {
    char *path; /* found */
    hyv_string *looked;
    enum hyv_tokenizer which;
    bool short_of_memory;
} finder;

/* Each family has a token that the other has not. */
static bool is_wanted(finder *f, const char *path)
{
    static const char *const own[HYV_TOKENIZERS] = {"<|start_header_id|>", "<|startoftext|>"};
    char *text;
    size_t size;
    const int err = hyv_file_read(&text, &size, path, TOKENIZER_BYTES_MAX);
    f->short_of_memory |= err == -ENOMEM;
    const bool is = err >= 0 && strstr(text, own[f->which]) != NULL;
    if (err >= 0)
        hyv_free_host(text);
    return is;
}

/* A folder's files of the right kind. */
static void try_folder(finder *f, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    if (!folder)
        f->short_of_memory = true;
    if (f->path || !folder || !hyv_path_is_folder(folder))
        return;
    if (!strstr(hyv_string_text(f->looked), folder))
        hyv_string_append(f->looked, "%s%s", f->looked->length ? ", " : "", folder);
    for (int i = 0; i < 2 && !f->path; i++) {
        f->short_of_memory |= !hyv_parts_join(&f->path, folder, names[i]);
        if (f->path && !is_wanted(f, f->path)) {
            hyv_free_host(f->path);
            f->path = NULL;
        }
    }
}

static void try_inside(finder *f, const char *folder)
{
    static const char *const names[HYV_TOKENIZERS] = {"tokenizer", "tokenizer_2"};
    char *path = folder ? hyv_path_join(folder, names[f->which]) : NULL;
    try_folder(f, path);
    hyv_free_host(path);
}

/* What was named must be right, so that a mistake is not passed over. */
static int take_named(finder *f, const char *path, hyv_log *log)
{
    const char *option = f->which == HYV_TOKENIZER_LLAMA ? "tokenizer" : "tokenizer_2";
    if (!is_there(path))
        return hyv_log_error(log, -ENOENT, "option %s: there is no folder or file \"%s\"", option,
                             path);
    if (hyv_path_is_folder(path))
        try_folder(f, path);
    else if (is_wanted(f, path))
        f->short_of_memory |= !(f->path = hyv_strdup(path));
    if (!f->path && f->short_of_memory)
        return no_memory(log);
    if (!f->path)
        return hyv_log_error(log, -EBADMSG, "option %s: %s is no tokenizer of %s", option, path,
                             f->which == HYV_TOKENIZER_LLAMA
                                 ? "the language model (tokenizer.json of Llama 3)"
                                 : "CLIP (tokenizer.json, or vocab.json and merges.txt)");
    return 1;
}

static void look_around(finder *f, const hyv_parts *parts, const char *model,
                        const hyv_choice *choice)
{
    static const enum hyv_component encoders[HYV_TOKENIZERS] = {HYV_TEXT_ENCODER,
                                                                HYV_TEXT_ENCODER_2};
    const char *encoder = parts->part[encoders[f->which]].path;
    if (*model && hyv_path_is_folder(model))
        try_inside(f, model);
    if (!encoder) /* surveyed, and not there */
        encoder = *model ? model : ".";
    char *folder = hyv_path_is_folder(encoder) ? hyv_strdup(encoder) : hyv_path_folder(encoder);
    char *above = folder ? hyv_path_folder(folder) : NULL;
    try_folder(f, folder);
    try_inside(f, folder);
    try_inside(f, above);
    for (int i = 0; i < parts->tokenizer_count && !f->path; i++)
        if (is_wanted(f, parts->tokenizers[i]))
            f->short_of_memory |= !(f->path = hyv_strdup(parts->tokenizers[i]));
    if (*model && hyv_path_is_folder(model))
        try_folder(f, model);
    for (char **at = choice ? choice->folders : NULL; at && *at; at++)
        try_inside(f, *at);
    hyv_free_host(folder);
    hyv_free_host(above);
}

int hyv_parts_tokenizer(char **path, hyv_string *looked, const hyv_parts *parts,
                        enum hyv_tokenizer which, const char *model, const hyv_choice *choice,
                        hyv_log *log)
{
    finder f = {.looked = looked, .which = which};
    int err = 0;
    *path = NULL;
    if (choice && choice->tokenizer[which])
        err = take_named(&f, choice->tokenizer[which], log);
    else
        look_around(&f, parts, model, choice);
    if (f.short_of_memory) {
        hyv_free_host(f.path);
        return err < 0 ? err : no_memory(log);
    }
    *path = f.path;
    return err < 0 ? err : f.path != NULL;
}
