/* perf_advise_measure.c — collections, stored vectors, recall and latency, all through the API. */
#include "base/json.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cli/perf_advise.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 10000u   /* ids of a page */
#define PAGES_MAX 50u /* of ids that a sample is drawn from */
#define ROUNDS 3u     /* of each search: the median of all counts */
#define K_DEFAULT 10u
#define K_MAX 100u

static const uint32_t ladder[] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512};
#define LADDER (sizeof ladder / sizeof ladder[0])
_Static_assert(LADDER + 2 <= AK_ADVISE_POINTS_MAX, "the ladder, the present ef and k");

/* --- Collections --- */

static void read_index(struct ak_json *in, struct ak_index_params *params)
{
    struct ak_str key;
    struct ak_str word;
    uint64_t n = 0;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("quantization"))) {
            if (ak_json_string(in, &word) && !ak_quantization_parse(word, &params->quantization)) {
                ak_json_fail(in, "quantization '%.*s' is not known", AK_STR_ARG(word));
            }
        } else if (ak_str_eq(key, AK_STR("vectors"))) {
            if (ak_json_string(in, &word) && !ak_vectors_parse(word, &params->vectors)) {
                ak_json_fail(in, "vectors in '%.*s' are not known", AK_STR_ARG(word));
            }
        } else if (ak_str_eq(key, AK_STR("m")) && ak_json_u64(in, 1, UINT32_MAX, &n)) {
            params->m = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("ef_construction")) &&
                   ak_json_u64(in, 1, UINT32_MAX, &n)) {
            params->ef_construction = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("ef_search")) && ak_json_u64(in, 1, UINT32_MAX, &n)) {
            params->ef_search = (uint32_t)n;
        } else if (!ak_json_failed(in)) {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_collection(struct ak_json *in, struct ak_arena *arena,
                            struct ak_advise_collection *one)
{
    struct ak_str key;
    struct ak_str word;
    uint64_t n = 0;
    *one = (struct ak_advise_collection){.params = ak_index_params_default()};
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("name")) && ak_json_string(in, &word)) {
            one->name = ak_arena_str(arena, word);
        } else if (ak_str_eq(key, AK_STR("dimension")) &&
                   ak_json_u64(in, 1, AK_DIMENSION_MAX, &n)) {
            one->dimension = (uint32_t)n;
        } else if (ak_str_eq(key, AK_STR("metric")) && ak_json_string(in, &word)) {
            if (!ak_metric_parse(word, &one->metric)) {
                ak_json_fail(in, "metric '%.*s' is not known", AK_STR_ARG(word));
            }
        } else if (ak_str_eq(key, AK_STR("documents"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, &one->documents);
        } else if (ak_str_eq(key, AK_STR("index"))) {
            read_index(in, &one->params);
        } else if (!ak_json_failed(in)) {
            (void)ak_json_skip(in, NULL);
        }
    }
}

struct list {
    struct ak_advise_collection *items; /* ak_alloc */
    size_t count, cap;
    char next[AK_NAME_MAX * 3 + 1]; /* cursor, empty at the end */
};

static enum ak_rc read_page(struct list *list, struct ak_str answer, struct ak_arena *arena,
                            struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    struct ak_str next = AK_STR_NONE;
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("collections"))) {
            ak_json_array(&in);
            while (ak_json_next_element(&in)) {
                if (list->count == list->cap) {
                    list->cap = list->cap ? list->cap * 2 : 64;
                    list->items = ak_realloc(list->items, list->cap * sizeof *list->items);
                }
                read_collection(&in, arena, &list->items[list->count]);
                list->count += list->items[list->count].name.p != NULL;
            }
        } else if (ak_str_eq(key, AK_STR("next"))) {
            (void)(ak_json_null(&in) || ak_json_string(&in, &next));
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    (void)snprintf(list->next, sizeof list->next, "%.*s", AK_STR_ARG(next));
    ak_json_release(&in);
    return rc;
}

