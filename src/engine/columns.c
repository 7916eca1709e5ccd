/* columns.c — the columns of one collection: making, reading, evicting; groups of conditions.
 *
 * Two locks. `lock` (read: evaluate a condition; write: store a slot, make or evict a column) is
 * held over one pass over a column, or over the reading of READ_STEP documents, and no longer;
 * writers go first. `building` (AK_RANK_COLUMNS, taken before it) lets one match at a time read
 * documents, so that matches that want the same column do not read twice.
 *
 * I1  a pinned column is not evicted: its address is good until the pin goes. What it holds may be
 *     cleared at any time under the write lock (no memory, over the ceiling); its evaluation then
 *     finds slots unread, or is_given_up, and the match reads again or falls back to documents.
 * I2  only slots that a match's bitmap shows live are read: no writer can be storing them. Rows
 * that a writer stored before a column was made stay unread until they are live in a bitmap. I3  a
 * slot is stored (ak_columns_set) before it is live, so its code is never an older row's.
 *
 * The metadata callback runs under the write lock: that orders each reading before any later set.
 */
#include "engine/columns.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/sync.h"
#include "engine/columns_priv.h"
#include <pthread.h>
#include <string.h>

#define READ_STEP 256u /* documents read under one hold of the write lock: below a millisecond */
#define TRIES_MAX 8u   /* columns cleared while they are made, before a match gives up */

struct ak_columns {
    ak_columns_metadata_fn metadata;
    void *ctx;
    struct ak_mutex building;
    pthread_rwlock_t lock;
    struct ak_column *columns[AK_COLUMNS_MAX];
    _Atomic unsigned count; /* written under the write lock; set reads it without any */
    _Atomic size_t bytes;   /* the same; a plain sum for ak_columns_bytes */
    _Atomic uint64_t ticks;
    unsigned count_max;
    size_t bytes_max;
};

/* What one match uses. */
struct plan {
    struct ak_columns *columns;
    struct ak_str keys[AK_COLUMNS_MAX];
    struct ak_column *pinned[AK_COLUMNS_MAX]; /* by key; NULL: documents are read for it */
    size_t key_count;
    const uint64_t *live;
    uint64_t words;
    uint64_t *scratch; /* two rows of `words` for each level of nesting */
};

enum ak_rc ak_columns_open(struct ak_columns **columns, ak_columns_metadata_fn metadata, void *ctx,
                           struct ak_err *err)
{
    struct ak_columns *made = ak_try_zalloc(sizeof *made);
    pthread_rwlockattr_t attr;
    if (!made) {
        return ak_fail(err, AK_NOMEM, "no memory for filter columns");
    }
    made->metadata = metadata;
    made->ctx = ctx;
    made->count_max = AK_COLUMNS_MAX;
    made->bytes_max = AK_COLUMNS_BYTES_MAX;
    ak_mutex_init(&made->building, AK_RANK_COLUMNS, "columns building");
    (void)pthread_rwlockattr_init(&attr);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    AK_ASSERT(pthread_rwlock_init(&made->lock, &attr) == 0);
    (void)pthread_rwlockattr_destroy(&attr);
    *columns = made;
    return AK_OK;
}

void ak_columns_close(struct ak_columns *columns)
{
    if (columns) {
        for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
            ak_column_close(columns->columns[i]);
        }
        (void)pthread_rwlock_destroy(&columns->lock);
        ak_mutex_release(&columns->building);
        ak_free(columns);
    }
}

void ak_columns_limit(struct ak_columns *columns, unsigned count_max, size_t bytes_max)
{
    columns->count_max = count_max && count_max < AK_COLUMNS_MAX ? count_max : AK_COLUMNS_MAX;
    columns->bytes_max = bytes_max ? bytes_max : AK_COLUMNS_BYTES_MAX;
}

size_t ak_columns_bytes(const struct ak_columns *columns)
{
    return sizeof *columns + atomic_load_explicit(&columns->bytes, memory_order_relaxed);
}

