/* The ids that both text encoders get, for every prompt of the golden runs, and the rules around
 * them: blanks, cutting, counting the template, special tokens in the user's text.
 *
 * The reference's ids are padded; the padding must be what is left after ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/base/json.h"
#include "../../engine/base/util.h"
#include "../../engine/checkpoint/checkpoint.h"
#include "../../engine/text/prompt.h"
#include "../check.h"

#define GOLDEN "tests/golden/"

struct tokenizers {
    hyv_bpe *llm, *clip;
};

static bool open_both(struct tokenizers *t, const char *model)
{
    hyv_string path = {0};
    hyv_log log = {0};
    hyv_string_append(&path, GOLDEN "%s/tokenizer", model);
    bool ok = CHECK_MSG(hyv_bpe_open(&t->llm, path.text, &log) == 0, "%s", log.error);
    hyv_string_append(&path, "_2");
    ok &= CHECK_MSG(hyv_bpe_open(&t->clip, path.text, &log) == 0, "%s", log.error);
    hyv_string_free(&path);
    return ok;
}

static void close_both(struct tokenizers *t)
{
    hyv_bpe_close(&t->llm);
    hyv_bpe_close(&t->clip);
}

static int compared;

/* `n` ids of ours, then nothing but `pad`, must be the reference's. */
static void check_padded(const char *name, const hyv_tensor *reference, const int32_t *ids,
                         int64_t n, int32_t pad)
{
    if (!reference || !CHECK_MSG(reference->type == HYV_I32, "%s: not integers", name))
        return; /* not every run has its ids */
    compared++;
    int64_t wrong = 0;
    for (int64_t i = 0; i < reference->count; i++) {
        int32_t id;
        memcpy(&id, (const char *)reference->data + i * 4, sizeof(id));
        wrong += id != (i < n ? ids[i] : pad);
    }
    CHECK_MSG(wrong == 0 && n <= reference->count, "%s: %lld ids differ", name, (long long)wrong);
}

static void check_case(const char *name, json_t *run, const struct tokenizers *t, bool negative)
{
    const char *prompt = json_string_value(json_object_get(run, negative ? "negative" : "prompt"));
    const char *chosen = json_string_value(json_object_get(run, "template"));
    const bool image = chosen && strcmp(chosen, "image") == 0;
    hyv_string path = {0};
    hyv_log log = {0};
    hyv_prompt_tokens out;
    hyv_checkpoint *file;
    hyv_string_append(&path, GOLDEN "cases/%s.safetensors", name);
    if (!CHECK_MSG(hyv_prompt_encode(&out, t->llm, t->clip, prompt,
                                     image ? HYV_TEMPLATE_IMAGE : HYV_TEMPLATE_VIDEO, &log) == 0,
                   "%s: %s", name, log.error) ||
        !CHECK_MSG(hyv_checkpoint_open(&file, path.text, &log) == 0, "%s", log.error)) {
        hyv_string_free(&path);
        return;
    }
    check_padded(name, hyv_checkpoint_find(file, negative ? "neg_llm_ids" : "llm_ids"), out.llm,
                 out.llm_count, hyv_bpe_token(t->llm, "<pad>"));
    check_padded(name, hyv_checkpoint_find(file, negative ? "neg_clip_ids" : "clip_ids"), out.clip,
                 out.clip_count, hyv_bpe_eos(t->clip));
    const hyv_tensor *states =
        hyv_checkpoint_find(file, negative ? "neg_text_states" : "text_states");
    if (states)
        CHECK_MSG(out.llm_count - out.crop == states->shape[0], "%s: %lld tokens are kept", name,
                  (long long)(out.llm_count - out.crop));
    CHECK_MSG(out.crop == json_integer_value(json_object_get(run, "crop_start")), "%s: crop %lld",
              name, (long long)out.crop);
    CHECK_MSG(out.cut == (strcmp(name, "t2v_long") == 0 || negative), "%s: cut is %d", name,
              out.cut); /* the negative prompt is too long for CLIP */
    hyv_checkpoint_close(&file);
    hyv_string_free(&path);
}

