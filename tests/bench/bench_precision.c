/* How far frames and predictions in bf16 and int8 are from those in fp32, for the manual: the
 * golden models, or any other.
 *
 * bench_precision [-i isa] [NAME=VALUE ...]
 * Without options: the text-to-video cases of tests/golden, from the repository root. With options:
 * one run of the model that they name, as `hyv generate` takes them; preset=NAME loads a preset.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "../deviation.h"

static void print_row(const char *name, hyv_options *o, const char *isa)
{
    static const char *const precisions[] = {"bf16", "int8"};
    for (int i = 0; i < 2; i++) {
        deviation d;
        if (deviation_measure(&d, o, precisions[i], isa))
            printf("%-28s %s %12.7f %10.2f %8d\n", name, precisions[i], d.cosine, d.psnr_db,
                   d.worst);
        fflush(stdout);
    }
}

static void golden_models(const char *isa)
{
    golden_cases all;
    golden_case c;
    if (!golden_open(&all))
        return;
    while (golden_next(&all, &c)) {
        if (strcmp(c.model, "t2v") != 0)
            continue;
        hyv_options *o = deviation_options(&c);
        print_row(c.name, o, isa);
        hyv_options_free(&o);
    }
    golden_close(&all);
}

static void other_model(const char *isa, char **settings, int count)
{
    hyv_options *o = hyv_options_new();
    for (int i = 0; i < count; i++) {
        char name[64] = "";
        const char *value = strchr(settings[i], '=');
        if (value && value - settings[i] < (int)sizeof(name))
            memcpy(name, settings[i], (size_t)(value - settings[i]));
        const int err = strcmp(name, "preset") != 0
                            ? hyv_options_set(o, name, value ? value + 1 : "")
                            : hyv_options_load(o, value + 1);
        CHECK_MSG(err == 0, "%s: %s", settings[i], hyv_options_get(o, "error"));
    }
    print_row(hyv_options_get(o, "model"), o, isa);
    hyv_options_free(&o);
}

int main(int argc, char **argv)
{
    const char *isa = "auto";
    for (int option; (option = getopt(argc, argv, "i:")) != -1;)
        if (option == 'i')
            isa = optarg;
        else
            return 2;
    printf("%-28s %4s %12s %10s %8s\n", "beside fp32", "", "cosine", "PSNR dB", "most/255");
    if (optind == argc)
        golden_models(isa);
    else
        other_model(isa, argv + optind, argc - optind);
    return check_done();
}
