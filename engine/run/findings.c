/* From error messages to findings: see findings.h.
 *
 * The table is read from its first row to its last; a row is chosen by words of the message, which
 * tests/run/test_doctor.c holds to the messages of the readers: it makes a file for each kind.
 */
#include "findings.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

#define AGAIN "download it again"
#define AGAIN_PAGE \
    "download it again; the server sent a page instead: a licence to accept, or a log-in?"
#define CONVERT \
    "take a safetensors or GGUF file of the same weights, or save it again as the message says"

static const struct row {
    const char *words, *kind, *valid, *advice;
} rows[] = {
    {"Git LFS pointer", "lfs_pointer", "the file that it points to",
     "run 'git lfs pull' in the repository, or download the file itself"},
    {"HTML or XML page", "web_page", "the file itself", AGAIN_PAGE},
    {"the file is empty", "empty", "a file with something in it", AGAIN},
    {"truncated", "truncated", "a whole file", AGAIN ": it is not finished"},
    {"after contiguous()", "unsupported_container", "contiguous tensors", CONVERT},
    {"belong to none", "trailing_bytes", "a file that ends with its last tensor", AGAIN},
    {"stands twice", "duplicate_tensor", "every name once",
     "download it again; if it is whole, convert or merge its sources again"},
    {"data_offsets are not a range", "bad_ranges", "ranges that begin before they end", AGAIN},
    {": a hole", "bad_ranges", "tensors one after the other, without holes", AGAIN},
    {"overlap", "bad_ranges", "tensors that do not overlap", AGAIN},
    {"its range has", "bad_ranges", "ranges that fit shape and type", AGAIN},
    {"lies outside the file", "truncated", "a whole file", AGAIN ": it is not finished"},
    {"nothing of it was run", "code_in_pickle", "plain tensors alone",
     "do not load it with other programs; take a safetensors file from a source that you trust"},
    {"damaged pickle", "damaged", "a whole state dict", AGAIN},
    {"not a sound zip archive", "damaged", "a zip archive as torch.save writes it", AGAIN},
    {"has the unknown type", "unsupported_type", "F32, F16, BF16, F8_E4M3, F8_E5M2",
     "take a file of another type"},
    {"IQ4_NL and IQ4_XS are read", "unsupported_type",
     "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS",
     "take a file of another quantisation"},
    {"which this build does not use", "unsupported_type", "F32, F16, BF16, F8_E4M3, F8_E5M2",
     "take a file of another type if a tensor is missing without it"},
    {"kind of quantisation that is not read", "unsupported_quantisation", "fp8 with one scale",
     "take a file of another quantisation"},
    {"is quantised as", "unsupported_quantisation", "float8_e4m3fn or float8_e5m2",
     "take a file of another quantisation"},
    {"need the scales of", "missing_file", "the map beside the fp8 file",
     "download the map, too, and put it beside the file"},
    {"shard '", "missing_file", "every file that the index names, in its folder",
     "download what is missing"},
    {"where it should be", "bad_index", "shards and index of one revision",
     "download index and shards again, all of one revision"},
    {"'weight_map'", "bad_index", "an object that names the file of each tensor", AGAIN},
    {"is not a plain file name", "bad_index", "files of the index's own folder",
     "do not trust this index; download it again"},
    {"a file of unknown tensors", "unknown_tensors", "a component of HunyuanVideo",
     "name the right file with the component's option"},
    {"HunyuanVideo 1.5", "foreign_family", "HunyuanVideo (1.0), another model than 1.5",
     "download HunyuanVideo; 1.5 does not run here"},
    {"this is the text_encoder", "wrong_component", "the component's own file",
     "put each file into its own folder, or name it with the option of its component"},
    {"this is the transformer,", "wrong_component", "the component's own file",
     "put each file into its own folder, or name it with the option of its component"},
    {"this is the vae,", "wrong_component", "the component's own file",
     "put each file into its own folder, or name it with the option of its component"},
    {"of HunyuanVideo", "foreign_family", "HunyuanVideo's", "download HunyuanVideo's"},
    {"image-to-video", "image_to_video", "a text-to-video model", "take the text-to-video model"},
    {"mage to video", "image_to_video", "a text-to-video model", "take the text-to-video model"},
    {"ImageToVideo", "image_to_video", "a text-to-video model", "take the text-to-video model"},
    {"config.json beside it", "no_config", "a config.json beside weights of unusual sizes",
     "download the model's config.json, too"},
    {"more than one", "several_candidates", "one file for each component",
     "choose one with the option of its component"},
    {"files that end in", "several_candidates", "one file for each component",
     "choose one with the option of its component"},
    {"must be equal, found", "components_do_not_fit", "components of one model",
     "take all components from the same model"},
    {"holds neither", "missing_file", "tokenizer.json, or vocab.json and merges.txt",
     "download what is missing"},
    {"holds no weights", "missing_file", "a file with weights", "download the weights, too"},
    {"is no tokenizer of", "wrong_tokenizer", "the encoder's own tokenizer",
     "download the tokenizer's folder of the model"},
    {"is not of three known tokens", "damaged_tokenizer", "merges of tokens in the vocabulary",
     "download the tokenizer again, all its files of one revision"},
    {"there is no tokenizer", "missing_tokenizer", "a tokenizer for each text encoder",
     "download the tokenizer's folder of the model"},
    {"is not a regular file", "not_a_file", "a file", "remove what stands there, and " AGAIN},
    {"not a regular file", "not_a_file", "a file", "remove what stands there, and " AGAIN},
    {"ermission denied", "unreadable", "a file that this user may read", "change its permissions"},
    {"not a safetensors file", "not_weights", "safetensors, GGUF or a PyTorch zip file", AGAIN},
    {"not weights", "not_weights", "safetensors, GGUF or a PyTorch zip file", AGAIN},
    {"convert it", "unsupported_container", "safetensors, GGUF or a PyTorch zip file", CONVERT},
    {"save it again", "unsupported_container", "safetensors, GGUF or a PyTorch zip file", CONVERT},
    {"TorchScript", "unsupported_container", "safetensors, GGUF or a PyTorch zip file", CONVERT},
    {"not valid JSON", "bad_json", "JSON", AGAIN ", or undo what was edited"},
    {"there is no ", "missing_component", "all four components",
     "download what is missing, or name it with the option of its component"},
};