static void lock_read(struct ak_columns *columns)
{
    AK_ASSERT(pthread_rwlock_rdlock(&columns->lock) == 0);
}

static void lock_write(struct ak_columns *columns)
{
    AK_ASSERT(pthread_rwlock_wrlock(&columns->lock) == 0);
}

static void unlock(struct ak_columns *columns)
{
    AK_ASSERT(pthread_rwlock_unlock(&columns->lock) == 0);
}

/* --- Keeping within the ceilings; write lock held --- */

static size_t sum_bytes(struct ak_columns *columns)
{
    size_t sum = 0;
    for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
        sum += ak_column_bytes(columns->columns[i]);
    }
    atomic_store_explicit(&columns->bytes, sum, memory_order_relaxed);
    return sum;
}

/* Drop the least recently used column that no match has pinned; false when there is none. */
static bool evict_one(struct ak_columns *columns)
{
    unsigned count = atomic_load(&columns->count);
    unsigned victim = count;
    for (unsigned i = 0; i < count; i++) {
        if (atomic_load(&columns->columns[i]->pins) == 0 &&
            (victim == count || atomic_load(&columns->columns[i]->last_used) <
                                    atomic_load(&columns->columns[victim]->last_used))) {
            victim = i;
        }
    }
    if (victim == count) {
        return false;
    }
    ak_column_close(columns->columns[victim]);
    columns->columns[victim] = columns->columns[count - 1];
    atomic_store(&columns->count, count - 1);
    return true;
}

static void give_up_largest(struct ak_columns *columns)
{
    struct ak_column *largest = NULL;
    for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
        struct ak_column *column = columns->columns[i];
        if (!largest || ak_column_bytes(column) > ak_column_bytes(largest)) {
            largest = column;
        }
    }
    if (largest) {
        ak_column_clear(largest);
        largest->is_given_up = true;
    }
}

static void keep_within_bytes(struct ak_columns *columns)
{
    for (unsigned left = AK_COLUMNS_MAX; sum_bytes(columns) > columns->bytes_max && left; left--) {
        if (!evict_one(columns)) {
            give_up_largest(columns);
        }
    }
}

/* --- Reading documents into columns; write lock held --- */

static void on_found(void *ctx, size_t key, const struct ak_filter_value *value)
{
    struct ak_column *const *columns = ctx;
    ak_column_found(columns[key], value);
}

/* false: one of them found no memory and is empty now. */
static bool read_slot(struct ak_column **columns, size_t count, uint64_t slot,
                      struct ak_str metadata)
{
    struct ak_str keys[AK_COLUMNS_MAX];
    bool is_stored = true;
    AK_ASSERT(count > 0);
    for (size_t i = 0; i < count; i++) {
        keys[i] = columns[i]->key;
        ak_column_begin(columns[i]);
    }
    bool is_whole = ak_filter_visit(metadata, keys, count, on_found, columns);
    for (size_t i = 0; i < count; i++) {
        columns[i]->found_failed = columns[i]->found_failed || !is_whole;
        is_stored = ak_column_store(columns[i], slot) && is_stored;
    }
    return is_stored;
}

void ak_columns_set(struct ak_columns *columns, uint32_t slot, struct ak_str metadata)
{
    struct ak_column *open[AK_COLUMNS_MAX];
    size_t count = 0;
    if (atomic_load_explicit(&columns->count, memory_order_acquire) == 0) {
        return; /* I2: a column made from now on reads this slot once it is live */
    }
    lock_write(columns);
    for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
        if (!columns->columns[i]->is_given_up) {
            open[count++] = columns->columns[i];
        }
    }
    if (count) {
        (void)read_slot(open, count, slot, metadata);
        keep_within_bytes(columns);
    }
    unlock(columns);
}

