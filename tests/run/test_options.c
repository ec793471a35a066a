/* The option table, presets, and the typed values made of them. Presets are written to a temporary
 * folder; what each mistake in one must lead to stands in a table below. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../engine/run/options.h"
#include "../../engine/run/params.h"
#include "../check.h"

static char folder[256];
static char file_path[512];

/* Writes `bytes` to folder/name; the path. */
static const char *write_file(const char *name, const char *bytes, size_t size)
{
    snprintf(file_path, sizeof(file_path), "%s/%s", folder, name);
    FILE *f = fopen(file_path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    return file_path;
}

static const char *write_text(const char *name, const char *text)
{
    return write_file(name, text, strlen(text));
}

static void remove_file(const char *name)
{
    snprintf(file_path, sizeof(file_path), "%s/%s", folder, name);
    CHECK(remove(file_path) == 0);
}

static bool error_has(const hyv_options *o, const char *part)
{
    const char *error = hyv_options_get(o, "error");
    return CHECK_MSG(strstr(error, part) != NULL, "\"%s\" is not in \"%s\"", part, error);
}

static void test_table(void)
{
    hyv_options *o = hyv_options_new();
    int rows = 0;
    for (const hyv_option_info *row = NULL; (row = hyv_options_next(row)); rows++) {
        CHECK(row->size == sizeof(*row));
        CHECK_MSG(row->help[0] >= 'a' && row->help[0] <= 'z', "%s: help", row->name);
        CHECK_MSG(row->help[strlen(row->help) - 1] != '.', "%s: help", row->name);
        CHECK((row->type == HYV_OPTION_ENUM) == (row->values != NULL));
        CHECK(!strcmp(hyv_options_get(o, row->name), row->default_value));
        if (*row->default_value)
            CHECK_MSG(hyv_options_set(o, row->name, row->default_value) == 0, "%s: %s", row->name,
                      hyv_options_get(o, "error"));
        for (const hyv_option_info *other = row; (other = hyv_options_next(other));)
            CHECK(strcmp(other->name, row->name));
    }
    CHECK(rows > 20);
    CHECK(hyv_options_get(o, "nonsense") == NULL);
    CHECK(!strcmp(hyv_options_get(o, "error"), ""));
    hyv_options_free(&o);
    CHECK(o == NULL);
    hyv_options_free(&o);
}

static const struct {
    const char *name, *value, *message; /* NULL: valid */
} values[] = {
    {"width", "16", NULL},
    {"width", "8192", NULL},
    {"width", "100", "nearest valid: 96 and 112"},
    {"height", "8191", "nearest valid: 8176 and 8192"},
    {"width", "8208", "16 to 8192"},
    {"width", "0", "16 to 8192"},
    {"width", "-16", "16 to 8192"},
    {"width", "16x", "not a whole number"},
    {"width", "99999999999999999999", "16 to 8192"},
    {"frames", "1", NULL},
    {"frames", "16385", NULL},
    {"frames", "10", "nearest valid: 9 and 13"},
    {"frames", "16384", "16381 and 16385"},
    {"frames", "16389", "1 to 16385"},
    {"frames", " 9", "not a whole number"},
    {"seed", "-1", NULL},
    {"seed", "4294967295", NULL},
    {"seed", "4294967296", "-1 to 4294967295"},
    {"seed", "-2", "-1 to 4294967295"},
    {"steps", "1.5", "not a whole number"},
    {"steps", "1000", NULL},
    {"steps", "1001", "1 to 1000"},
    {"guidance", "6.5", NULL},
    {"guidance", "1e1", NULL},
    {"guidance", "nan", "0 to 100"},
    {"guidance", "inf", "0 to 100"},
    {"guidance", "6,5", "0 to 100"},
    {"guidance", "100.5", "0 to 100"},
    {"shift", "0", "0.01 to 100"},
    {"cfg", "0.5", "1 to 100"},
    {"rate", "23.976", NULL},
    {"rate", "30000/1001", NULL},
    {"rate", "0", "frames per second"},
    {"rate", "1/0", "frames per second"},
    {"rate", "1001", "1/1000 to 1000"},
    {"rate", "24/", "frames per second"},
    {"rate", "1.2.3", "frames per second"},
    {"rate", "0.0001", "frames per second"},
    {"aspect", "16:9", NULL},
    {"aspect", "1.85", NULL},
    {"aspect", "17", "1:16 to 16:1"},
    {"aspect", "-1", "a ratio"},
    {"sizes", "64x64", NULL},
    {"sizes", " 64x64  128x16 ", NULL},
    {"sizes", "64x64 100x64", "multiples of 16"},
    {"sizes", "64x64,128x64", "multiples of 16"},
    {"sizes", "64x", "multiples of 16"},
    {"sizes", "64.0x64", "multiples of 16"},
    {"template", "image", NULL},
    {"template", "imag", "auto|video|image"},
    {"template", "auto|video", "auto|video|image"},
    {"isa", "avx2", NULL},
    {"isa", "avx51", "auto|c|avx2|avx512|avx512bf16|amx"},
    {"device", "cuda:1", NULL},
    {"device", "cuda:x", "auto, cpu, cuda or cuda:N"},
    {"device", "gpu", "auto, cpu, cuda or cuda:N"},
    {"threads", "1025", "0 to 1024"},
    {"test_fail", "7", NULL},
    {"test_fail", "-1", "none, plan, first"},
    {"test_fail", "later", "none, plan, first"},
    {"prompt", "eine Füchsin 🦊 跑", NULL},
    {"prompt", "\xff", "not UTF-8"},
    {"negative", "cut \xe2\x82", "not UTF-8"},
    {"prompt", "\xed\xa0\x80", "not UTF-8"},
    {"stpes", "5", "there are: model, prompt"},
    {"error", "5", "no option is named"},
    {NULL, "5", "no option is named"},
};

static void test_values(void)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        hyv_options *o = hyv_options_new();
        const int err = hyv_options_set(o, values[i].name, values[i].value);
        CHECK_MSG(err == (values[i].message ? -EINVAL : 0), "%s=%s gives %d", values[i].name,
                  values[i].value, err);
        if (values[i].message)
            error_has(o, values[i].message);
        else
            CHECK(!strcmp(hyv_options_get(o, values[i].name), values[i].value));
        hyv_options_free(&o);
    }
}