enum ak_rc ak_advise_collections(struct ak_remote *remote, struct ak_arena *arena,
                                 struct ak_advise_collection **out, size_t *count,
                                 struct ak_err *err)
{
    struct list list = {0};
    struct ak_buf path;
    struct ak_str answer = AK_STR_NONE;
    enum ak_rc rc = AK_OK;
    ak_buf_init(&path, 0);
    do {
        ak_buf_clear(&path);
        ak_buf_add_str(&path, AK_STR("/api/v1/collections?limit=1000"));
        if (list.next[0]) {
            ak_buf_add_str(&path, AK_STR("&after="));
            ak_url_put(&path, ak_str_of(list.next));
        }
        rc = ak_remote_call(remote, "GET", ak_buf_cstr(&path), NULL, &answer, err);
        rc = rc == AK_OK ? read_page(&list, answer, arena, err) : rc;
    } while (rc == AK_OK && list.next[0]);
    ak_buf_release(&path);
    if (rc == AK_OK) {
        *out = ak_arena_alloc(arena, (list.count + 1) * sizeof **out);
        rc = *out ? AK_OK : ak_fail(err, AK_NOMEM, "%zu collections", list.count);
    }
    if (rc == AK_OK) {
        if (list.count) {
            memcpy(*out, list.items, list.count * sizeof **out);
        }
        *count = list.count;
    }
    ak_free(list.items);
    return rc;
}

/* --- A sample of stored vectors --- */

struct draw {
    struct ak_rand rand;
    struct ak_uuid *ids;
    uint32_t want;
    uint64_t seen;
    struct ak_uuid last;
    uint32_t of_page;
};

/* Reservoir sampling (Vitter 1985, algorithm R). */
static void offer(struct draw *draw, const struct ak_uuid *id)
{
    uint64_t at = draw->seen++;
    if (at >= draw->want) {
        at = ak_rand_below(&draw->rand, draw->seen);
    }
    if (at < draw->want) {
        draw->ids[at] = *id;
    }
}

static void read_id(struct ak_json *in, struct ak_uuid *id)
{
    struct ak_str key;
    struct ak_str text;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("id"))) {
            if (ak_json_string(in, &text) && !ak_uuid_parse(text, id)) {
                ak_json_fail(in, "'%.*s' is no id", AK_STR_ARG(text));
            }
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static enum ak_rc read_ids(struct draw *draw, struct ak_str answer, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    draw->of_page = 0;
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("vectors"))) {
            ak_json_array(&in);
            while (ak_json_next_element(&in)) {
                read_id(&in, &draw->last);
                if (!ak_json_failed(&in)) {
                    offer(draw, &draw->last);
                    draw->of_page++;
                }
            }
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc;
}

static enum ak_rc draw_ids(struct ak_remote *remote, struct ak_str collection, struct draw *draw,
                           struct ak_err *err)
{
    struct ak_buf body;
    struct ak_str answer = AK_STR_NONE;
    char id[AK_UUID_TEXT_LEN];
    enum ak_rc rc = AK_OK;
    ak_buf_init(&body, 0);
    for (unsigned page = 0; rc == AK_OK && page < PAGES_MAX; page++) {
        ak_buf_clear(&body);
        ak_buf_add_fmt(&body, "{\"limit\":%u,\"include\":[]", PAGE);
        if (page) {
            ak_uuid_format(&draw->last, id);
            ak_buf_add_fmt(&body, ",\"after\":\"%.*s\"", (int)sizeof id, id);
        }
        ak_buf_add_char(&body, '}');
        rc = ak_remote_call(remote, "POST", ak_remote_path(remote, collection, "/vectors/scroll"),
                            &body, &answer, err);
        rc = rc == AK_OK ? read_ids(draw, answer, err) : rc;
        if (draw->of_page < PAGE) {
            break;
        }
    }
    ak_buf_release(&body);
    return rc;
}

static enum ak_rc read_vector(struct ak_str answer, uint32_t dimension, float *vector,
                              struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    size_t count = 0;
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("vector"))) {
            (void)ak_json_f32_array(&in, vector, dimension, &count);
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    if (rc == AK_OK && count != dimension) {
        rc = ak_fail(err, AK_CORRUPT, "a stored vector has %zu numbers instead of %u", count,
                     dimension);
    }
    return rc;
}

/* Documents that were deleted meanwhile are left out. */
static enum ak_rc fetch_vectors(struct ak_remote *remote, struct ak_str collection,
                                struct ak_advise_sample *sample, struct ak_err *err)
{
    char rest[16 + AK_UUID_TEXT_LEN];
    char id[AK_UUID_TEXT_LEN];
    struct ak_str answer = AK_STR_NONE;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sample->count; i++) {
        ak_uuid_format(&sample->ids[i], id);
        (void)snprintf(rest, sizeof rest, "/vectors/%.*s", (int)sizeof id, id);
        enum ak_rc rc = ak_remote_call(remote, "GET", ak_remote_path(remote, collection, rest),
                                       NULL, &answer, err);
        if (rc == AK_NOT_FOUND) {
            continue;
        }
        rc = rc == AK_OK ? read_vector(answer, sample->dimension,
                                       sample->vectors + (size_t)kept * sample->dimension, err)
                         : rc;
        if (rc != AK_OK) {
            return rc;
        }
        sample->ids[kept++] = sample->ids[i];
    }
    sample->count = kept;
    return AK_OK;
}

