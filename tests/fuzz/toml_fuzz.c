/* fuzz: links base */
/* toml_fuzz.c — the TOML reader: what it accepts is a sound tree; what it refuses, it says where.
 *
 * Sound: keys of a table are unique and found again, counts and depths are right, strings are
 * UTF-8, lines are within the text.
 */
#include "base/toml.h"
#include "fuzz.h"
#include <string.h>

static void check_time(const struct ak_toml *node)
{
    const struct ak_toml_time *time = &node->time;
    AK_ASSERT(time->hour < 24 && time->minute < 60 && time->second <= 60);
    AK_ASSERT(time->nanosecond < 1000000000);
    AK_ASSERT(time->offset_minutes > -24 * 60 && time->offset_minutes < 24 * 60);
    if (node->type != AK_TOML_LOCAL_TIME) {
        AK_ASSERT(time->month >= 1 && time->month <= 12 && time->day >= 1 && time->day <= 31);
    }
}

static void check_node(const struct ak_toml *node, uint32_t lines);

static void check_children(const struct ak_toml *parent, uint32_t lines)
{
    uint32_t count = 0;
    const struct ak_toml *last = NULL;
    for (const struct ak_toml *node = parent->first; node; node = node->next) {
        AK_ASSERT(node->depth == parent->depth + 1);
        if (parent->type == AK_TOML_TABLE) {
            AK_ASSERT(ak_utf8_is_valid(node->key) && ak_toml_get(parent, node->key) == node);
        }
        check_node(node, lines);
        last = node;
        count++;
    }
    AK_ASSERT(count == parent->count && last == parent->last);
}

static void check_node(const struct ak_toml *node, uint32_t lines)
{
    AK_ASSERT(node->line >= 1 && node->line <= lines && node->depth <= AK_TOML_DEPTH_MAX);
    switch (node->type) {
    case AK_TOML_STRING:
        AK_ASSERT(ak_utf8_is_valid(node->string));
        break;
    case AK_TOML_OFFSET_DATETIME:
    case AK_TOML_LOCAL_DATETIME:
    case AK_TOML_LOCAL_DATE:
    case AK_TOML_LOCAL_TIME:
        check_time(node);
        break;
    case AK_TOML_ARRAY:
    case AK_TOML_TABLE:
        check_children(node, lines);
        break;
    case AK_TOML_INTEGER:
    case AK_TOML_FLOAT:
    case AK_TOML_BOOL:
        break;
    default:
        AK_ASSERT(node->type <= AK_TOML_TABLE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ak_err err = {.rc = AK_OK};
    struct ak_arena arena;
    const struct ak_toml *root = NULL;
    uint32_t lines = 1;
    for (size_t i = 0; i < size; i++) {
        lines += data[i] == '\n';
    }
    ak_arena_init(&arena, 0);
    enum ak_rc rc =
        ak_toml_parse((struct ak_str){(const char *)data, size}, "f", &arena, &root, &err);
    if (rc == AK_OK) {
        check_node(root, lines);
    } else {
        AK_ASSERT(rc == AK_INVALID || rc == AK_TOO_BIG);
        AK_ASSERT(err.rc == rc && strncmp(err.text, "f:", 2) == 0);
    }
    ak_arena_release(&arena);
    return 0;
}
