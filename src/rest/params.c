/* params.c — the query's parameters, strict as the bodies are, and words that have a fixed list. */
#include "base/clock.h"
#include "rest/rest_priv.h"
#include <inttypes.h>
#include <stdio.h>

/* "limit, after" */
static const char *list_of(const char *const *names, char text[128])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; names[i] && len < 128; i++) {
        len += (size_t)snprintf(text + len, 128 - len, "%s%s", i ? ", " : "", names[i]);
    }
    return text;
}

bool ak_params_known(struct ak_call *call, const char *const *names)
{
    struct ak_str rest = ak_http_query(call->request);
    while (rest.len) {
        struct ak_str pair;
        struct ak_str name;
        struct ak_str value;
        (void)ak_str_split(rest, '&', &pair, &rest);
        (void)ak_str_split(pair, '=', &name, &value);
        bool known = pair.len == 0;
        for (size_t i = 0; names[i] && !known; i++) {
            known = ak_str_eq(name, ak_str_of(names[i]));
        }
        if (!known) {
            char text[128];
            (void)ak_fail(&call->err, AK_INVALID, "unknown parameter '%.*s' (allowed: %s)",
                          AK_STR_ARG(ak_str_sub(name, 0, 48)), list_of(names, text));
            return false;
        }
    }
    return true;
}

bool ak_param_text(struct ak_call *call, const char *name, struct ak_str *value)
{
    *value = AK_STR_NONE;
    if (ak_http_param(call->request, ak_str_of(name), value) && !value->p) {
        (void)ak_fail(&call->err, AK_INVALID, "%s is not properly %%-encoded", name);
        return false;
    }
    return true;
}

bool ak_param_u64(struct ak_call *call, const char *name, uint64_t min, uint64_t max,
                  uint64_t *value)
{
    struct ak_str text;
    uint64_t number = 0;
    if (!ak_http_param(call->request, ak_str_of(name), &text)) {
        return true;
    }
    if (!text.p || !ak_str_u64(text, max, &number) || number < min) {
        (void)ak_fail(&call->err, AK_INVALID, "%s must be an integer from %" PRIu64 " to %" PRIu64,
                      name, min, max);
        return false;
    }
    *value = number;
    return true;
}

bool ak_param_bool(struct ak_call *call, const char *name, bool *value)
{
    struct ak_str text;
    if (!ak_http_param(call->request, ak_str_of(name), &text)) {
        return true;
    }
    bool is_true = ak_str_eq(text, AK_STR("true"));
    if (!is_true && !ak_str_eq(text, AK_STR("false"))) {
        (void)ak_fail(&call->err, AK_INVALID, "%s must be true or false", name);
        return false;
    }
    *value = is_true;
    return true;
}

bool ak_param_time(struct ak_call *call, const char *name, int64_t *wall_us)
{
    struct ak_str text;
    if (!ak_http_param(call->request, ak_str_of(name), &text)) {
        return true;
    }
    if (!text.p || !ak_time_parse(text, wall_us)) {
        (void)ak_fail(&call->err, AK_INVALID,
                      "%s must be a time like 2026-11-21T00:00:00Z (a + of its zone as %%2B)",
                      name);
        return false;
    }
    return true;
}

/* --- Words --- */

static bool unknown_word(const char *what, struct ak_str text, const char *allowed,
                         struct ak_err *err)
{
    (void)ak_fail(err, AK_INVALID, "%s '%.*s' is unknown: allowed are %s", what,
                  AK_STR_ARG(ak_str_sub(text, 0, 32)), allowed);
    return false;
}

bool ak_read_snapshot_format(struct ak_str text, enum ak_snapshot_format *format,
                             struct ak_err *err)
{
    return ak_snapshot_format_parse(text, format) ||
           unknown_word("format", text, "parquet, json", err);
}

bool ak_read_compression(struct ak_str text, enum ak_codec *codec, struct ak_err *err)
{
    return ak_codec_parse(text, codec) ||
           unknown_word("compression", text, "none, snappy, zstd, lz4, gzip", err);
}

bool ak_read_encoding(struct ak_str text, enum ak_snapshot_encoding *encoding, struct ak_err *err)
{
    char names[128];
    if (ak_snapshot_encoding_parse(text, encoding)) {
        return true;
    }
    (void)snprintf(
        names, sizeof names, "%s, %s, %s, %s", ak_snapshot_encoding_name(AK_SNAPSHOT_LOSSLESS),
        ak_snapshot_encoding_name(AK_SNAPSHOT_PLAIN), ak_snapshot_encoding_name(AK_SNAPSHOT_BF16),
        ak_snapshot_encoding_name(AK_SNAPSHOT_Q8));
    return unknown_word("encoding", text, names, err);
}
