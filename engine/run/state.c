/* Writes and reads a run's state: see state.h.
 *
 * Reading goes through the same checks as any other checkpoint; a hash of the latents finds what
 * those cannot.
 */
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/json.h"
#include "../base/write.h"
#include "../checkpoint/checkpoint.h"
#include "fingerprint.h"

#define FORMAT "hunyuanvideo run 1"

enum { LENGTH_BYTES = 8, RUN_BYTES_MAX = 1 << 20, RUN_DEPTH = 3, STEPS_MAX = 1 << 20 };

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *tensor_entry(const char *type, int64_t rows, int64_t cols, uint64_t begin,
                            uint64_t size)
{
    json_t *shape = cols ? json_pack("[II]", (json_int_t)rows, (json_int_t)cols)
                         : json_pack("[I]", (json_int_t)rows);
    return json_pack("{s:s, s:o, s:[II]}", "dtype", type, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + size));
}

/* The container's header with its length in front, padded to 8 bytes; NULL if memory is short. */
static char *make_header(size_t *size, int64_t rows, int64_t channels, size_t run_bytes)
{
    const uint64_t latents = (uint64_t)rows * (uint64_t)channels * sizeof(float);
    json_t *root = json_pack("{s:{s:s}, s:o, s:o}", "__metadata__", "format", FORMAT, "latents",
                             tensor_entry("F32", rows, channels, 0, latents), "run",
                             tensor_entry("U8", (int64_t)run_bytes, 0, latents, run_bytes));
    const size_t length = json_dumpb(root, NULL, 0, JSON_COMPACT); /* 0: no memory */
    const size_t padded = (length + 7) / 8 * 8;
    char *header = length ? hyv_malloc(LENGTH_BYTES + padded, 1) : NULL;
    if (header) {
        for (int i = 0; i < LENGTH_BYTES; i++)
            header[i] = (char)((uint64_t)padded >> 8 * i & 0xff);
        memset(header + LENGTH_BYTES, ' ', padded);
        *size = LENGTH_BYTES + padded;
    }
    if (header && json_dumpb(root, header + LENGTH_BYTES, length, JSON_COMPACT) != length) {
        hyv_free_host(header);
        header = NULL;
    }
    json_decref(root);
    return header;
}

int hyv_state_save(const char *path, const json_t *identity, int step, const float *latents,
                   int64_t rows, int64_t channels)
{
    const size_t bytes = (size_t)(rows * channels) * sizeof(float);
    char hash[HYV_FINGERPRINT_BYTES];
    hyv_fingerprint_bytes(hash, latents, bytes);
    json_t *root = json_pack("{s:s, s:i, s:s, s:O}", "format", FORMAT, "step", step, "latents",
                             hash, "run", identity);
    char *run = root ? json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
    const size_t run_bytes = run ? strlen(run) : 0;
    size_t header_bytes = 0;
    char *header = run ? make_header(&header_bytes, rows, channels, run_bytes) : NULL;
    const hyv_chunk parts[] = {{header, header_bytes}, {latents, bytes}, {run, run_bytes}};
    const int err = header ? hyv_file_write(path, parts, 3) : -ENOMEM;
    hyv_free_host(header);
    free(run);
    json_decref(root);
    return err;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int damaged(const char *path, const char *what, hyv_log *log)
{
    return hyv_log_error(log, -EBADMSG, "checkpoint %s: %s; remove it to begin from the first step",
                         path, what);
}

static int read_run(hyv_state *state, const hyv_json *doc, const char *path,
                    const hyv_tensor *latents, hyv_log *log)
{
    const char *format = "", *hash = "";
    char found[HYV_FINGERPRINT_BYTES];
    int64_t step = -1;
    int err = hyv_json_string(doc, NULL, "format", &format);
    if (err >= 0)
        err = hyv_json_string(doc, NULL, "latents", &hash);
    if (err >= 0)
        err = hyv_json_int(doc, NULL, "step", 1, STEPS_MAX, &step);
    if (err < 0)
        return err;
    json_t *identity = json_object_get(doc->root, "run");
    if (strcmp(format, FORMAT) || step < 1 || !json_is_object(identity))
        return damaged(path, "is not the state of a run by this version", log);
    state->latents = hyv_malloc((size_t)latents->count, sizeof(float));
    if (!state->latents)
        return hyv_log_error(log, -ENOMEM, "checkpoint %s: not enough memory", path);
    memcpy(state->latents, latents->data, latents->size_bytes);
    hyv_fingerprint_bytes(found, state->latents, latents->size_bytes);
    if (strcmp(found, hash))
        return damaged(path, "its latents are damaged", log);
    state->identity = json_incref(identity);
    state->step = (int)step;
    state->rows = latents->shape[0];
    state->channels = latents->shape[1];
    return 1;
}

int hyv_state_load(hyv_state *state, const char *path, hyv_log *log)
{
    hyv_checkpoint *c = NULL;
    hyv_json doc = {0};
    *state = (hyv_state){0};
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return 0;
    int err = hyv_checkpoint_open(&c, path, log);
    if (err < 0)
        return err;
    const hyv_tensor *latents = hyv_checkpoint_find(c, "latents"),
                     *run = hyv_checkpoint_find(c, "run");
    if (!latents || !run || latents->type != HYV_F32 || latents->rank != 2 || run->type != HYV_U8 ||
        run->size_bytes > RUN_BYTES_MAX)
        err = damaged(path, "is not the state of a run", log);
    else
        err = hyv_json_parse(&doc, run->data, run->size_bytes, RUN_DEPTH, path, log);
    if (err >= 0) {
        err = read_run(state, &doc, path, latents, log);
        hyv_json_close(&doc);
    }
    hyv_checkpoint_close(&c);
    return err;
}

void hyv_state_clear(hyv_state *state)
{
    json_decref(state->identity);
    hyv_free_host(state->latents);
    *state = (hyv_state){0};
}

int hyv_state_check(const hyv_state *state, const json_t *identity, const char *path, hyv_log *log)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)identity, name, value)
    {
        const char *here = json_string_value(value);
        const char *there = json_string_value(json_object_get(state->identity, name));
        if (there && here && !strcmp(here, there))
            continue;
        return hyv_log_error(log, -EINVAL,
                             "checkpoint %s: belongs to another run: its %s is \"%.200s\", here it "
                             "is \"%.200s\"; choose another file, or remove this one",
                             path, name, there ? there : "", here ? here : "");
    }
    return 0;
}
