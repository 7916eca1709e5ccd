/* export.c — GET /collections/{c}/export: a collection as Parquet or NDJSON, as long as it is.
 *
 * The response begins with the first bytes, so that what fails before them has a status of its own;
 * what fails later resets the connection. An export is a block of its own and not part of the
 * request's memory: when the response cannot be begun, the request is gone before the export is.
 */
#include "base/mem.h"
#include "rest/rest_priv.h"
#include <string.h>

struct outgoing {
    struct ak_export_op op;
    struct ak_call *call; /* valid until the response is refused or ended */
    struct ak_http_request *request;
    struct ak_log *log;
    bool is_refused; /* the server answered in our place: call and request must not be named */
    char name[];
};

static struct outgoing *outgoing_of(struct ak_export_op *op)
{
    return (struct outgoing *)(void *)op; /* its first member */
}

static const char *type_of(enum ak_export_format format)
{
    return format == AK_EXPORT_PARQUET ? AK_PARQUET : AK_NDJSON;
}

static enum ak_rc begin(struct ak_export_op *op)
{
    struct outgoing *outgoing = outgoing_of(op);
    char headers[AK_REST_HEADERS_MAX];
    if (!ak_http_begin(outgoing->request, 200, type_of(op->format),
                       ak_reply_headers(outgoing->request, NULL, headers))) {
        outgoing->is_refused = true;
        return ak_fail(&op->op.err, AK_UNAVAILABLE, "the response could not be begun");
    }
    return AK_OK;
}

static enum ak_rc sink(struct ak_export_op *op, const void *p, size_t len, struct ak_err *err)
{
    return ak_http_send(outgoing_of(op)->request, p, len, err);
}

static bool is_gone(struct ak_export_op *op)
{
    return ak_http_is_gone(outgoing_of(op)->request);
}

static void done(struct ak_op *op, enum ak_rc rc)
{
    struct outgoing *outgoing = (struct outgoing *)(void *)op;
    if (outgoing->op.begun) {
        if (rc != AK_OK && !is_gone(&outgoing->op)) {
            ak_log_error(outgoing->log, "rest", "export of '%s' broken off: %s", outgoing->name,
                         op->err.text);
        }
        ak_http_end(outgoing->request, rc);
    } else if (!outgoing->is_refused) {
        ak_reply_failure(outgoing->call, rc, &op->err);
    }
    ak_free(outgoing);
}

static bool read_params(struct ak_call *call, enum ak_export_format *format,
                        struct ak_snapshot_options *options)
{
    static const char *const names[] = {"format", "compression", "encoding", NULL};
    struct ak_str text;
    if (!ak_params_known(call, names) || !ak_param_text(call, "format", &text)) {
        return false;
    }
    bool is_ndjson = ak_str_eq(text, AK_STR("ndjson"));
    *format = is_ndjson ? AK_EXPORT_NDJSON : AK_EXPORT_PARQUET;
    if (text.len && !is_ndjson && !ak_str_eq(text, AK_STR("parquet"))) {
        (void)ak_fail(&call->err, AK_INVALID,
                      "format '%.*s' is unknown: allowed are parquet, ndjson",
                      AK_STR_ARG(ak_str_sub(text, 0, 32)));
        return false;
    }
    if (!ak_param_text(call, "compression", &text) ||
        (text.len && !ak_read_compression(text, &options->compression, &call->err))) {
        return false;
    }
    if (!ak_param_text(call, "encoding", &text) ||
        (text.len && !ak_read_encoding(text, &options->encoding, &call->err))) {
        return false;
    }
    options->format = is_ndjson ? AK_SNAPSHOT_JSON : AK_SNAPSHOT_PARQUET;
    return !text.len || ak_snapshot_options_check(options, &call->err) == AK_OK;
}

/* HEAD: what GET would begin with. */
static void answer_head(struct ak_call *call, enum ak_export_format format)
{
    struct ak_collection_summary summary;
    char headers[AK_REST_HEADERS_MAX];
    enum ak_rc rc =
        ak_service_describe(call->service, call->args[0], call->arena, &summary, &call->err);
    if (rc != AK_OK) {
        ak_reply_failure(call, rc, &call->err);
    } else if (ak_http_begin(call->request, 200, type_of(format),
                             ak_reply_headers(call->request, NULL, headers))) {
        ak_http_end(call->request, AK_OK);
    }
}

void ak_rest_export(struct ak_call *call)
{
    enum ak_export_format format = AK_EXPORT_PARQUET;
    struct ak_snapshot_options options = *ak_service_snapshot_defaults(call->service);
    struct ak_str name = call->args[0];
    if (!read_params(call, &format, &options)) {
        ak_reply_error(call, AK_INVALID, call->err.text);
        return;
    }
    if (ak_http_method(call->request) == AK_HTTP_HEAD) {
        answer_head(call, format);
        return;
    }
    struct outgoing *outgoing = ak_try_zalloc(sizeof *outgoing + name.len + 1);
    if (!outgoing) {
        ak_reply_error(call, AK_NOMEM, NULL);
        return;
    }
    memcpy(outgoing->name, name.p, name.len);
    outgoing->call = call;
    outgoing->request = call->request;
    outgoing->log = call->rest->log;
    outgoing->op = (struct ak_export_op){
        .op = {.done = done, .is_unlogged = ak_call_op(call, done).is_unlogged},
        .collection = {outgoing->name, name.len},
        .format = format,
        .options = options,
        .begin = begin,
        .sink = sink,
        .is_gone = is_gone,
    };
    outgoing->op.options.format = AK_SNAPSHOT_PARQUET;
    ak_service_export(call->service, &outgoing->op);
}