static void test_setting(void)
{
    hyv_options *o = hyv_options_new();
    char *text = calloc(1, HYV_OPTION_BYTES_MAX + 2);
    memset(text, 'a', HYV_OPTION_BYTES_MAX);
    CHECK(hyv_options_set(o, "prompt", text) == 0);
    text[HYV_OPTION_BYTES_MAX] = 'a';
    CHECK(hyv_options_set(o, "prompt", text) == -EINVAL && error_has(o, "65536 bytes"));
    CHECK(strlen(hyv_options_get(o, "prompt")) == HYV_OPTION_BYTES_MAX);
    CHECK(hyv_options_set(o, "steps", "7") == 0 && !*hyv_options_get(o, "error"));
    CHECK(hyv_options_set(o, "steps", "x") == -EINVAL);
    CHECK(!strcmp(hyv_options_get(o, "steps"), "7"));
    CHECK(hyv_options_set(o, "steps", "") == 0 && !strcmp(hyv_options_get(o, "steps"), "50"));
    CHECK(hyv_options_set(o, "steps", NULL) == 0);
    CHECK(hyv_options_set(NULL, "steps", "1") == -EINVAL);
    CHECK(hyv_options_load(NULL, "x") == -EINVAL && hyv_options_load(o, NULL) == -EINVAL);
    free(text);
    hyv_options_free(&o);
}