void ak_columns_cut(struct ak_columns *columns, uint64_t slots)
{
    lock_write(columns);
    for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
        ak_column_cut(columns->columns[i], slots);
    }
    (void)sum_bytes(columns);
    unlock(columns);
}

/* --- A match's columns --- */

static void collect_keys(struct plan *plan, const struct ak_filter *filter)
{
    if (filter->kind == AK_FILTER_GROUP) {
        for (size_t i = 0; i < filter->must_count; i++) {
            collect_keys(plan, filter->must[i]);
        }
        for (size_t i = 0; i < filter->should_count; i++) {
            collect_keys(plan, filter->should[i]);
        }
        for (size_t i = 0; i < filter->must_not_count; i++) {
            collect_keys(plan, filter->must_not[i]);
        }
        return;
    }
    for (size_t i = 0; i < plan->key_count; i++) {
        if (ak_str_eq(plan->keys[i], filter->key)) {
            return;
        }
    }
    if (plan->key_count < AK_COLUMNS_MAX) {
        plan->keys[plan->key_count++] = filter->key;
    }
}

static struct ak_column *pin(struct ak_columns *columns, struct ak_str key)
{
    for (unsigned i = 0; i < atomic_load(&columns->count); i++) {
        struct ak_column *column = columns->columns[i];
        if (ak_str_eq(column->key, key)) {
            atomic_fetch_add(&column->pins, 1);
            atomic_store(&column->last_used, atomic_fetch_add(&columns->ticks, 1) + 1);
            return column;
        }
    }
    return NULL;
}

/* Write lock held. NULL: all places are taken by columns in use. */
static struct ak_column *make(struct ak_columns *columns, struct ak_str key, bool *no_memory)
{
    struct ak_column *column = NULL;
    if (atomic_load(&columns->count) < columns->count_max || evict_one(columns)) {
        column = ak_column_open(key);
        *no_memory = *no_memory || !column;
    }
    if (!column) {
        return NULL;
    }
    unsigned count = atomic_load(&columns->count);
    columns->columns[count] = column;
    atomic_store_explicit(&columns->count, count + 1, memory_order_release);
    return pin(columns, key);
}

static enum ak_rc pin_all(struct plan *plan, struct ak_err *err)
{
    struct ak_columns *columns = plan->columns;
    bool no_memory = false;
    size_t missing = 0;
    lock_read(columns);
    for (size_t i = 0; i < plan->key_count; i++) {
        plan->pinned[i] = pin(columns, plan->keys[i]);
        missing += plan->pinned[i] == NULL;
    }
    unlock(columns);
    if (missing) {
        lock_write(columns);
        for (size_t i = 0; i < plan->key_count; i++) {
            if (!plan->pinned[i]) { /* another match may have made it meanwhile */
                plan->pinned[i] = pin(columns, plan->keys[i]);
            }
            if (!plan->pinned[i]) {
                plan->pinned[i] = make(columns, plan->keys[i], &no_memory);
            }
        }
        (void)sum_bytes(columns);
        unlock(columns);
    }
    return no_memory ? ak_fail(err, AK_NOMEM, "no memory for a filter column") : AK_OK;
}

static void unpin_all(struct plan *plan)
{
    for (size_t i = 0; i < plan->key_count; i++) {
        if (plan->pinned[i]) {
            atomic_fetch_sub(&plan->pinned[i]->pins, 1);
        }
    }
}

/* Which slots of a word some pinned column has not read. Either lock held. */
static uint64_t unread_in(const struct plan *plan, uint64_t word)
{
    uint64_t unread = 0;
    for (size_t i = 0; i < plan->key_count; i++) {
        const struct ak_column *column = plan->pinned[i];
        if (column && !column->is_given_up) {
            unread |= ak_column_needs(column, word, plan->live[word]);
        }
    }
    return unread;
}

static bool is_all_read(struct plan *plan)
{
    bool is_read = true;
    lock_read(plan->columns);
    for (uint64_t word = 0; word < plan->words && is_read; word++) {
        is_read = unread_in(plan, word) == 0;
    }
    unlock(plan->columns);
    return is_read;
}

