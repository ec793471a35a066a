/* Every preset of the project is read and planned, in each shape it offers, with the built-in test
 * model and (dry) with the tiny reference model. Runs in the project's root. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"

/* "1280x720 720x1280" must be what aspect alone can choose. */
static void check_sizes(hyv_options *o, const char *preset)
{
    const char *sizes = hyv_options_get(o, "sizes");
    char list[256];
    snprintf(list, sizeof(list), "%s", sizes);
    char *rest = list;
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char aspect[32];
        int width, height;
        CHECK(sscanf(word, "%dx%d", &width, &height) == 2);
        snprintf(aspect, sizeof(aspect), "%d:%d", width, height);
        CHECK(hyv_options_set(o, "aspect", aspect) == 0);
        hyv_context *c = NULL;
        hyv_video v = HYV_INIT(hyv_video);
        const int err = hyv_open(&c, o, NULL) < 0 ? -1 : hyv_start(c, o, &v);
        CHECK_MSG(err == 0 && v.width == width && v.height == height, "%s with %s: %d %s, %dx%d",
                  preset, word, err, hyv_error(c), v.width, v.height);
        CHECK(v.frames > 0 && v.frames % 4 == 1 && v.steps > 0 && v.fps_num > 0 && v.fps_den > 0);
        hyv_close(&c);
    }
}

static void check_preset(const char *name, const char *model)
{
    hyv_options *o = hyv_options_new();
    CHECK(hyv_options_set(o, "presets", "presets") == 0);
    CHECK_MSG(hyv_options_load(o, name) == 0, "%s: %s", name, hyv_options_get(o, "error"));
    CHECK(hyv_options_set(o, "model", model) == 0);
    check_sizes(o, name);
    hyv_options_free(&o);
}

int main(void)
{
    DIR *dir = opendir("presets");
    struct dirent *entry;
    int count = 0;
    CHECK(dir != NULL);
    while (dir && (entry = readdir(dir))) {
        char name[256];
        char *end = strrchr(strcpy(name, entry->d_name), '.');
        if (!end || strcmp(end, ".yaml"))
            continue;
        *end = '\0';
        check_preset(name, "test");
        check_preset(name, "tests/golden/t2v");
        count++;
    }
    CHECK_MSG(count >= 5, "only %d presets", count);
    if (dir)
        closedir(dir);
    return check_done();
}
