/* fuzz: links model */
/* A filter of any bytes; what parses is evaluated against documents that use the same few keys. The
 * input may also be "<filter>\n<metadata>": then the metadata is the input's own. */
#include "fuzz.h"
#include "model/filter.h"
#include <string.h>

static const char *const documents[] = {
    "",
    "{}",
    "{\"lang\":\"en\",\"year\":2020,\"tag\":[\"a\",\"b\",1,null,true],\"a\":{\"b\":{\"c\":1}}}",
    "{\"a.b\":1,\"a\":{\"b\":2,\"\":3},\"\":{\"\":4},\"lang\":null,\"tag\":[]}",
    "{\"year\":-0.0,\"\\u0061\":{\"b\":[[1],{\"c\":2},\"\\ud83d\\ude00\"]}}",
};

static void on_value(void *ctx, size_t key, const struct ak_filter_value *value)
{
    size_t *bytes = ctx;
    *bytes += key + (value && value->type == AK_VALUE_STRING ? value->string.len : 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    struct ak_str text = {(const char *)data, size};
    struct ak_str metadata = AK_STR_NONE;
    (void)ak_str_split(text, '\n', &text, &metadata);
    ak_arena_init(&arena, (size_t)64 << 20);
    if (ak_filter_parse(text, &arena, &filter, NULL) == AK_OK) {
        for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
            (void)ak_filter_matches(filter, ak_str_of(documents[i]));
        }
        (void)ak_filter_matches(filter, metadata);
    }
    const struct ak_str keys[] = {AK_STR("a"), AK_STR("a.b"), AK_STR("lang"), AK_STR("tag")};
    size_t bytes = 0;
    (void)ak_filter_visit(metadata.len ? metadata : text, keys, 4, on_value, &bytes);
    ak_arena_release(&arena);
    return 0;
}