static void test_presets(void)
{
    hyv_options *o = hyv_options_new();
    CHECK(hyv_options_set(o, "presets", folder) == 0);
    write_text("base.yaml", "# a comment\nsteps: 11\nguidance: 4.5\n");
    write_text("over.yaml", "include: base\n\"guidance\": '5'\nprompt: |\n  two\n  lines\n");
    CHECK(hyv_options_set(o, "shift", "3") == 0);
    CHECK(hyv_options_load(o, "over") == 0 && !*hyv_options_get(o, "error"));
    CHECK(!strcmp(hyv_options_get(o, "steps"), "11"));
    CHECK(!strcmp(hyv_options_get(o, "guidance"), "5"));
    CHECK(!strcmp(hyv_options_get(o, "prompt"), "two\nlines\n"));
    CHECK(hyv_options_set(o, "steps", "12") == 0 && hyv_options_load(o, "base") == 0);
    CHECK(!strcmp(hyv_options_get(o, "steps"), "12"));
    CHECK(!strcmp(hyv_options_get(o, "guidance"), "4.5"));
    CHECK(!strcmp(hyv_options_get(o, "shift"), "3"));
    CHECK(hyv_options_set(o, "steps", "") == 0 && !strcmp(hyv_options_get(o, "steps"), "11"));
    CHECK(hyv_options_load(o, "auto") == 0 && !strcmp(hyv_options_get(o, "steps"), "11"));

    CHECK(hyv_options_load(o, "nothing") == -ENOENT && error_has(o, "there are: "));
    error_has(o, "base, over");
    CHECK(hyv_options_load(o, "../base") == -ENOENT);
    CHECK(hyv_options_load(o, "") == -ENOENT && hyv_options_load(o, ".") == -ENOENT);
    CHECK(hyv_options_load(o, write_text("a.yml", "steps: 3\n")) == 0);
    CHECK(!strcmp(hyv_options_get(o, "steps"), "3"));
    CHECK(hyv_options_load(o, folder) < 0 && error_has(o, folder));

    /* A failure changes nothing, not even what came before it. */
    CHECK(hyv_options_load(o, write_text("b.yml", "steps: 4\nshift: no\n")) == -EINVAL);
    error_has(o, "line 2: option shift");
    CHECK(!strcmp(hyv_options_get(o, "steps"), "3"));
    remove_file("base.yaml");
    CHECK(hyv_options_load(o, "over") == -ENOENT && error_has(o, "\"base\""));
    remove_file("over.yaml");
    remove_file("a.yml");
    remove_file("b.yml");
    hyv_options_free(&o);
}

static void test_bad_presets(void)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "holds no options"},
        {"# only a comment\n", "holds no options"},
        {"steps: 1\nsteps: 2\n", "line 2: an option is given twice"},
        {"steps: &a 1\n", "line 1: anchors and tags"},
        {"steps: 1\nshift: *a\n", "line 2"},
        {"&a steps: 1\n", "line 1: anchors and tags"},
        {"steps: !!int 1\n", "line 1: anchors and tags"},
        {"!!map\nsteps: 1\n", "line 1: not a plain mapping"},
        {"- steps\n", "line 1: not a plain mapping"},
        {"steps\n", "line 1: not a plain mapping"},
        {"steps: 1\nshift:\n  a: 1\n", "line 3: a preset maps"},
        {"steps: [1]\n", "line 1: a preset maps"},
        {"{a: b}: 1\n", "line 1: a preset maps"},
        {"steps: 1\n---\nshift: 1\n", "only one document"},
        {"steps: 1\nshift:\n", "line 2: an option has no value"},
        {"steps: 1\nstpes: 2\n", "line 2: no option is named \"stpes\""},
        {"steps: 1\nframes: 10\n", "nearest valid: 9 and 13"},
        {"steps: 1\ninclude: x\n", "include must be the first"},
        {"include: bad\n", "more than 8 deep"},
        {"prompt: \"a\\0b\"\n", "line 1: a value holds a NUL"},
        {"steps: 1\n\tshift: 2\n", "line 2"},
        {"steps: \"1\n", "line"},
        {"prompt: \xff\xfe\n", "line 1"},
        {"steps: @1\n", "line 1"},
        {"{{{{{{{{", "line 1"},
    };
    hyv_options *o = hyv_options_new();
    hyv_options_set(o, "presets", folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_text("bad.yaml", rows[i].text);
        const int err = hyv_options_load(o, "bad");
        CHECK_MSG(err == -EINVAL, "\"%s\" gives %d", rows[i].text, err);
        error_has(o, rows[i].message);
    }
    char *large = malloc(HYV_PRESET_BYTES_MAX + 1);
    memset(large, '#', HYV_PRESET_BYTES_MAX + 1);
    write_file("bad.yaml", large, HYV_PRESET_BYTES_MAX + 1);
    CHECK(hyv_options_load(o, "bad") == -EINVAL && error_has(o, "larger than"));
    free(large);
    remove_file("bad.yaml");
    hyv_options_free(&o);
}