enum ak_rc ak_advise_draw(struct ak_remote *remote, const struct ak_advise_collection *collection,
                          uint32_t want, uint64_t seed, struct ak_advise_sample *sample,
                          struct ak_err *err)
{
    struct draw draw = {.want = want};
    size_t bytes = (size_t)want * collection->dimension * sizeof(float);
    *sample = (struct ak_advise_sample){.dimension = collection->dimension};
    sample->ids = ak_try_alloc((want + 1u) * sizeof *sample->ids);
    sample->vectors = ak_try_alloc_aligned(AK_CACHE_LINE, bytes + AK_CACHE_LINE);
    if (!sample->ids || !sample->vectors) {
        ak_advise_sample_release(sample);
        return ak_fail(err, AK_NOMEM, "no memory for %u vectors: ask for fewer (--trial)", want);
    }
    ak_rand_seed(&draw.rand, seed);
    draw.ids = sample->ids;
    enum ak_rc rc = draw_ids(remote, collection->name, &draw, err);
    sample->count = draw.seen < want ? (uint32_t)draw.seen : want;
    rc = rc == AK_OK ? fetch_vectors(remote, collection->name, sample, err) : rc;
    if (rc != AK_OK) {
        ak_advise_sample_release(sample);
    }
    return rc;
}

void ak_advise_sample_release(struct ak_advise_sample *sample)
{
    ak_free(sample->ids);
    ak_free(sample->vectors);
    *sample = (struct ak_advise_sample){0};
}

/* --- Searches --- */

struct answer {
    struct ak_uuid ids[K_MAX + 1];
    uint32_t count;
    double took_ms;
};

static void read_results(struct ak_json *in, struct answer *answer)
{
    ak_json_array(in);
    while (ak_json_next_element(in)) {
        struct ak_uuid id = {0};
        read_id(in, &id);
        if (answer->count <= K_MAX) {
            answer->ids[answer->count++] = id;
        }
    }
}

static enum ak_rc read_answer(struct ak_str text, struct answer *answer, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    answer->count = 0;
    answer->took_ms = 0;
    ak_json_init(&in, text);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("results"))) {
            read_results(&in, answer);
        } else if (ak_str_eq(key, AK_STR("took_ms"))) {
            (void)ak_json_double(&in, &answer->took_ms);
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    ak_json_release(&in);
    return rc;
}

struct measure {
    struct ak_remote *remote;
    const struct ak_advise_collection *collection;
    const struct ak_advise_sample *sample;
    uint32_t queries, k;
    struct answer *exact;  /* [queries] */
    double *times;         /* [(points + 1) * ROUNDS * queries] */
    struct answer *answer; /* of the search at hand */
    struct ak_buf body;
};

/* ef 0: exactly. One more than k: the vector itself is its own nearest. */
static enum ak_rc search(struct measure *m, uint32_t query, uint32_t ef, struct answer *answer,
                         struct ak_err *err)
{
    struct ak_str text = AK_STR_NONE;
    ak_buf_clear(&m->body);
    ak_buf_add_fmt(&m->body, "{\"k\":%u,\"include\":[],", m->k + 1);
    if (ef) {
        ak_buf_add_fmt(&m->body, "\"ef\":%u,", ef);
    } else {
        ak_buf_add_str(&m->body, AK_STR("\"exact\":true,"));
    }
    ak_buf_add_str(&m->body, AK_STR("\"vector\":"));
    ak_json_put_f32_array(&m->body, m->sample->vectors + (size_t)query * m->sample->dimension,
                          m->sample->dimension);
    ak_buf_add_char(&m->body, '}');
    enum ak_rc rc =
        ak_remote_call(m->remote, "POST", ak_remote_path(m->remote, m->collection->name, "/search"),
                       &m->body, &text, err);
    return rc == AK_OK ? read_answer(text, answer, err) : rc;
}

static bool holds(const struct answer *answer, uint32_t k, const struct ak_uuid *id)
{
    for (uint32_t i = 0; i < answer->count && i < k; i++) {
        if (ak_uuid_eq(&answer->ids[i], id)) {
            return true;
        }
    }
    return false;
}

/* Of the exact neighbours other than itself, the share that was found. */
static double recall_of(const struct measure *m, uint32_t query, const struct answer *got)
{
    const struct answer *exact = &m->exact[query];
    const struct ak_uuid *self = &m->sample->ids[query];
    uint32_t found = 0;
    uint32_t due = 0;
    for (uint32_t i = 0; i < exact->count; i++) {
        if (!ak_uuid_eq(&exact->ids[i], self) && due < m->k) {
            due++;
            found += holds(got, m->k + 1, &exact->ids[i]);
        }
    }
    return due ? (double)found / due : 1;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count ? values[count / 2] : 0;
}

