/* health.c — is the process up, is the database open, what is it, how is it doing. */
#include "rest/rest_priv.h"

static void reply_text(struct ak_call *call, struct ak_str json)
{
    struct ak_buf body;
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, json);
    ak_reply(call, 200, &body);
}

void ak_rest_health(struct ak_call *call)
{
    reply_text(call, AK_STR("{\"status\":\"ok\"}"));
}

void ak_rest_ready(struct ak_call *call)
{
    struct ak_buf body;
    if (!call->service) {
        ak_reply_error(call, AK_UNAVAILABLE, "the database is still opening");
        return;
    }
    ak_buf_init(&body, 0);
    ak_buf_add_str(&body, AK_STR("{\"status\":\"ready\",\"writes\":"));
    ak_json_put_string(&body, ak_str_of(ak_service_writes(call->service)));
    ak_buf_add_char(&body, '}');
    ak_reply(call, 200, &body);
}

void ak_rest_version(struct ak_call *call)
{
    reply_text(call,
               AK_STR("{\"name\":\"akidb\",\"version\":\"" AKIDB_VERSION "\",\"api\":\"v1\"}"));
}

/* --- Metrics: rendering thousands of series takes milliseconds, so on a worker if there is one. */

static void render(struct ak_op *op)
{
    struct ak_call *call = AK_CALL_OF(op, op);
    struct ak_buf body;
    ak_buf_init(&body, AK_RESPONSE_MAX);
    if (call->rest->metrics) {
        ak_metrics_render(call->rest->metrics, &body);
    }
    if (body.failed) {
        ak_reply(call, 200, &body);
    } else {
        ak_reply_typed(call, 200, "text/plain; version=0.0.4; charset=utf-8", &body, NULL);
    }
}

static void render_failed(struct ak_op *op, enum ak_rc rc)
{
    ak_reply_failure(AK_CALL_OF(op, op), rc, &op->err);
}

void ak_rest_metrics(struct ak_call *call)
{
    call->op.done = render_failed;
    if (call->service) {
        ak_service_defer(call->service, &call->op, render);
    } else {
        render(&call->op);
    }
}