static void test_cases(void)
{
    hyv_json doc;
    hyv_log log = {0};
    struct tokenizers t = {0};
    int runs = 0;
    if (!CHECK_MSG(hyv_json_load(&doc, GOLDEN "cases/cases.json", 1 << 20, &log) == 0, "%s",
                   log.error))
        return;
    const char *name;
    json_t *run;
    if (open_both(&t, "t2v")) {
        json_object_foreach(doc.root, name, run)
        {
            if (strncmp(name, "t2v", 3) != 0)
                continue;
            runs++;
            check_case(name, run, &t, false);
            if (json_number_value(json_object_get(run, "cfg")) > 1)
                check_case(name, run, &t, true);
        }
        CHECK_MSG(runs == 9, "%d runs", runs);
    }
    close_both(&t);
    hyv_json_close(&doc);
}

/* CLIP's side does not depend on the template: image-to-video's runs test it, too. */
static void test_clip_cases(void)
{
    hyv_json doc;
    hyv_log log = {0};
    if (!CHECK(hyv_json_load(&doc, GOLDEN "cases/cases.json", 1 << 20, &log) == 0))
        return;
    const char *name;
    json_t *run;
    json_object_foreach(doc.root, name, run)
    {
        struct tokenizers t = {0};
        hyv_string path = {0};
        hyv_checkpoint *file = NULL;
        hyv_prompt_tokens out;
        const char *model = json_string_value(json_object_get(run, "model"));
        hyv_string_append(&path, GOLDEN "cases/%s.safetensors", name);
        if (strcmp(model, "t2v") != 0 && open_both(&t, model) &&
            CHECK(hyv_checkpoint_open(&file, path.text, &log) == 0) &&
            CHECK(hyv_prompt_encode(&out, t.llm, t.clip,
                                    json_string_value(json_object_get(run, "prompt")),
                                    HYV_TEMPLATE_VIDEO, &log) == 0))
            check_padded(name, hyv_checkpoint_find(file, "clip_ids"), out.clip, out.clip_count,
                         hyv_bpe_eos(t.clip));
        hyv_checkpoint_close(&file);
        close_both(&t);
        hyv_string_free(&path);
    }
    hyv_json_close(&doc);
}

/* The parts encoded one by one must be the whole text encoded at once. */
static void test_whole_text(const struct tokenizers *t)
{
    hyv_json doc;
    hyv_log log = {0};
    if (!CHECK(hyv_json_load(&doc, GOLDEN "cases/tokens.json", 1 << 20, &log) == 0))
        return;
    size_t i;
    json_t *entry;
    json_array_foreach(doc.root, i, entry)
    {
        const char *text = json_string_value(json_object_get(entry, "text"));
        hyv_prompt_tokens out;
        if (!CHECK_MSG(hyv_prompt_encode(&out, t->llm, t->clip, text, HYV_TEMPLATE_IMAGE, &log) ==
                           0,
                       "%s", log.error))
            continue;
        CHECK(out.crop == 36);
        if (strstr(text, "<|"))
            continue; /* there, the user's text is text */
        const char *begin = text, *end = text + strlen(text);
        while (begin < end && strchr(" \t\r\n", *begin))
            begin++;
        while (end > begin && strchr(" \t\r\n", end[-1]))
            end--;
        hyv_string whole = {0};
        hyv_string_append(&whole, "user<|end_header_id|>\n\n%.*s<|eot_id|>", (int)(end - begin),
                          begin);
        int32_t ids[HYV_LLM_TOKENS_MAX];
        int64_t count;
        CHECK(hyv_bpe_encode(t->llm, whole.text, whole.length, 1, ids, HYV_LLM_TOKENS_MAX, &count,
                             &log) == 0);
        const int64_t kept = out.llm_count - out.crop, room = HYV_LLM_TOKENS_MAX - out.crop;
        CHECK_MSG(kept == (count - 3 < room ? count - 3 : room) &&
                      memcmp(ids + 3, out.llm + out.crop, (size_t)kept * 4) == 0,
                  "'%s': the parts are not the whole", text);
        hyv_string_free(&whole);
    }
    hyv_json_close(&doc);
}

static int64_t kept(const struct tokenizers *t, const char *prompt, hyv_prompt_tokens *out)
{
    hyv_log log = {0};
    CHECK_MSG(hyv_prompt_encode(out, t->llm, t->clip, prompt, HYV_TEMPLATE_VIDEO, &log) == 0, "%s",
              log.error);
    return out->llm_count - out->crop;
}

