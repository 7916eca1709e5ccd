/* service_priv.h — what the service's files share. */
#pragma once
#include "base/pool.h"
#include "base/sync.h"
#include "base/uuid.h"
#include "service/service.h"
#include <stdatomic.h>

/* Distances that a search may compute on an event loop: about 0.1 ms at 512 dimensions. */
#define AK_INLINE_COST_MAX 3000u
/* Rows that a filter may look at there: a new key makes the engine read each one's metadata. */
#define AK_INLINE_FILTER_ROWS_MAX 500u
/* Documents of an upsert there. */
#define AK_INLINE_UPSERT_MAX 32u

/* A collection may become cold again before an operation gets to it, when the disk is short. */
#define AK_WAKES_MAX 3

struct ak_service {
    struct ak_engine *engine;
    struct ak_metrics *metrics;
    struct ak_log *log;
    struct ak_query_log *queries;
    const struct ak_clock *clock;
    struct ak_pool *pool;
    struct ak_pool *slow; /* what waits for jobs, stores and clients */
    struct ak_archive *archive;
    struct ak_tiers *tiers;
    struct ak_snapshot_options snapshots;
    struct ak_uuid_maker ids; /* of spool files */
    atomic_uint exports;      /* under way */
    _Atomic int64_t late_ns;  /* 0: not stopping; else when transfers end */
    struct ak_series *m_search_seconds, *m_upsert_seconds;
    struct ak_series *m_collections, *m_collections_open, *m_pending, *m_memory_process,
        *m_memory_collections, *m_memory_files, *m_wal_retained, *m_wal_state;
    struct ak_mutex lock; /* under_way reaching zero */
    struct ak_cond idle;
    _Atomic uint64_t under_way; /* operations that were started and are not done */
};

/* Every operation begins with one of these and ends with ak_op_done(). */
void ak_op_begin(struct ak_service *service, struct ak_op *op);
void ak_op_done(struct ak_op *op, enum ak_rc rc);
/* Begin, then run(op) here when it `is_quick` or the thread may block, else on a worker. */
void ak_op_start(struct ak_service *service, struct ak_op *op, bool is_quick,
                 void (*run)(struct ak_op *op));
/* --- service_probe.c: the query log --- */

/* Before an operation begins: is it one of the sample? Notes the collection's name. */
void ak_probe_choose(struct ak_service *service, struct ak_op *op,
                     const struct ak_collection *collection);
/* Is an operation that is not of one collection's from the beginning? Its table is named later. */
void ak_probe_choose_any(struct ak_service *service, struct ak_op *op);
/* Around what a thread does for an operation; all zero while its probe is off. */
struct ak_probe_span ak_probe_enter(const struct ak_op *op);
void ak_probe_leave(const struct ak_op *op, struct ak_probe_span *span);
void ak_probe_add(struct ak_op *op, const struct ak_probe_span *span);
/* Documents of a collection. */
uint64_t ak_probe_rows(struct ak_collection *collection);
/* Log an operation that has succeeded, just before it is done. No-op when its probe is off. `shape`
 * lacks the table. */
void ak_probe_log(struct ak_op *op, struct ak_query_shape shape, enum ak_query_index index);

/* Is the server stopping, and the time of grace over? */
bool ak_service_is_late(const struct ak_service *service);
/* Move an operation that has begun to a worker. */
void ak_op_move(struct ak_op *op, void (*run)(struct ak_op *op));
/* Begin, then run(op) on a thread that may wait for long, whatever op->may_block says. */
void ak_op_start_slow(struct ak_service *service, struct ak_op *op, void (*run)(struct ak_op *op));
/* Move one that has begun to such a thread; false: their queue is full, and it is as it was. */
AK_MUST bool ak_op_try_move_slow(struct ak_op *op, void (*run)(struct ak_op *op));
/* An operation that has begun found its collection cold: as ak_service_await(), on `pool`. */
void ak_op_await(struct ak_op *op, struct ak_str name_or_id, struct ak_pool *pool,
                 void (*run)(struct ak_op *op));
/* The operation that a commit belongs to. */
#define AK_OP_OF(member, type, pointer)                                                            \
    ((type *)(void *)(((char *)(pointer)) - offsetof(type, member)))
