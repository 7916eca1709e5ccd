/* admin.c — /_mock/: rules, state. It speaks JSON, errors included.
 *
 *   POST   /_mock/rules        one rule, or an array of them: 201 {"ids":[1]}
 *   GET    /_mock/rules        {"rules":[{…,"fired":3}]}
 *   DELETE /_mock/rules        all of them: {"deleted":2}
 *   DELETE /_mock/rules/{id}   one
 *   GET    /_mock/state        counts
 */
#include "base/json.h"
#include "mocks3/mocks3_priv.h"
#include <string.h>

static void reply_error(struct ak_mock_call *call, int status, enum ak_rc rc, const char *text)
{
    struct ak_buf out;
    ak_buf_init(&out, 4096);
    ak_buf_add_str(&out, AK_STR("{\"error\":{\"code\":"));
    ak_json_put_string(&out, ak_str_of(ak_rc_name(rc)));
    ak_buf_add_str(&out, AK_STR(",\"message\":"));
    ak_json_put_string(&out, ak_str_of(text));
    ak_buf_add_str(&out, AK_STR("}}"));
    ak_mock_reply_json(call, status, &out);
}

static void add_rules(struct ak_mock_call *call, struct ak_str body)
{
    struct ak_buf out;
    struct ak_err err = {0};
    ak_buf_init(&out, 0);
    enum ak_rc rc = ak_mock_rules_add(call->server->rules, body, &out, &err);
    if (rc != AK_OK) {
        ak_buf_release(&out);
        reply_error(call, ak_rc_http_status(rc), rc, err.text);
        return;
    }
    ak_mock_reply_json(call, 201, &out);
}

static void list_rules(struct ak_mock_call *call)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_mock_rules_list(call->server->rules, &out);
    ak_mock_reply_json(call, 200, &out);
}

static void put_member(struct ak_buf *out, const char *name, uint64_t number)
{
    ak_buf_add_fmt(out, ",\"%s\":", name);
    ak_json_put_u64(out, number);
}

static void delete_rules(struct ak_mock_call *call)
{
    struct ak_buf out;
    size_t count = ak_mock_rules_clear(call->server->rules);
    ak_buf_init(&out, 0);
    ak_buf_add_str(&out, AK_STR("{\"deleted\":"));
    ak_json_put_u64(&out, count);
    ak_buf_add_char(&out, '}');
    ak_mock_reply_json(call, 200, &out);
}

static void delete_rule(struct ak_mock_call *call, struct ak_str id_text)
{
    uint64_t id = 0;
    if (!ak_str_u64(id_text, UINT64_MAX, &id) || !ak_mock_rules_remove(call->server->rules, id)) {
        reply_error(call, 404, AK_NOT_FOUND, "there is no such rule: GET /_mock/rules lists them");
        return;
    }
    struct ak_buf out;
    ak_buf_init(&out, 0);
    ak_buf_add_str(&out, AK_STR("{\"deleted\":1}"));
    ak_mock_reply_json(call, 200, &out);
}

static uint64_t value_of(const _Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void state(struct ak_mock_call *call)
{
    struct ak_buf out;
    struct ak_mock_usage usage;
    const struct ak_mocks3 *server = call->server;
    ak_mock_store_usage(server->store, &usage);
    ak_buf_init(&out, 0);
    ak_buf_add_str(&out, AK_STR("{\"requests\":{"));
    const char *comma = "";
    for (unsigned op = 0; op <= AK_MOCK_OP_COUNT; op++) {
        uint64_t count = value_of(&server->counts[op]);
        if (count) {
            ak_buf_add_fmt(&out, "%s\"%s\":", comma, ak_mock_op_name((enum ak_mock_op)op));
            ak_json_put_u64(&out, count);
            comma = ",";
        }
    }
    ak_buf_add_char(&out, '}');
    put_member(&out, "answers_4xx", value_of(&server->errors_4xx));
    put_member(&out, "answers_5xx", value_of(&server->errors_5xx));
    put_member(&out, "rules_fired", ak_mock_rules_fired(server->rules));
    put_member(&out, "bytes_received", value_of(&server->bytes_in));
    put_member(&out, "bytes_sent", value_of(&server->bytes_out));
    put_member(&out, "buckets", usage.buckets);
    put_member(&out, "objects", usage.objects);
    put_member(&out, "multipart_uploads", usage.uploads);
    put_member(&out, "multipart_parts", usage.parts);
    put_member(&out, "bytes_stored", usage.bytes);
    ak_buf_add_char(&out, '}');
    ak_mock_reply_json(call, 200, &out);
}

void ak_mock_admin(struct ak_mock_call *call, struct ak_str body)
{
    struct ak_str path = ak_http_path(call->request);
    enum ak_http_method method = ak_http_method(call->request);
    struct ak_str rules = AK_STR("/_mock/rules");
    bool is_rules = ak_str_eq(path, rules);
    bool is_rule = ak_str_has_prefix(path, AK_STR("/_mock/rules/"));
    if (is_rules && method == AK_HTTP_POST) {
        add_rules(call, body);
    } else if (is_rules && method == AK_HTTP_GET) {
        list_rules(call);
    } else if (is_rules && method == AK_HTTP_DELETE) {
        delete_rules(call);
    } else if (is_rule && method == AK_HTTP_DELETE) {
        delete_rule(call, ak_str_sub(path, rules.len + 1, SIZE_MAX));
    } else if (ak_str_eq(path, AK_STR("/_mock/state")) && method == AK_HTTP_GET) {
        state(call);
    } else {
        reply_error(call, 404, AK_NOT_FOUND,
                    "there are GET, POST and DELETE /_mock/rules, DELETE /_mock/rules/{id} and "
                    "GET /_mock/state");
    }
}
