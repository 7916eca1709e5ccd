/* reply.c — answers, and answers that a rule spoils. */
#include "base/json.h"
#include "base/mem.h"
#include "mocks3/mocks3_priv.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define XML_TYPE "application/xml"

void ak_mock_xml_begin(struct ak_buf *out, const char *root)
{
    ak_buf_init(out, (size_t)64 << 20);
    ak_buf_add_fmt(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"%s\">", root,
                   AK_MOCK_XMLNS);
}

/* --- Sending --- */

struct lent { /* what a body belongs to while it is sent */
    struct ak_mock_view view;
    struct ak_buf buf;
};

static void give_back(void *ctx)
{
    struct lent *lent = ctx;
    ak_mock_view_release(&lent->view);
    ak_buf_release(&lent->buf);
    ak_free(lent);
}

/* Answer with `body`, which `lent` owns (NULL: nobody need). */
static void send(struct ak_mock_call *call, int status, const char *type, struct ak_str body,
                 struct lent *lent, struct ak_buf *headers)
{
    const struct ak_mock_action *action = &call->action;
    struct ak_buf all;
    bool is_cut = call->has_action && action->resets;
    ak_buf_init(&all, 2 * AK_HEADER_BYTES_MAX + 4096);
    if (headers) {
        ak_buf_add_str(&all, ak_buf_str(headers));
        ak_buf_release(headers);
    }
    ak_buf_add_fmt(&all,
                   "x-amz-request-id: %016" PRIX64 "\r\nx-amz-id-2: akidb/mock-s3/%016" PRIX64
                   "\r\nServer: AkiDB-mock-s3\r\n",
                   call->number, call->number);
    const struct ak_http_view view = {
        .body = body,
        .release = lent ? give_back : NULL,
        .ctx = lent,
        .bytes_per_s = call->has_action ? action->bytes_per_s : 0,
        .cuts = is_cut,
        .cut_at = (size_t)action->reset_after,
    };
    bool is_empty = body.len == 0 || ak_http_method(call->request) == AK_HTTP_HEAD;
    if (call->has_action && (action->drops_answer || (is_cut && is_empty))) {
        if (lent) {
            give_back(lent);
        }
        ak_http_abort(call->request);
    } else {
        ak_http_respond_view(call->request, status, type, &view, ak_buf_cstr(&all));
    }
    ak_buf_release(&all);
}

static void send_buf(struct ak_mock_call *call, int status, const char *type, struct ak_buf *body,
                     struct ak_buf *headers)
{
    if (body->failed) {
        ak_buf_release(body);
        (void)ak_mock_fail(&call->fault, AK_MOCK_SlowDown, "no memory for the answer");
        ak_mock_reply_fault(call);
        return;
    }
    struct lent *lent = ak_alloc(sizeof *lent);
    *lent = (struct lent){.buf = *body};
    *body = (struct ak_buf){0};
    send(call, status, type, ak_buf_str(&lent->buf), lent, headers);
}

void ak_mock_reply_xml(struct ak_mock_call *call, int status, struct ak_buf *xml,
                       struct ak_buf *headers)
{
    send_buf(call, status, XML_TYPE, xml, headers);
}

void ak_mock_reply_empty(struct ak_mock_call *call, int status, struct ak_buf *headers)
{
    send(call, status, NULL, AK_STR(""), NULL, headers);
}

void ak_mock_reply_length(struct ak_mock_call *call, int status, uint64_t len,
                          struct ak_buf *headers)
{
    send(call, status, NULL, (struct ak_str){NULL, (size_t)len}, NULL, headers);
}

void ak_mock_reply_view(struct ak_mock_call *call, int status, struct ak_mock_view *view,
                        uint64_t from, uint64_t len, struct ak_buf *headers)
{
    struct lent *lent = ak_alloc(sizeof *lent);
    *lent = (struct lent){.view = *view};
    *view = (struct ak_mock_view){0};
    send(call, status, NULL, ak_str_sub(lent->view.bytes, (size_t)from, (size_t)len), lent,
         headers);
}

void ak_mock_reply_json(struct ak_mock_call *call, int status, struct ak_buf *json)
{
    send_buf(call, status, AK_HTTP_JSON, json, NULL);
}

/* --- Errors --- */

static void put_resource(const struct ak_mock_call *call, struct ak_buf *out)
{
    ak_buf_add_str(out, AK_STR("<Resource>/"));
    ak_mock_xml_put(out, call->bucket);
    if (call->key.len) {
        ak_buf_add_char(out, '/');
        ak_mock_xml_put(out, call->key);
    }
    ak_buf_add_str(out, AK_STR("</Resource>"));
}

static void reply_error(struct ak_mock_call *call, int status, const char *code, const char *text)
{
    struct ak_buf out;
    if (status == 304) { /* it has no body */
        ak_mock_reply_empty(call, status, NULL);
        return;
    }
    ak_buf_init(&out, (size_t)4 << 20);
    ak_buf_add_str(&out, AK_STR("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>"));
    ak_mock_xml_put_element(&out, "Code", ak_str_of(code));
    ak_mock_xml_put_element(&out, "Message", ak_str_of(text));
    if (call->bucket.len) {
        ak_mock_xml_put_element(&out, "BucketName", call->bucket);
    }
    if (call->key.len) {
        ak_mock_xml_put_element(&out, "Key", call->key);
    }
    put_resource(call, &out);
    ak_buf_add_fmt(&out, "<RequestId>%016" PRIX64 "</RequestId>", call->number);
    ak_buf_add_fmt(&out, "<HostId>akidb/mock-s3/%016" PRIX64 "</HostId>", call->number);
    ak_buf_add_str(&out, call->fault.detail);
    ak_buf_add_str(&out, AK_STR("</Error>"));
    if (out.failed) { /* no memory: the status must do */
        ak_buf_release(&out);
        ak_mock_reply_empty(call, status, NULL);
        return;
    }
    send_buf(call, status, XML_TYPE, &out, NULL);
}

void ak_mock_reply_fault(struct ak_mock_call *call)
{
    enum ak_mock_code code = call->fault.code;
    AK_ASSERT(code != AK_MOCK_OK);
    if (code == AK_MOCK_InternalError) {
        ak_log_error(call->server->log, "mock-s3", "%s: %s", ak_mock_op_name(call->op),
                     call->fault.text);
    }
    reply_error(call, ak_mock_code_status(code), ak_mock_code_name(code), call->fault.text);
}

static const char *code_of_status(int status)
{
    switch (status) {
    case 400:
        return "InvalidRequest";
    case 403:
        return "AccessDenied";
    case 404:
        return "NoSuchKey";
    case 409:
        return "OperationAborted";
    case 412:
        return "PreconditionFailed";
    case 500:
        return "InternalError";
    case 503:
        return "SlowDown";
    default:
        return "MockFault";
    }
}

void ak_mock_reply_action(struct ak_mock_call *call)
{
    char text[128];
    int status = call->action.status;
    const char *code = call->action.code[0] ? call->action.code : code_of_status(status);
    (void)snprintf(text, sizeof text, "a rule of /_mock/rules answers this request with %d",
                   status);
    call->fault.detail = AK_STR_NONE;
    reply_error(call, status, code, text);
}
