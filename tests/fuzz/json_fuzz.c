/* fuzz: links base */
/* json_fuzz.c — the JSON reader: whatever is accepted must survive copying and printing.
 *
 * The text is skipped whole; if it is valid, its compact copy must be valid too, be its own compact
 * copy and hold the same values (walked through the typed calls). Each float of an array must print
 * and read back to the same bits. Typed reads run on every input, valid or not.
 */
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "fuzz.h"
#include <string.h>

#define FLOATS_MAX 64

struct summary {
    uint64_t hash; /* of all tokens in order */
    bool valid;
};

static void add(struct summary *sum, const void *p, size_t len)
{
    sum->hash = ak_mix64(sum->hash ^ ak_hash64(p, len) ^ len);
}

static void check_float(float value)
{
    char text[16];
    float back = 0;
    size_t len = ak_f32_print(value, text);
    AK_ASSERT(len > 0 && len <= sizeof text);
    AK_ASSERT(ak_f32_scan(text, text + len, &back) == len);
    AK_ASSERT(memcmp(&back, &value, sizeof value) == 0);
}

static void check_double(double value)
{
    struct ak_buf buf;
    struct ak_json in;
    double back = 0;
    ak_buf_init(&buf, 0);
    ak_json_put_double(&buf, value);
    ak_json_init(&in, ak_buf_str(&buf));
    AK_ASSERT(ak_json_double(&in, &back) && memcmp(&back, &value, sizeof value) == 0);
    AK_ASSERT(ak_json_finish(&in, NULL) == AK_OK);
    ak_json_release(&in);
    ak_buf_release(&buf);
}

static void check_string(struct ak_str value)
{
    struct ak_buf buf;
    struct ak_json in;
    struct ak_str back;
    AK_ASSERT(ak_utf8_is_valid(value));
    ak_buf_init(&buf, 0);
    ak_json_put_string(&buf, value);
    ak_json_init(&in, ak_buf_str(&buf));
    AK_ASSERT(ak_json_string(&in, &back) && ak_str_eq(back, value));
    AK_ASSERT(ak_json_finish(&in, NULL) == AK_OK);
    ak_json_release(&in);
    ak_buf_release(&buf);
}

/* Walk the whole text through the typed calls. */
static struct summary walk(struct ak_str text)
{
    struct summary sum = {0, false};
    struct ak_json in;
    struct ak_str s;
    bool flag = false;
    double number = 0;
    ak_json_init(&in, text);
    do {
        enum ak_json_type type = ak_json_peek(&in);
        add(&sum, &type, sizeof type);
        if (type == AK_JSON_OBJECT) {
            ak_json_object(&in);
        } else if (type == AK_JSON_ARRAY) {
            ak_json_array(&in);
        } else if (type == AK_JSON_STRING && ak_json_string(&in, &s)) {
            check_string(s);
            add(&sum, s.p, s.len);
        } else if (type == AK_JSON_NUMBER && ak_json_double(&in, &number)) {
            check_double(number);
            add(&sum, &number, sizeof number);
        } else if (type == AK_JSON_BOOL && ak_json_bool(&in, &flag)) {
            add(&sum, &flag, sizeof flag);
        } else if (type == AK_JSON_NULL && !ak_json_null(&in)) {
            ak_json_fail(&in, "no null");
        }
        for (bool more = false; in.depth && !more && !ak_json_failed(&in);) {
            if (in.levels[in.depth - 1].is_object) {
                more = ak_json_next_key(&in, &s);
                add(&sum, more ? s.p : "}", more ? s.len : 1);
            } else {
                more = ak_json_next_element(&in);
                add(&sum, more ? "," : "]", 1);
            }
        }
    } while (in.depth && !ak_json_failed(&in));
    sum.valid = ak_json_finish(&in, NULL) == AK_OK;
    ak_json_release(&in);
    return sum;
}

static bool skips(struct ak_str text)
{
    struct ak_json in;
    ak_json_init(&in, text);
    ak_json_skip(&in, NULL);
    bool valid = ak_json_finish(&in, NULL) == AK_OK;
    ak_json_release(&in);
    return valid;
}

static void check_copies(struct ak_str text, struct summary sum)
{
    struct ak_buf once;
    struct ak_buf twice;
    ak_buf_init(&once, 0);
    ak_buf_init(&twice, 0);
    ak_json_put_compact(&once, text);
    ak_json_put_compact(&twice, ak_buf_str(&once));
    AK_ASSERT(once.len <= text.len && ak_str_eq(ak_buf_str(&once), ak_buf_str(&twice)));
    struct summary again = walk(ak_buf_str(&once));
    AK_ASSERT(again.valid && again.hash == sum.hash);
    ak_buf_release(&once);
    ak_buf_release(&twice);
}

static void read_floats(struct ak_str text)
{
    float values[FLOATS_MAX];
    float back[FLOATS_MAX];
    size_t count = 0;
    size_t again = 0;
    struct ak_json in;
    ak_json_init(&in, text);
    bool read = ak_json_f32_array(&in, values, FLOATS_MAX, &count);
    ak_json_release(&in);
    if (!read) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        check_float(values[i]);
    }
    struct ak_buf buf;
    ak_buf_init(&buf, 0);
    ak_json_put_f32_array(&buf, values, count);
    ak_json_init(&in, ak_buf_str(&buf));
    AK_ASSERT(ak_json_f32_array(&in, back, FLOATS_MAX, &again) && again == count);
    AK_ASSERT(count == 0 || memcmp(back, values, count * sizeof *values) == 0);
    ak_json_release(&in);
    ak_buf_release(&buf);
}

static void read_integers(struct ak_str text)
{
    struct ak_json in;
    uint64_t u = 0;
    int64_t i = 0;
    ak_json_init(&in, text);
    bool is_u64 = ak_json_u64(&in, 0, UINT64_MAX, &u);
    ak_json_init(&in, text);
    bool is_i64 = ak_json_i64(&in, INT64_MIN, INT64_MAX, &i);
    AK_ASSERT(!is_u64 || is_i64 == (u <= INT64_MAX));
    AK_ASSERT(!is_u64 || !is_i64 || (uint64_t)i == u);
    ak_json_release(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ak_str text = {(const char *)data, size};
    struct ak_buf any;
    struct summary sum = walk(text);
    AK_ASSERT(skips(text) == sum.valid);
    if (sum.valid) {
        check_copies(text, sum);
    }
    read_floats(text);
    read_integers(text);
    ak_buf_init(&any, 0);
    ak_json_put_compact(&any, text); /* what is not JSON must not hurt it */
    ak_buf_clear(&any);
    ak_json_put_string(&any, text); /* nor bytes that are not UTF-8 */
    AK_ASSERT(skips(ak_buf_str(&any)));
    ak_buf_release(&any);
    return 0;
}
