/* calibrate.c — a recall that is asked for becomes an ef: measured in the background, per
 * collection.
 *
 * The first search that names a recall makes the collection keep some of the vectors that are asked
 * (AK_CALIBRATION_KEPT, the oldest give way) and asks for a measurement: a builder, at low priority
 * and at most one at a time, puts those queries, or ones invented from rows while there are few, to
 * the index exactly and at every ef of a grid (index/recall.h), a few milliseconds a turn. Until
 * the first curve is there, searches get a generous ef. Collections that nobody asks so cost
 * nothing.
 *
 * Measured again, when a search asks, after the collection has grown or shrunk by half, after half
 * of its rows were written or removed, once there are real queries enough, and again at
 * twice as many, and, at most every ten minutes, when all queries that were kept have given way to
 * others.
 *
 * The curve is a section of the image, so that a restart and a restore find it. It does not by
 * itself make a collection dirty: writing gigabytes for 300 bytes would cost more than measuring
 * again, which for 100,000 rows takes a second or two of one core.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"
#include <math.h>
#include <string.h>

#define REAL_MIN 32u      /* real queries that are enough by themselves */
#define QUERIES_MIN 32u   /* measured whatever the size */
#define WORK_MOST 4e8     /* rows · dimension up to which all the queries are put */
#define SHARE_NS 10000000 /* of a builder's time before others have a turn */
#define SAMPLE_SHIFT 30   /* one search in four is kept */
#define AGE_MS 600000     /* no sooner for new queries alone */
#define MIX 2654435761u

static void free_curve(void *curve)
{
    ak_free(curve);
}

void ak_calibration_init(struct ak_calibration *calibration)
{
    ak_mutex_init(&calibration->lock, AK_RANK_LEAF, "calibration");
    atomic_flag_clear(&calibration->working);
    ak_rand_seed(&calibration->rand, 0x5eed);
}

void ak_calibration_release(struct ak_calibration *calibration)
{
    ak_recall_end(calibration->run);
    ak_free(calibration->query);
    ak_free(calibration->queries);
    ak_free(atomic_load(&calibration->curve));
    ak_mutex_release(&calibration->lock);
}

size_t ak_calibration_bytes(const struct ak_collection *collection)
{
    const struct ak_calibration *calibration = &collection->calibration;
    size_t vector = collection->entry->info.dimension * sizeof(float);
    bool keeps = atomic_load_explicit(&calibration->keeps, memory_order_relaxed);
    return keeps ? (AK_CALIBRATION_KEPT + 1) * vector + sizeof(struct ak_recall_curve) : 0;
}

/* --- Searches --- */

/* Acquire pairs with the exchange in publish(). Inside the epoch. */
static const struct ak_recall_curve *curve_of(const struct ak_collection *collection)
{
    return atomic_load_explicit(&collection->calibration.curve, memory_order_acquire);
}

void ak_calibration_choose(const struct ak_collection *collection, const struct ak_search *search,
                           struct ak_index_query *query)
{
    static const struct ak_recall_curve unknown;
    query->exact = search->exact;
    query->ef = search->ef ? search->ef : collection->entry->info.index.ef_search;
    if (search->exact || search->ef || !(search->recall > 0.0)) {
        return;
    }
    const struct ak_recall_curve *curve = curve_of(collection);
    query->ef = ak_recall_ef(curve ? curve : &unknown, search->k, search->recall);
    if (query->ef == 0) {
        query->exact = true; /* no ef is enough */
    }
}

static bool is_due(const struct ak_collection *collection)
{
    const struct ak_calibration *calibration = &collection->calibration;
    const struct ak_recall_curve *curve = curve_of(collection);
    uint64_t live = ak_index_live(collection->index);
    uint32_t real = atomic_load_explicit(&calibration->count, memory_order_relaxed);
    uint32_t had = atomic_load_explicit(&calibration->had, memory_order_relaxed);
    if (!ak_index_has_graph(collection->index)) {
        return false;
    }
    int64_t age_ms = (ak_mono_ns(collection->engine->clock) -
                      atomic_load_explicit(&calibration->measured_ns, memory_order_relaxed)) /
                     1000000;
    return !curve || 2 * live > 3 * curve->rows || 3 * live < 2 * curve->rows ||
           atomic_load_explicit(&calibration->changes, memory_order_relaxed) > curve->rows / 2 ||
           (real >= REAL_MIN && real >= 2 * had) ||
           (age_ms >= AGE_MS &&
            atomic_load_explicit(&calibration->kept, memory_order_relaxed) >= AK_CALIBRATION_KEPT);
}

