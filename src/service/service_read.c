/* service_read.c — one document, pages of documents, counts. */
#include "base/limits.h"
#include "service/service_priv.h"

/* On a worker: finding an id takes the collection's writer lock, which a checkpoint or a batch may
 * hold for milliseconds. */
static void run_fetch(struct ak_op *op)
{
    struct ak_fetch_op *fetch = AK_OP_OF(op, struct ak_fetch_op, op);
    struct ak_probe_span span = ak_probe_enter(op);
    enum ak_rc rc = ak_collection_fetch(fetch->collection, &fetch->id, fetch->include, op->arena,
                                        &fetch->found, &op->err);
    ak_probe_leave(op, &span);
    if (rc == AK_OK && op->probe.is_on) {
        ak_probe_add(op, &span);
        op->probe.examined = op->probe.returned = 1;
        ak_probe_log(op, (struct ak_query_shape){.type = AK_QUERY_FETCH}, AK_QUERY_ID);
    }
    ak_op_done(op, rc);
}

void ak_service_fetch(struct ak_service *service, struct ak_fetch_op *fetch)
{
    ak_probe_choose(service, &fetch->op, fetch->collection);
    ak_op_start(service, &fetch->op, false, run_fetch);
}

/* Documents of a page when vectors are asked for: at least one, and no more than AK_PAGE_BYTES_MAX.
 *  */
static uint32_t page_limit(const struct ak_scroll_op *scroll)
{
    if (!(scroll->include & AK_INCLUDE_VECTOR)) {
        return scroll->limit;
    }
    size_t row = ak_collection_info(scroll->collection)->dimension * sizeof(float);
    size_t most = AK_PAGE_BYTES_MAX / row; /* > 0: the longest vector has 256 KiB */
    return scroll->limit < most ? scroll->limit : (uint32_t)most;
}

static enum ak_rc read_page(struct ak_op *op, struct ak_scroll_op *scroll, uint32_t limit)
{
    const struct ak_uuid *after = scroll->has_after ? &scroll->after : NULL;
    return ak_collection_scroll(scroll->collection, after, limit, scroll->filter, scroll->include,
                                op->arena, &scroll->page.found, &scroll->page.count, &op->err);
}

/* Pages look at every row: by the filter's columns, or at its id. */
static void log_scroll(struct ak_scroll_op *scroll)
{
    struct ak_op *op = &scroll->op;
    op->probe.examined = ak_probe_rows(scroll->collection);
    op->probe.returned = scroll->page.count;
    ak_probe_log(op,
                 (struct ak_query_shape){
                     .type = AK_QUERY_SCROLL, .k = scroll->limit, .filter = scroll->filter},
                 scroll->filter ? AK_QUERY_COLUMNS : AK_QUERY_SCAN);
}

/* One more than the page, to know whether there is another; at the ceiling a full page promises
 * one. */
static void run_scroll(struct ak_op *op)
{
    struct ak_scroll_op *scroll = AK_OP_OF(op, struct ak_scroll_op, op);
    uint32_t limit = page_limit(scroll);
    uint32_t ask = limit < AK_SCROLL_MAX ? limit + 1 : limit;
    struct ak_probe_span span = ak_probe_enter(op);
    enum ak_rc rc = read_page(op, scroll, ask);
    ak_probe_leave(op, &span);
    if (rc == AK_OK) {
        scroll->has_more = scroll->page.count == ask;
        if (scroll->page.count > limit) {
            scroll->page.count = limit;
        }
        if (op->probe.is_on) {
            ak_probe_add(op, &span);
            log_scroll(scroll);
        }
    }
    ak_op_done(op, rc);
}

void ak_service_scroll(struct ak_service *service, struct ak_scroll_op *scroll)
{
    scroll->has_more = false;
    ak_probe_choose(service, &scroll->op, scroll->collection);
    ak_op_start(service, &scroll->op, false, run_scroll);
}

static void run_count(struct ak_op *op)
{
    struct ak_count_op *count = AK_OP_OF(op, struct ak_count_op, op);
    struct ak_probe_span span = ak_probe_enter(op);
    enum ak_rc rc =
        ak_collection_count(count->collection, count->filter, &count->documents, &op->err);
    ak_probe_leave(op, &span);
    if (rc == AK_OK && op->probe.is_on) {
        ak_probe_add(op, &span);
        op->probe.examined = count->filter ? ak_probe_rows(count->collection) : 0;
        op->probe.returned = 1;
        ak_probe_log(op, (struct ak_query_shape){.type = AK_QUERY_COUNT, .filter = count->filter},
                     count->filter ? AK_QUERY_COLUMNS : AK_QUERY_COUNTER);
    }
    ak_op_done(op, rc);
}

void ak_service_count(struct ak_service *service, struct ak_count_op *count)
{
    ak_probe_choose(service, &count->op, count->collection);
    ak_op_start(service, &count->op, !count->filter, run_count);
}