/* Write lock held: read the slots of one word. */
static bool read_word(struct plan *plan, uint64_t word, uint64_t unread)
{
    bool is_stored = true;
    for (; unread && is_stored; unread &= unread - 1) {
        struct ak_column *wanting[AK_COLUMNS_MAX];
        uint64_t bit = unread & (0 - unread);
        uint64_t slot = word * 64 + (uint64_t)__builtin_ctzll(unread);
        size_t count = 0;
        for (size_t i = 0; i < plan->key_count; i++) {
            struct ak_column *column = plan->pinned[i];
            if (column && !column->is_given_up && ak_column_needs(column, word, bit)) {
                wanting[count++] = column;
            }
        }
        if (count) {
            struct ak_str metadata = plan->columns->metadata(plan->columns->ctx, (uint32_t)slot);
            is_stored = read_slot(wanting, count, slot, metadata);
        }
    }
    return is_stored;
}

/* One sweep over the live slots. false: no memory. */
static bool read_missing(struct plan *plan)
{
    bool is_stored = true;
    uint64_t word = 0;
    while (word < plan->words && is_stored) {
        lock_write(plan->columns);
        for (unsigned step = 0; word < plan->words && step < READ_STEP && is_stored; word++) {
            uint64_t unread = unread_in(plan, word);
            step += 1u + (unsigned)__builtin_popcountll(unread);
            is_stored = read_word(plan, word, unread);
        }
        keep_within_bytes(plan->columns);
        unlock(plan->columns);
    }
    return is_stored;
}

/* Make every pinned column cover the live slots. A column can lose what it has while others are
 * read (I1), hence the repetition. */
static enum ak_rc prepare(struct plan *plan, struct ak_err *err)
{
    for (unsigned tries = 0; !is_all_read(plan); tries++) {
        ak_mutex_lock(&plan->columns->building);
        bool is_stored = tries < TRIES_MAX && read_missing(plan);
        ak_mutex_unlock(&plan->columns->building);
        if (!is_stored) {
            return ak_fail(err, AK_NOMEM, "no memory for a filter column");
        }
    }
    return AK_OK;
}

/* --- Evaluation: out = care ∧ filter --- */

static void eval_documents(const struct plan *plan, const struct ak_filter *leaf,
                           const uint64_t *care, uint64_t *out)
{
    for (uint64_t word = 0; word < plan->words; word++) {
        out[word] = 0;
        for (uint64_t left = care[word]; left; left &= left - 1) {
            uint64_t slot = word * 64 + (uint64_t)__builtin_ctzll(left);
            struct ak_str metadata = plan->columns->metadata(plan->columns->ctx, (uint32_t)slot);
            if (ak_filter_matches(leaf, metadata)) {
                out[word] |= left & (0 - left);
            }
        }
    }
}

static enum ak_rc eval_leaf(const struct plan *plan, const struct ak_filter *leaf,
                            const uint64_t *care, uint64_t *out, struct ak_err *err)
{
    struct ak_column *column = NULL;
    for (size_t i = 0; i < plan->key_count && !column; i++) {
        column = ak_str_eq(plan->keys[i], leaf->key) ? plan->pinned[i] : NULL;
    }
    bool is_usable = column != NULL;
    enum ak_rc rc = AK_OK;
    if (column) {
        lock_read(plan->columns);
        is_usable = !column->is_given_up;
        for (uint64_t word = 0; word < plan->words && is_usable; word++) {
            is_usable = ak_column_needs(column, word, care[word]) == 0; /* I1 */
        }
        if (is_usable) {
            rc = ak_column_eval(column, leaf, plan->words, care, out, err);
        }
        unlock(plan->columns);
    }
    if (!is_usable) {
        eval_documents(plan, leaf, care, out);
    }
    return rc;
}