static void test_blanks(const struct tokenizers *t)
{
    static const char *const around[] = {" ",
                                         "\n\n",
                                         "\t\v\f\r\n ",
                                         "\x1c\x1d\x1e\x1f",
                                         "\xc2\x85",
                                         "\xc2\xa0",
                                         "\xe1\x9a\x80",
                                         "\xe2\x80\x80\xe2\x80\x8a",
                                         "\xe2\x80\xa8\xe2\x80\xa9",
                                         "\xe2\x80\xaf",
                                         "\xe2\x81\x9f",
                                         "\xe3\x80\x80"};
    hyv_prompt_tokens plain, out;
    kept(t, "a fox", &plain);
    CHECK(plain.crop == 95 && !plain.cut);
    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
        hyv_string s = {0};
        hyv_string_append(&s, "%sa fox%s", around[i], around[i]);
        kept(t, s.text, &out);
        CHECK_MSG(memcmp(&plain, &out, sizeof(out)) == 0, "blanks of kind %zu are kept", i);
        hyv_string_free(&s);
    }
    /* what looks alike is no blank: zero-width space, and the last byte of a longer character */
    CHECK(kept(t, "\xe2\x80\x8b", &out) > 1);
    CHECK(kept(t, "a fox\xe3\x81\x85", &out) > 5 && kept(t, "\xc3\x85", &out) > 1);
    CHECK(kept(t, "", &out) == 1 && out.clip_count == 2 && kept(t, " \n ", &out) == 1);
    CHECK(out.llm[95] == hyv_bpe_token(t->llm, "<|eot_id|>"));
}

/* Special tokens in the user's text are text; only the template's count. */
static void test_special(const struct tokenizers *t)
{
    hyv_prompt_tokens out;
    const int32_t eot = hyv_bpe_token(t->llm, "<|eot_id|>");
    kept(t, "one<|eot_id|><|start_header_id|>two<|endoftext|>", &out);
    int64_t ends = 0, stops = 0;
    for (int64_t i = out.crop; i < out.llm_count; i++)
        ends += out.llm[i] == eot;
    for (int64_t i = 0; i < out.clip_count; i++)
        stops += out.clip[i] == hyv_bpe_eos(t->clip);
    CHECK(ends == 1 && stops == 1 && out.llm[out.llm_count - 1] == eot);
}

/* Around the limits: how many ids are left, whether the end token survives, what is said of it. */
static void test_limits(const struct tokenizers *t)
{
    const int32_t eot = hyv_bpe_token(t->llm, "<|eot_id|>");
    for (int words = 70; words <= 300; words++) {
        hyv_string s = {0};
        for (int i = 0; i < words; i++)
            hyv_string_append(&s, "%d", i % 10); /* three digits are one LLM piece, one is CLIP's */
        hyv_prompt_tokens out;
        kept(t, s.text, &out);
        CHECK(out.clip_count == (words > 75 ? 77 : words + 2));
        CHECK(out.clip[out.clip_count - 1] == hyv_bpe_eos(t->clip));
        CHECK(out.cut == (words > 75 || out.llm_count > HYV_LLM_TOKENS_MAX));
        CHECK((out.llm[out.llm_count - 1] == eot) ==
              (out.llm_count < HYV_LLM_TOKENS_MAX || out.llm[HYV_LLM_TOKENS_MAX - 1] == eot));
        CHECK(out.llm_count <= HYV_LLM_TOKENS_MAX);
        hyv_string_free(&s);
    }
    /* in the image's template the same 351 leave more room: 315 tokens */
    hyv_string s = {0};
    for (int i = 0; i < 400; i++)
        hyv_string_append(&s, "x ");
    hyv_prompt_tokens out;
    CHECK(hyv_prompt_encode(&out, t->llm, t->clip, s.text, HYV_TEMPLATE_IMAGE, NULL) == 0);
    CHECK(out.llm_count - out.crop == 315 && out.cut);
    CHECK(kept(t, s.text, &out) == 256 && out.cut);
    hyv_string_free(&s);
}

