/* manager_priv.h — what the manager's files share.
 *
 * Two locks, neither held over a call that can block: `lock` for queues and what is under way,
 * `uses_lock` for the memory of accesses (held over the engine's scan, which takes the directory's
 * lock in small pieces). They are never held together.
 */
#pragma once
#include "base/map.h"
#include "base/sync.h"
#include "tier/manager.h"
#include <stdatomic.h>

#define AK_TIER_BUCKETS 12 /* of a window */
#define AK_TIER_WAKE_CHAINS 1024u
#define AK_TIER_THREADS_MAX 64u
#define AK_TIER_RETRY_MAX_US (INT64_C(24) * 3600 * 1000000) /* what fails is tried again then */

/* --- uses.c: who was used when --- */

/* Accesses of one collection within its window, in twelfths of it. */
struct ak_tier_use {
    struct ak_uuid id;
    uint32_t accesses;                /* as the engine last counted */
    uint32_t scan;                    /* that met it last */
    uint32_t state;                   /* its place in that scan */
    uint32_t failures;                /* of moves, one after the other */
    int64_t retry_us;                 /* the policy leaves it alone until then */
    int64_t width_us;                 /* of a bucket */
    int64_t bucket;                   /* the newest: its time / width */
    uint32_t counts[AK_TIER_BUCKETS]; /* [bucket % AK_TIER_BUCKETS] */
    bool changed;                     /* since the last flush */
    uint8_t tier;
};

struct ak_tier_uses {
    struct ak_tier_use *list;
    uint32_t count, cap;
    uint32_t scan;
    struct ak_map by_id;
};

/* --- moves.c: what is to be done --- */

struct ak_tier_move {
    struct ak_uuid id;
    uint8_t from, to;
    uint8_t reason;            /* enum ak_tier_reason; AK_TIER_STAYS: into memory after a start */
    struct ak_tier_wait *wait; /* of one that was asked for; else NULL */
    int64_t decided_us;
    int64_t since_us; /* begun, when it runs */
};

/* What the worker knows of all collections during a pass; kept, since its size hardly changes. */
struct ak_tier_pass {
    struct ak_tier_state *states;
    struct ak_uuid *ids;
    uint32_t *scratch;
    struct ak_tier_decision *decisions;
    bool *wants_load; /* hot, open, and read from its image */
    size_t cap, count;
    struct ak_tier_rules *rules; /* [0] the node's */
    size_t rule_cap, rule_count;
};

/* --- wake.c --- */

struct ak_tier_wake {
    struct ak_uuid id;
    struct ak_tier_wait *first, *last;
    bool is_running;
    struct ak_tier_wake *next;       /* in the queue */
    struct ak_tier_wake *chain_next; /* in its chain */
};

struct ak_tiers {
    struct ak_tiers_options options;
    struct ak_engine *engine;
    struct ak_archive *archive;
    const struct ak_clock *clock;
    struct ak_log *log;

    struct ak_mutex uses_lock;
    struct ak_tier_uses uses;

    struct ak_mutex lock;
    struct ak_cond changed;    /* for movers and wakers: something to do, or an end */
    struct ak_cond work;       /* for the worker */
    _Atomic bool stops;        /* written under the lock; read in progress callbacks: with itself */
    _Atomic bool touched;      /* pairs with itself: only a hint */
    bool wants_pass;           /* asked for */
    struct ak_tier_wait *runs; /* for the next pass */
    struct ak_tier_wait *runs_now; /* for the end of the one under way */

    struct ak_tier_move *decided; /* of the present pass */
    size_t decided_count, decided_cap;
    size_t next_quick, next_far; /* the first that was not looked at: within this machine; to or
                                    from the store */
    size_t left;                 /* neither begun nor dropped */
    size_t deciding;             /* decided moves that run */
    struct ak_tier_wait *asked, **asked_tail;
    struct ak_tier_move running[AK_TIER_THREADS_MAX]; /* [0, running_count) */
    size_t running_count, running_far;
    int64_t far_after_ns; /* the store held up a demotion: none until then */
    int64_t far_pause_ms;

    struct ak_tier_wake *chains[AK_TIER_WAKE_CHAINS];
    struct ak_tier_wake *wakes, **wakes_tail; /* for a waker */
    size_t waking, waiting;
    size_t done, failed; /* moves of the present pass */