/* Without room, or while another search does the same, the vector is not kept. */
static void keep(struct ak_collection *collection, const float *vector)
{
    struct ak_calibration *calibration = &collection->calibration;
    size_t dimension = collection->entry->info.dimension;
    if (!ak_mutex_try_lock(&calibration->lock)) {
        return;
    }
    if (!calibration->queries) {
        calibration->queries = ak_try_alloc(AK_CALIBRATION_KEPT * dimension * sizeof(float));
        atomic_store_explicit(&calibration->keeps, calibration->queries != NULL,
                              memory_order_relaxed);
    }
    if (calibration->queries) {
        uint32_t count = atomic_load_explicit(&calibration->count, memory_order_relaxed);
        memcpy(calibration->queries + calibration->next * dimension, vector,
               dimension * sizeof(float));
        atomic_fetch_add_explicit(&calibration->kept, 1, memory_order_relaxed);
        calibration->next = (calibration->next + 1) % AK_CALIBRATION_KEPT;
        if (count < AK_CALIBRATION_KEPT) {
            atomic_store_explicit(&calibration->count, count + 1, memory_order_relaxed);
        }
    }
    ak_mutex_unlock(&calibration->lock);
}

bool ak_calibration_note(struct ak_collection *collection, const struct ak_search *search,
                         uint64_t distances)
{
    struct ak_calibration *calibration = &collection->calibration;
    if (!(search->recall > 0.0) || search->ef || search->exact ||
        !ak_index_has_graph(collection->index)) {
        return false;
    }
    /* What a search cost is as good as a die, and no counter has to be shared. */
    bool few =
        atomic_load_explicit(&calibration->count, memory_order_relaxed) < AK_CALIBRATION_KEPT;
    if (few || ((uint32_t)distances * MIX) >> SAMPLE_SHIFT == 0) {
        keep(collection, search->vector);
    }
    return is_due(collection) &&
           !atomic_exchange_explicit(&calibration->wanted, true, memory_order_acq_rel);
}

void ak_calibration_start(struct ak_collection *collection)
{
    struct ak_directory *dir = &collection->engine->directory;
    ak_mutex_lock(&dir->lock);
    collection->refs++;
    ak_builders_want(collection);
    ak_mutex_unlock(&dir->lock);
}

/* --- Measuring: one builder at a time --- */

bool ak_calibration_is_wanted(const struct ak_collection *collection)
{
    return atomic_load_explicit(&collection->calibration.wanted, memory_order_acquire);
}

static enum ak_rc begin(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_calibration *calibration = &collection->calibration;
    double dimension = (double)collection->entry->info.dimension;
    double work = dimension * (double)ak_index_live(collection->index);
    double most = work > WORK_MOST ? AK_CALIBRATION_KEPT * WORK_MOST / work : AK_CALIBRATION_KEPT;
    uint32_t real = atomic_load_explicit(&calibration->count, memory_order_relaxed);
    if (!calibration->query) {
        calibration->query = ak_try_alloc((size_t)dimension * sizeof(float));
        if (!calibration->query) {
            return ak_fail(err, AK_NOMEM, "no memory to measure recall");
        }
    }
    calibration->asked = 0;
    calibration->goal = most < QUERIES_MIN ? QUERIES_MIN : (uint32_t)most;
    calibration->real = real < calibration->goal ? real : calibration->goal;
    if (calibration->real >= REAL_MIN) {
        calibration->goal = calibration->real;
    }
    atomic_store_explicit(&calibration->changes, 0, memory_order_relaxed);
    atomic_store_explicit(&calibration->kept, 0, memory_order_relaxed);
    atomic_store_explicit(&calibration->had, real, memory_order_relaxed);
    atomic_store_explicit(&calibration->measured_ns, ak_mono_ns(collection->engine->clock),
                          memory_order_relaxed);
    return ak_recall_begin(collection->index, &calibration->run, err);
}

/* The next query; false: no rows are left to make one of. Inside the epoch. */
static bool next_query(struct ak_collection *collection, bool *is_real)
{
    struct ak_calibration *calibration = &collection->calibration;
    size_t dimension = collection->entry->info.dimension;
    *is_real = calibration->asked < calibration->real;
    if (!*is_real) {
        return ak_recall_invent(collection->index, &calibration->rand, calibration->query);
    }
    ak_mutex_lock(&calibration->lock);
    memcpy(calibration->query, calibration->queries + calibration->asked * dimension,
           dimension * sizeof(float));
    ak_mutex_unlock(&calibration->lock);
    return true;
}