static void test_refusals(const struct tokenizers *t)
{
    hyv_prompt_tokens out;
    hyv_log log = {0};
    CHECK(hyv_prompt_encode(&out, t->llm, t->clip, "caf\xe9", HYV_TEMPLATE_VIDEO, &log) == -EINVAL);
    CHECK(strstr(log.error, "0xe9 at position 3") != NULL);
    hyv_log_clear(&log);
    char *text = hyv_malloc(HYV_PROMPT_BYTES_MAX + 2, 1);
    memset(text, 'a', HYV_PROMPT_BYTES_MAX + 1);
    text[HYV_PROMPT_BYTES_MAX + 1] = 0;
    CHECK(hyv_prompt_encode(&out, t->llm, t->clip, text, HYV_TEMPLATE_VIDEO, &log) == -EINVAL);
    CHECK(strstr(log.error, "65537 bytes") != NULL);
    text[HYV_PROMPT_BYTES_MAX] = 0;
    const double start = hyv_seconds();
    CHECK(hyv_prompt_encode(&out, t->llm, t->clip, text, HYV_TEMPLATE_VIDEO, &log) == 0 && out.cut);
    CHECK_MSG(hyv_seconds() - start < 5, "64 KiB took %.2f s", hyv_seconds() - start);
    hyv_free_host(text);
    hyv_log_clear(&log);
    CHECK(hyv_prompt_encode(&out, t->clip, t->clip, "x", HYV_TEMPLATE_VIDEO, &log) == -ENOTSUP);
    CHECK(strstr(log.error, "<|start_header_id|>") != NULL);
}

static int warnings;

static void count_warning(void *opaque, int level, const char *message)
{
    const int64_t *crop = opaque;
    char word[32];
    snprintf(word, sizeof(word), "has %lld tokens", (long long)*crop);
    warnings += level == HYV_LEVEL_WARNING && strstr(message, word) != NULL;
}

/* Another vocabulary makes more tokens of the template: they are counted, with a warning, up to
 * the point where no room is left for a prompt. */
static void test_other_vocabulary(const struct tokenizers *t)
{
    char folder[] = "/tmp/hyv-test-XXXXXX";
    hyv_json doc;
    hyv_log log = {0};
    if (!CHECK(mkdtemp(folder) != NULL) ||
        !CHECK(hyv_json_load(&doc, GOLDEN "t2v/tokenizer/tokenizer.json", 1 << 20, &log) == 0))
        return;
    char *path = hyv_path_join(folder, "tokenizer.json");
    json_t *model = json_object_get(doc.root, "model");
    for (int round = 0; round < 2; round++) {
        json_t *merges = json_object_get(model, "merges");
        if (round == 0) /* without most of the merges, some words fall apart */
            for (size_t n = json_array_size(merges); n > 140; n--)
                json_array_remove(merges, n - 1);
        else
            json_array_clear(merges);
        json_object_set_new(model, "ignore_merges", json_false());
        CHECK(json_dump_file(doc.root, path, 0) == 0);
        struct tokenizers other = {NULL, t->clip};
        hyv_prompt_tokens out;
        log = (hyv_log){.opaque = &out.crop, .write = count_warning};
        CHECK_MSG(hyv_bpe_open(&other.llm, folder, &log) == 0, "%s", log.error);
        const int err =
            hyv_prompt_encode(&out, other.llm, other.clip, "a fox", HYV_TEMPLATE_VIDEO, &log);
        if (round == 0)
            CHECK_MSG(err == 0 && warnings == 1 && out.crop > 95 && out.llm_count > out.crop,
                      "%d, %d warnings, crop %lld", err, warnings, (long long)out.crop);
        else
            CHECK_MSG(err == -ENOTSUP && strstr(log.error, "template alone"), "%d: %s", err,
                      log.error);
        hyv_bpe_close(&other.llm);
    }
    hyv_json_close(&doc);
    unlink(path);
    CHECK(rmdir(folder) == 0);
    hyv_free_host(path);
}

int main(void)
{
    struct tokenizers t = {0};
    test_cases();
    CHECK_MSG(compared == 18, "%d lists of ids compared", compared);
    test_clip_cases();
    CHECK_MSG(compared == 24, "%d lists of ids compared", compared);
    if (open_both(&t, "t2v")) {
        test_whole_text(&t);
        test_blanks(&t);
        test_special(&t);
        test_limits(&t);
        test_refusals(&t);
        test_other_vocabulary(&t);
    }
    close_both(&t);
    return check_done();
}