void hyv_finding_tell(hyv_findings *f, const hyv_finding *finding)
{
    hyv_finding given = *finding;
    const char **const texts[] = {&given.kind,  &given.component, &given.file,  &given.tensor,
                                  &given.found, &given.valid,     &given.advice};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!*texts[i])
            *texts[i] = "";
    given.size = sizeof(given);
    if (f->stop)
        return;
    f->errors += given.severity == HYV_SEVERITY_ERROR;
    if (f->to->finding)
        f->stop = f->to->finding(f->opaque, &given);
    else
        hyv_log_write(f->log,
                      given.severity == HYV_SEVERITY_ERROR ? HYV_LEVEL_ERROR : HYV_LEVEL_WARNING,
                      "%s%s%s%s%s", given.file, *given.file ? ": " : "", given.tensor,
                      *given.tensor ? ": " : "", given.found);
}

/* Where the text behind the path at the message's beginning begins; 0: there is no path. A path may
 * itself hold a colon with a blank. */
static size_t path_end(const char *message)
{
    for (const char *at = message; (at = strstr(at, ": ")); at += 2) {
        char *path = hyv_strndup(message, (size_t)(at - message));
        const bool is = path && (hyv_path_is_file(path) || hyv_path_is_folder(path));
        hyv_free_host(path);
        if (is)
            return (size_t)(at - message);
    }
    return 0;
}

/* The name in quotes behind "tensor" or "tensors"; NULL: none, or no memory. */
static char *quoted_tensor(const char *message)
{
    const char *at = strstr(message, "tensor");
    for (; at; at = strstr(at + 1, "tensor")) {
        const char *name = at + strlen("tensor") + (at[strlen("tensor")] == 's');
        if (strncmp(name, " '", 2) != 0)
            continue;
        const char *end = strchr(name + 2, '\'');
        return end ? hyv_strndup(name + 2, (size_t)(end - name - 2)) : NULL;
    }
    return NULL;
}

static const struct row *find_row(const char *message)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strstr(message, rows[i].words))
            return &rows[i];
    return NULL;
}

void hyv_finding_tell_message(hyv_findings *f, const hyv_finding *usual, const char *message)
{
    hyv_finding finding = usual ? *usual : (hyv_finding){.severity = HYV_SEVERITY_ERROR};
    const size_t end = path_end(message);
    char *path = end ? hyv_strndup(message, end) : NULL;
    const char *text = end ? message + end + 2 : message;
    const struct row *row = find_row(text);
    char *tensor = quoted_tensor(text);
    if (row) {
        finding.kind = row->kind;
        finding.valid = row->valid;
        finding.advice = row->advice;
    } else if (!finding.kind) {
        finding.kind = "damaged";
        finding.advice = AGAIN;
    }
    finding.file = path ? path : finding.file;
    finding.tensor = tensor ? tensor : finding.tensor;
    finding.found = text;
    hyv_finding_tell(f, &finding);
    hyv_free_host(tensor);
    hyv_free_host(path);
}