static void test_damaged_presets(void)
{
    static const char whole[] = "# sizes\nsteps: 7\nprompt: \"a b\"\nrate: '30000/1001'\n";
    hyv_options *o = hyv_options_new();
    check_random random = {7};
    for (int i = 0; i < 300; i++) {
        char text[sizeof(whole)];
        memcpy(text, whole, sizeof(whole));
        size_t size = sizeof(whole) - 1;
        if (i % 2)
            size = (size_t)check_random_int(&random, 0, (int64_t)size);
        else
            text[check_random_int(&random, 0, (int64_t)size - 1)] =
                (char)check_random_int(&random, -128, 127);
        const int err = hyv_options_load(o, write_file("damaged.yaml", text, size));
        CHECK_MSG((err == 0 || err == -EINVAL) && (err == 0) == !*hyv_options_get(o, "error"),
                  "damage %d gives %d, \"%s\"", i, err, hyv_options_get(o, "error"));
    }
    remove_file("damaged.yaml");
    hyv_options_free(&o);
}

/* Sets names to values and makes video parameters of them. */
static hyv_params video_params(const char *const *names_values, const hyv_options *defaults)
{
    hyv_options *o = hyv_options_new();
    hyv_params p = {0};
    hyv_log log = {0};
    for (; *names_values; names_values += 2)
        CHECK(hyv_options_set(o, names_values[0], names_values[1]) == 0);
    CHECK(hyv_params_video(&p, o, defaults, &log) == 0);
    hyv_options_free(&o);
    return p;
}

#define VIDEO(...) video_params((const char *const[]){__VA_ARGS__, NULL}, NULL)

static void check_size(hyv_params p, int width, int height, bool trained)
{
    CHECK_MSG(p.width == width && p.height == height && p.size_trained == trained,
              "%dx%d %d, not %dx%d", p.width, p.height, p.size_trained, width, height);
    hyv_params_clear(&p);
}

static void test_sizes(void)
{
    check_size(VIDEO("seed", "1"), 960, 544, true);
    check_size(VIDEO("aspect", "9:16"), 544, 960, true);
    check_size(VIDEO("aspect", "4/3"), 832, 624, true);
    check_size(VIDEO("aspect", "1"), 720, 720, true);
    check_size(VIDEO("width", "640"), 640, 368, false); /* 360 rounds up */
    check_size(VIDEO("height", "544"), 960, 544, true); /* 967 rounds down */
    check_size(VIDEO("width", "16", "aspect", "16"), 16, 16, false);
    check_size(VIDEO("height", "8192", "aspect", "16"), 8192, 8192, false);
    check_size(VIDEO("width", "64", "height", "48"), 64, 48, false);
    check_size(VIDEO("width", "720", "height", "720"), 720, 720, true);
    check_size(VIDEO("sizes", "64x64 128x64", "aspect", "2"), 128, 64, true);
}

static void test_video_params(void)
{
    hyv_params p = VIDEO("seed", "4294967295", "rate", "23.976", "steps", "3", "cfg", "2.5",
                         "tiling", "diffusers", "test_fail", "first", "negative", "blurred");
    CHECK(p.seed == 4294967295 && p.rate_num == 2997 && p.rate_den == 125 && p.steps == 3);
    CHECK(p.cfg == 2.5 && p.guidance == 6 && p.shift == 0 && p.frames == 129);
    CHECK(p.tiling == HYV_TILE_DIFFUSERS && p.test_fail == 0);
    CHECK(!strcmp(p.negative, "blurred") && !strcmp(p.prompt, ""));
    CHECK(p.template == HYV_TEMPLATE_VIDEO);
    hyv_params_clear(&p);
    p = VIDEO("frames", "1", "test_fail", "plan", "tiling", "off");
    CHECK(p.template == HYV_TEMPLATE_IMAGE && p.test_fail == HYV_FAIL_PLAN);
    CHECK(p.tiling == HYV_TILE_OFF && p.seed >= 0 && p.seed <= UINT32_MAX);
    const int64_t first = p.seed;
    hyv_params_clear(&p);
    p = VIDEO("frames", "1", "template", "video", "rate", "30000/1001");
    CHECK(p.template == HYV_TEMPLATE_VIDEO && p.rate_num == 30000 && p.rate_den == 1001);
    CHECK(p.test_fail == HYV_FAIL_NONE && p.tiling == HYV_TILE_AUTO);
    int64_t second = p.seed;
    hyv_params_clear(&p);
    for (int i = 0; i < 3 && second == first; i++) {
        p = VIDEO("frames", "1");
        second = p.seed;
        hyv_params_clear(&p);
    }
    CHECK(second != first);
}