    /* the worker's, but for `pass_*`, which are under the lock */
    struct ak_tier_pass pass;
    int64_t next_pass_ns, next_look_ns, next_flush_ns;
    int64_t pressed_ms; /* pause between passes that a limit asks for */
    int64_t pass_us;
    double pass_seconds;
    size_t pass_collections, pass_decided;

    struct ak_thread worker;
    struct ak_thread movers[AK_TIER_THREADS_MAX], wakers[AK_TIER_THREADS_MAX];
    unsigned threads;
    struct ak_series *m_tier[AK_TIER_COUNT], *m_limit[2], *m_moving, *m_pass, *m_wait_ok,
        *m_wait_failed, *m_wait_seconds;
    struct ak_series *m_memory[2], *m_disk[2], *m_bucket; /* hot and warm; cold */
};

/* --- manager.c --- */

void ak_tiers_count_move(struct ak_tiers *tiers, enum ak_tier from, enum ak_tier to,
                         const char *reason, enum ak_rc rc, double seconds);
/* End every wait of a list. No lock held. */
void ak_tier_waits_done(struct ak_tier_wait *waits, enum ak_rc rc, const struct ak_err *why);
/* AK_UNAVAILABLE: the manager has stopped. */
enum ak_rc ak_tiers_fail_stopped(struct ak_err *err);

/* --- uses.c: uses_lock held for these --- */

void ak_tier_uses_init(struct ak_tier_uses *uses);
void ak_tier_uses_release(struct ak_tier_uses *uses);
/* NULL: not met yet. */
struct ak_tier_use *ak_tier_uses_find(struct ak_tier_uses *uses, const struct ak_uuid *id);
/* Enter what the engine says, found or made. AK_NOMEM. */
AK_MUST enum ak_rc ak_tier_uses_enter(struct ak_tier_uses *uses, const struct ak_tier_view *view,
                                      int64_t window_us, int64_t now_us, struct ak_tier_use **use,
                                      struct ak_err *err);
/* After a scan: forget what is gone. */
void ak_tier_uses_sweep(struct ak_tier_uses *uses);
/* Within the window that ends now. */
uint32_t ak_tier_use_sum(const struct ak_tier_use *use, int64_t now_us);
void ak_tier_use_forget(struct ak_tier_use *use);
/* When the window's first access may have been; 0: none. */
int64_t ak_tier_use_from(const struct ak_tier_use *use, int64_t now_us);

/* --- pass.c: look, decide, flush; the worker's thread --- */

/* The uses of all, the states in pass->states; *busy: a warm one has accesses enough. */
AK_MUST enum ak_rc ak_tiers_look(struct ak_tiers *tiers, bool *busy, struct ak_err *err);
/* Decide over what was looked at since began_ns, and hand it to the movers. */
void ak_tiers_decide(struct ak_tiers *tiers, int64_t began_ns);
AK_MUST enum ak_rc ak_tiers_flush(struct ak_tiers *tiers, struct ak_err *err);
void ak_tiers_work(void *tiers); /* the worker's thread */

/* --- moves.c --- */

void ak_tiers_move(void *tiers);                                  /* a mover's thread */
const char *ak_tier_move_reason(const struct ak_tier_move *move); /* "idle" … "manual" "load" */
/* Is it running, asked for or coming back? Lock held. */
bool ak_tiers_is_moving(struct ak_tiers *tiers, const struct ak_uuid *id, enum ak_tier *to);
/* Waits for the end of a pass whose last move has ended, taken out. Lock held. */
struct ak_tier_wait *ak_tiers_pass_ended(struct ak_tiers *tiers);

/* --- wake.c --- */

void ak_tiers_wakes(void *tiers); /* a waker's thread */
/* A move that was asked for and whose collection must be awake first: asked for again then. */
void ak_tiers_wake_first(struct ak_tiers *tiers, struct ak_tier_wait *wait);
/* End the waits that take too long. */
void ak_tiers_expire(struct ak_tiers *tiers);
/* Lock held for these. */
bool ak_tiers_is_waking(const struct ak_tiers *tiers, const struct ak_uuid *id);
struct ak_tier_wait *ak_tiers_take_wakes(struct ak_tiers *tiers); /* at the end: all waits */
void ak_tiers_ask(struct ak_tiers *tiers, struct ak_tier_wait *wait);