static void put_ef(struct ak_advise_measured *measured, uint32_t ef)
{
    size_t at = measured->count;
    for (size_t i = 0; i < measured->count; i++) {
        if (measured->points[i].ef == ef) {
            return;
        }
    }
    while (at > 0 && measured->points[at - 1].ef > ef) {
        measured->points[at] = measured->points[at - 1];
        at--;
    }
    measured->points[at] = (struct ak_advise_point){.ef = ef};
    measured->count++;
}

/* The server raises ef to k: smaller ones would be the same search. */
static void choose_efs(struct ak_advise_measured *measured)
{
    measured->count = 0;
    uint32_t least = measured->k + 1;
    measured->ef = measured->ef < least ? least : measured->ef;
    put_ef(measured, measured->ef);
    for (size_t i = 0; i < LADDER; i++) {
        if (ladder[i] >= least) {
            put_ef(measured, ladder[i]);
        }
    }
}

/* Round after round over all ef, so that what else the machine does hits all of them. */
static enum ak_rc run_rounds(struct measure *m, struct ak_advise_measured *measured,
                             struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    size_t each = (size_t)ROUNDS * m->queries;
    for (uint32_t q = 0; rc == AK_OK && q < m->queries; q++) {
        rc = search(m, q, 0, &m->exact[q], err);
        m->times[q] = m->exact[q].took_ms;
    }
    measured->exact_ms = median(m->times, m->queries);
    for (unsigned round = 0; rc == AK_OK && round < ROUNDS; round++) {
        for (size_t p = 0; rc == AK_OK && p < measured->count; p++) {
            struct ak_advise_point *point = &measured->points[p];
            for (uint32_t q = 0; rc == AK_OK && q < m->queries; q++) {
                rc = search(m, q, point->ef, m->answer, err);
                m->times[(p + 1) * each + (size_t)round * m->queries + q] = m->answer->took_ms;
                if (rc == AK_OK && round == 0) {
                    double recall = recall_of(m, q, m->answer);
                    point->recall += recall;
                    point->recall_dev += recall * recall;
                }
            }
        }
    }
    return rc;
}

static void finish_points(struct measure *m, struct ak_advise_measured *measured)
{
    size_t each = (size_t)ROUNDS * m->queries;
    double n = m->queries;
    for (size_t p = 0; p < measured->count; p++) {
        struct ak_advise_point *point = &measured->points[p];
        double mean = point->recall / n;
        double variance = n > 1 ? (point->recall_dev - n * mean * mean) / (n - 1) : 0;
        point->recall = mean;
        point->recall_dev = variance > 0 ? sqrt(variance / n) : 0;
        point->median_ms = median(m->times + (p + 1) * each, each);
    }
}

enum ak_rc ak_advise_measure(struct ak_remote *remote,
                             const struct ak_advise_collection *collection,
                             const struct ak_advise_habit *habit,
                             const struct ak_advise_sample *sample, uint32_t queries,
                             struct ak_advise_measured *measured, struct ak_err *err)
{
    *measured = (struct ak_advise_measured){
        .table = collection->name,
        .params = collection->params,
        .dimension = collection->dimension,
        .documents = collection->documents,
        .k = habit->k ? habit->k : K_DEFAULT,
        .ef = habit->ef ? habit->ef : collection->params.ef_search,
        .ef_searches = habit->ef_searches,
        .searches = habit->searches,
        .recall_searches = habit->recall_searches,
    };
    measured->k = measured->k < K_MAX ? measured->k : K_MAX;
    choose_efs(measured);
    struct measure m = {.remote = remote,
                        .collection = collection,
                        .sample = sample,
                        .k = measured->k,
                        .queries = queries < sample->count ? queries : sample->count};
    measured->queries = m.queries;
    ak_buf_init(&m.body, 0);
    m.exact = ak_alloc((m.queries + 1u) * sizeof *m.exact);
    m.answer = ak_alloc(sizeof *m.answer);
    m.times = ak_alloc((measured->count + 1) * ROUNDS * (m.queries + 1u) * sizeof *m.times);
    enum ak_rc rc = run_rounds(&m, measured, err);
    if (rc == AK_OK) {
        finish_points(&m, measured);
    }
    ak_free(m.exact);
    ak_free(m.answer);
    ak_free(m.times);
    ak_buf_release(&m.body);
    return rc;
}