static int open_model(const char *name, const char *value, char *error)
{
    hyv_options *o = hyv_options_new();
    hyv_params p = {0};
    hyv_log log = {0};
    hyv_options_set(o, "presets", folder);
    hyv_options_set(o, "model", "test");
    CHECK(hyv_options_set(o, name, value) == 0);
    const int err = hyv_params_model(&p, o, &log);
    snprintf(error, 1024, "%s", err < 0 ? log.error : p.model);
    CHECK((err < 0) == (log.error[0] != 0));
    hyv_params_clear(&p);
    hyv_options_free(&o);
    return err;
}

static void test_model_params(void)
{
    char text[1024], path[512];
    CHECK(open_model("threads", "7", text) == 0 && !strcmp(text, "test"));
    CHECK(open_model("device", "cuda", text) == -ENODEV && strstr(text, "valid: auto, cpu"));
    CHECK(open_model("device", "cpu", text) == 0);
    CHECK(open_model("precision", "fp8", text) == -ENOSYS && strstr(text, "fp32, bf16, int8"));
    CHECK(open_model("precision", "bf16", text) == 0);
    CHECK(open_model("precision", "int8", text) == 0);
    CHECK(open_model("precision", "fp32", text) == 0);
    CHECK(open_model("model", folder, text) == 0 && !strcmp(text, folder));
    CHECK(open_model("model", "/no/such/model", text) == -ENOENT && strstr(text, "/no/such/model"));
    CHECK(open_model("model", "tiny", text) == -ENOENT && strstr(text, folder));
    snprintf(path, sizeof(path), "%s/tiny", folder);
    CHECK(mkdir(path, 0777) == 0);
    CHECK(open_model("model", "tiny", text) == -ENOENT);
    write_text("tiny/model_index.json", "{}");
    CHECK(open_model("model", "tiny", text) == 0 && !strcmp(text, path));

    /* The folder's own preset stands below the user's values and above the table's. */
    hyv_options *defaults = hyv_options_new();
    CHECK(hyv_options_load_model(defaults, path) == 0);
    write_text("tiny/hunyuanvideo.yaml", "frames: 9\nsteps: 2\n");
    CHECK(hyv_options_load_model(defaults, path) == 0);
    hyv_params p = video_params((const char *const[]){"steps", "3", NULL}, defaults);
    CHECK(p.steps == 3 && p.frames == 9 && p.guidance == 6);
    hyv_params_clear(&p);
    write_text("tiny/hunyuanvideo.yaml", "frames: 8\n");
    CHECK(hyv_options_load_model(defaults, path) == -EINVAL && error_has(defaults, "line 1"));
    hyv_options_free(&defaults);
    remove_file("tiny/hunyuanvideo.yaml");
    remove_file("tiny/model_index.json");
    remove_file("tiny");
}

static void test_ratios(void)
{
    int num = 0, den = 0;
    CHECK(hyv_value_ratio("0.001", 1000, &num, &den) && num == 1 && den == 1000);
    CHECK(hyv_value_ratio("2.0:.5", 1000, &num, &den) && num == 4 && den == 1);
    CHECK(!hyv_value_ratio("", 16, &num, &den) && !hyv_value_ratio(".", 16, &num, &den));
    CHECK(!hyv_value_ratio("1:2:3", 16, &num, &den) && !hyv_value_ratio("a", 16, &num, &den));
    CHECK(!hyv_value_ratio("1234567890", 1000, &num, &den));
    CHECK(!hyv_value_ratio("123456789/0.12345678", 1000, &num, &den));
}

int main(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/hyv-options-XXXXXX", parent ? parent : "/tmp");
    if (!CHECK(mkdtemp(folder) != NULL))
        return check_done();
    test_table();
    test_values();
    test_setting();
    test_presets();
    test_bad_presets();
    test_damaged_presets();
    test_sizes();
    test_video_params();
    test_model_params();
    test_ratios();
    CHECK(rmdir(folder) == 0);
    return check_done();
}
