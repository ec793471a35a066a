/* JSON documents and the look-ups in them over arbitrary bytes. */
#include "../../engine/base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hyv_log log = {0};
    hyv_json doc;
    int64_t n = 0, list[4];
    int count = 4;
    double x = 0;
    bool yes = false;
    const char *text = NULL;
    if (hyv_json_parse(&doc, (const char *)data, size, 8, "bytes", &log) == 0) {
        hyv_json_int(&doc, NULL, "a", 0, 100, &n);
        hyv_json_number(&doc, NULL, "a", -1, 1, &x);
        hyv_json_bool(&doc, NULL, "a", &yes);
        hyv_json_string(&doc, NULL, "a", &text);
        hyv_json_ints(&doc, NULL, "a", 0, 9, list, &count);
    }
    hyv_json_close(&doc);
    return 0;
}
