/* json_write.c — the JSON form: one document, written front to back.
 *
 *   {"format_version":1,"collection_id":"…","dimension":3,"metric":"cosine","documents":[
 *   {"document_id":"…","external_id":"…"|null,"vector":[…],"metadata":{…}|null,"inserted_at":"…"},
 *   …
 *   ],"content_xxh64":"16 hexadecimal digits"}
 *
 * Floats are the shortest decimals that read back to the same f32, so that the form is lossless.
 */
#include "base/json.h"
#include "base/mem.h"
#include "simd/simd.h"
#include "snapshot/snapshot_priv.h"

#define FLUSH_AT ((size_t)256 << 10)
#define BUFFER_MAX ((size_t)8 << 20) /* FLUSH_AT and the longest document: 65,535 floats */

struct json_writer {
    const struct ak_snapshot_source *source;
    const struct ak_snapshot_sink *sink;
    struct ak_buf out;
    uint64_t content;
};

static void put_id(struct ak_buf *out, const struct ak_uuid *id)
{
    char text[AK_UUID_TEXT_LEN];
    ak_uuid_format(id, text);
    ak_json_put_string(out, (struct ak_str){text, sizeof text});
}

static enum ak_rc flush(struct json_writer *w, struct ak_err *err)
{
    enum ak_rc rc = ak_buf_check(&w->out, err);
    if (rc == AK_OK && w->out.len) {
        rc = w->sink->write(w->sink->ctx, w->out.p, w->out.len, err);
    }
    ak_buf_clear(&w->out);
    return rc;
}

static void put_head(struct json_writer *w)
{
    const struct ak_collection_info *info = &w->source->info;
    ak_buf_add_fmt(&w->out,
                   "{\"format_version\":%d,\"collection_id\":", AK_SNAPSHOT_FORMAT_VERSION);
    put_id(&w->out, &info->id);
    ak_buf_add_fmt(&w->out, ",\"dimension\":%u,\"metric\":\"%s\",\"documents\":[\n",
                   info->dimension, ak_metric_name(info->metric));
}

static enum ak_rc put_document(struct json_writer *w, uint64_t row, const struct ak_document *doc,
                               struct ak_err *err)
{
    char time[AK_TIME_TEXT_MAX];
    uint32_t dimension = w->source->info.dimension;
    if (!ak_f32_all_finite(doc->vector, dimension, NULL)) {
        return ak_fail(err, AK_INVALID,
                       "vector %llu has a value that is not finite, which JSON cannot hold",
                       (unsigned long long)row);
    }
    ak_buf_add_str(&w->out, row ? AK_STR(",\n{\"document_id\":") : AK_STR("{\"document_id\":"));
    put_id(&w->out, &doc->id);
    ak_buf_add_str(&w->out, AK_STR(",\"external_id\":"));
    if (doc->external_id.len) {
        ak_json_put_string(&w->out, doc->external_id);
    } else {
        ak_buf_add_str(&w->out, AK_STR("null"));
    }
    ak_buf_add_str(&w->out, AK_STR(",\"vector\":"));
    ak_json_put_f32_array(&w->out, doc->vector, dimension);
    ak_buf_add_str(&w->out, AK_STR(",\"metadata\":"));
    ak_buf_add_str(&w->out, doc->metadata.len ? doc->metadata : AK_STR("null"));
    ak_buf_add_fmt(&w->out, ",\"inserted_at\":\"%s\"}", ak_time_format(doc->inserted_us, time));
    w->content = ak_snapshot_content_add(w->content, doc, dimension);
    return w->out.len >= FLUSH_AT ? flush(w, err) : AK_OK;
}

static enum ak_rc put_documents(struct json_writer *w, const struct ak_snapshot_ticker *ticker,
                                struct ak_err *err)
{
    uint64_t rows = w->source->rows;
    enum ak_rc rc = AK_OK;
    struct ak_document *docs = ak_alloc(AK_SNAPSHOT_ROWS_STEP * sizeof *docs);
    for (uint64_t at = 0; at < rows && rc == AK_OK;) {
        size_t count =
            rows - at < AK_SNAPSHOT_ROWS_STEP ? (size_t)(rows - at) : AK_SNAPSHOT_ROWS_STEP;
        rc = w->source->read(w->source->ctx, at, count, docs, err);
        for (size_t i = 0; i < count && rc == AK_OK; i++) {
            rc = put_document(w, at + i, &docs[i], err);
        }
        at += count;
        ak_snapshot_source_passed(w->source, at);
        if (rc == AK_OK) {
            rc = ak_snapshot_tick(ticker, (double)at / (double)rows, err);
        }
    }
    ak_free(docs);
    return rc;
}

enum ak_rc ak_snapshot_json_write(const struct ak_snapshot_source *source,
                                  const struct ak_snapshot_sink *sink,
                                  const struct ak_snapshot_ticker *ticker, struct ak_err *err)
{
    struct json_writer w = {.source = source, .sink = sink};
    ak_buf_init(&w.out, BUFFER_MAX);
    put_head(&w);
    enum ak_rc rc = put_documents(&w, ticker, err);
    if (rc == AK_OK) {
        ak_buf_add_fmt(&w.out, "\n],\"content_xxh64\":\"%016llx\"}\n",
                       (unsigned long long)w.content);
        rc = flush(&w, err);
    }
    ak_buf_release(&w.out);
    return rc;
}