static enum ak_rc publish(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_engine *engine = collection->engine;
    struct ak_calibration *calibration = &collection->calibration;
    struct ak_recall_curve *curve = ak_try_alloc(sizeof *curve);
    if (!curve) {
        return ak_fail(err, AK_NOMEM, "no memory for what was measured of recall");
    }
    ak_recall_result(calibration->run, curve);
    double recall = ak_recall_at(curve, 10, collection->entry->info.index.ef_search);
    ak_series_set(engine->m_search_recall, recall);
    struct ak_recall_curve *old =
        atomic_exchange_explicit(&calibration->curve, curve, memory_order_acq_rel);
    if (old) {
        ak_epoch_retire(engine->epoch, free_curve, old);
    }
    return AK_OK;
}

static enum ak_rc ask_some(struct ak_collection *collection, bool *done, struct ak_err *err)
{
    struct ak_engine *engine = collection->engine;
    struct ak_calibration *calibration = &collection->calibration;
    int64_t end_ns = ak_mono_ns(engine->clock) + SHARE_NS;
    enum ak_rc rc = calibration->run ? AK_OK : begin(collection, err);
    while (rc == AK_OK && !(*done = calibration->asked >= calibration->goal)) {
        bool is_real = false;
        unsigned token = ak_epoch_enter(engine->epoch);
        if (next_query(collection, &is_real)) {
            rc = ak_recall_ask(calibration->run, calibration->query, is_real, err);
            calibration->asked++;
        } else {
            calibration->goal = calibration->asked;
        }
        ak_epoch_leave(engine->epoch, token);
        if (ak_mono_ns(engine->clock) >= end_ns) {
            break;
        }
    }
    return rc;
}

bool ak_calibration_share(struct ak_collection *collection)
{
    struct ak_calibration *calibration = &collection->calibration;
    struct ak_err err;
    bool done = false;
    if (!ak_calibration_is_wanted(collection) ||
        atomic_flag_test_and_set_explicit(&calibration->working, memory_order_acquire)) {
        return false;
    }
    enum ak_rc rc = ask_some(collection, &done, &err);
    if (rc == AK_OK && done) {
        rc = publish(collection, &err);
    }
    if (rc != AK_OK) { /* the next search that asks starts anew */
        ak_log_warn(collection->engine->log, "engine", "recall of '%.*s' was not measured: %s",
                    AK_STR_ARG(collection->entry->info.name), err.text);
    }
    if (rc != AK_OK || done) {
        ak_recall_end(calibration->run);
        calibration->run = NULL;
        atomic_store_explicit(&calibration->wanted, false, memory_order_release);
    }
    atomic_flag_clear_explicit(&calibration->working, memory_order_release);
    return rc == AK_OK && !done;
}

/* --- The image --- */

enum ak_rc ak_calibration_write(const struct ak_collection *collection,
                                struct ak_image_writer *writer, struct ak_err *err)
{
    const struct ak_recall_curve *curve = curve_of(collection);
    return curve ? ak_image_put(writer, AK_IMAGE_RECALL, sizeof *curve, 1, curve, err) : AK_OK;
}

enum ak_rc ak_calibration_load(struct ak_collection *collection, struct ak_err *err)
{
    struct ak_image_section section;
    struct ak_recall_curve *curve = NULL;
    if (!ak_image_find(collection->image, AK_IMAGE_RECALL, &section)) {
        return AK_OK;
    }
    enum ak_rc rc =
        ak_image_need(collection->image, AK_IMAGE_RECALL, sizeof *curve, 1, &section, err);
    if (rc != AK_OK) {
        return rc;
    }
    curve = ak_try_alloc(sizeof *curve);
    if (!curve) {
        return ak_fail(err, AK_NOMEM, "what was measured of recall");
    }
    memcpy(curve, section.p, sizeof *curve);
    if (!ak_recall_is_sound(curve)) {
        ak_free(curve);
        return ak_fail(err, AK_CORRUPT, "the section about recall makes no sense");
    }
    atomic_store_explicit(&collection->calibration.had, curve->real, memory_order_relaxed);
    atomic_store_explicit(&collection->calibration.curve, curve, memory_order_release);
    return AK_OK;
}
