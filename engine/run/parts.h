/* Which files a model consists of.
 *
 * A model is a folder in the diffusers layout, any other folder whose files are told by their
 * contents (Tencent's and ComfyUI's trees, loose downloads), or one file; options name components
 * that stand elsewhere. What cannot be told is refused with both candidates and the option that
 * chooses. Reads headers only; binds nothing.
 */
#ifndef HYV_RUN_PARTS_H
#define HYV_RUN_PARTS_H

#include "../base/log.h"
#include "../base/util.h"
#include "../checkpoint/names.h"

enum hyv_tokenizer { HYV_TOKENIZER_LLAMA, HYV_TOKENIZER_CLIP, HYV_TOKENIZERS };

/* What a transformer without image channels was trained for, which its tensors do not tell. */
enum hyv_task { HYV_TASK_AUTO, HYV_TASK_T2V, HYV_TASK_I2V };

/* What the user named; NULL: nothing. */
typedef struct hyv_choice {
    char *component[HYV_COMPONENTS]; /* a file, or a folder with one component */
    char *tokenizer[HYV_TOKENIZERS]; /* a file or folder */
    char **folders;                  /* of installed models, NULL behind the last; may be NULL */
    enum hyv_task task;
    /* Bits of the components that are looked for, of which any may be missing but not all; 0: all,
     * and all must be there. */
    unsigned wanted;
} hyv_choice;

typedef struct hyv_part {
    char *path;   /* what hyv_checkpoint_open takes; NULL: missing, see hyv_choice.wanted */
    char *config; /* its config.json; NULL: there is none */
} hyv_part;

typedef struct hyv_parts {
    hyv_part part[HYV_COMPONENTS];
    char *index, *scheduler; /* model_index.json, scheduler_config.json; NULL: there is none */
    char **tokenizers;       /* tokenizer files that were passed on the way */
    int tokenizer_count;
} hyv_parts;

/* `model` may be "" if `choice` (which may be NULL) names every component. -ENOENT lists what is
 * missing and the options that name it, -EINVAL two candidates, -ENOTSUP another family. */
int hyv_parts_find(hyv_parts *parts, const char *model, const hyv_choice *choice, hyv_log *log);

/* Receives what is wrong with a component's place (HYV_COMPONENTS: with a file of no known
 * component). harmless: everything is there without it. */
typedef void hyv_parts_fault(void *opaque, enum hyv_component component, const char *path,
                             const char *message, bool harmless);

/* The same for those who want to know all: faults are told, none ends the search, and a component
 * that is not there has path NULL. 0 or -ENOMEM. */
int hyv_parts_survey(hyv_parts *parts, const char *model, const hyv_choice *choice, hyv_log *log,
                     void *opaque, hyv_parts_fault *fault);
void hyv_parts_free(hyv_parts *parts);

/* The tokenizer.json or vocab.json of an encoder, which is there: named, beside the encoder, in the
 * model, or in an installed folder, in this order. 1 and *path; 0 if there is none, and then
 * *looked says where; negative: named, but not there, or no memory. */
int hyv_parts_tokenizer(char **path, hyv_string *looked, const hyv_parts *parts,
                        enum hyv_tokenizer which, const char *model, const hyv_choice *choice,
                        hyv_log *log);

/* Does the transformer's path say "i2v" or "fast"? Case does not count. */
enum hyv_task hyv_parts_task(const hyv_parts *parts);
bool hyv_parts_fast(const hyv_parts *parts);

/* "folder/name" if such a file is there, else NULL; false: no memory. */
bool hyv_parts_join(char **path, const char *folder, const char *name);

/* The folder in which a file stands, "." for a bare name. NULL: no memory. */
char *hyv_path_folder(const char *path);

#endif