static enum ak_rc eval(const struct plan *plan, const struct ak_filter *filter, unsigned depth,
                       const uint64_t *care, uint64_t *out, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (filter->kind != AK_FILTER_GROUP) {
        return eval_leaf(plan, filter, care, out, err);
    }
    uint64_t words = plan->words;
    uint64_t *some = plan->scratch + (size_t)depth * 2 * words;
    uint64_t *left = some + words;
    memcpy(out, care, words * sizeof *out);
    for (size_t i = 0; i < filter->must_count && rc == AK_OK; i++) {
        rc = eval(plan, filter->must[i], depth + 1, out, some, err);
        memcpy(out, some, words * sizeof *out);
    }
    if (filter->should_count && rc == AK_OK) {
        memcpy(left, out, words * sizeof *left); /* what no alternative has let in yet */
        for (size_t i = 0; i < filter->should_count && rc == AK_OK; i++) {
            rc = eval(plan, filter->should[i], depth + 1, left, some, err);
            for (uint64_t word = 0; word < words; word++) {
                left[word] &= ~some[word];
            }
        }
        for (uint64_t word = 0; word < words; word++) {
            out[word] &= ~left[word];
        }
    }
    for (size_t i = 0; i < filter->must_not_count && rc == AK_OK; i++) {
        rc = eval(plan, filter->must_not[i], depth + 1, out, some, err);
        for (uint64_t word = 0; word < words; word++) {
            out[word] &= ~some[word];
        }
    }
    return rc;
}

static unsigned depth_of_list(const struct ak_filter *const *filters, size_t count);

static unsigned depth_of(const struct ak_filter *filter)
{
    if (filter->kind != AK_FILTER_GROUP) {
        return 0;
    }
    unsigned depth = depth_of_list(filter->must, filter->must_count);
    unsigned should = depth_of_list(filter->should, filter->should_count);
    unsigned must_not = depth_of_list(filter->must_not, filter->must_not_count);
    depth = depth < should ? should : depth;
    return 1 + (depth < must_not ? must_not : depth);
}

static unsigned depth_of_list(const struct ak_filter *const *filters, size_t count)
{
    unsigned deepest = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned depth = depth_of(filters[i]);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

enum ak_rc ak_columns_match(struct ak_columns *columns, const struct ak_filter *filter,
                            uint64_t slots, const uint64_t *live, uint64_t *out, uint64_t *count,
                            struct ak_err *err)
{
    struct plan plan = {.columns = columns, .words = (slots + 63) / 64};
    size_t rows =
        2 + 2 * (size_t)depth_of(filter); /* live bits cut at `slots`, the answer, levels */
    size_t bytes = 0;
    uint64_t *memory =
        ak_mul_overflows(rows * sizeof *memory, plan.words, &bytes) ? NULL : ak_try_alloc(bytes);
    if (!memory) {
        return ak_fail(err, AK_NOMEM, "no memory to evaluate a filter over %llu documents",
                       (unsigned long long)slots);
    }
    uint64_t *answer = memory + plan.words;
    memcpy(memory, live, plan.words * sizeof *memory);
    if (slots % 64) {
        memory[plan.words - 1] &= UINT64_MAX >> (64 - slots % 64);
    }
    plan.live = memory;
    plan.scratch = answer + plan.words;
    collect_keys(&plan, filter);
    enum ak_rc rc = pin_all(&plan, err);
    rc = rc == AK_OK ? prepare(&plan, err) : rc;
    rc = rc == AK_OK ? eval(&plan, filter, 0, plan.live, answer, err) : rc;
    unpin_all(&plan);
    if (rc == AK_OK) {
        uint64_t found = 0;
        for (uint64_t word = 0; word < plan.words; word++) {
            found += (uint64_t)__builtin_popcountll(answer[word]);
        }
        memcpy(out, answer, plan.words * sizeof *out);
        *count = found;
    }
    ak_free(memory);
    return rc;
}
