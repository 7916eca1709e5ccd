/* manager.h — keeps every collection in the tier where it belongs: decides by policy.h, and carries
 * out what was decided or asked for.
 *
 *   worker   looks at the uses of all collections, decides, and makes access times durable
 *   movers   carry out moves, a few at a time; what somebody asked for goes first
 *   wakers   bring cold collections back that a request waits for: one fetch a collection, however
 *            many wait, and never behind a demotion
 *
 * Nothing here is needed for safety: each move has its one commit point below (engine/tiering.h,
 * archive/archive.h), and what a crash or the end of the process breaks off is finished or undone
 * by the next open and decided again by the next pass.
 *
 * Threads: any call from any thread, open and close by one. Waits are told on a thread of the
 * manager, or on the caller's when there is nothing to wait for; they must not block.
 */
#pragma once
#include "archive/archive.h"
#include "engine/tiering.h"
#include "tier/policy.h"

struct ak_tiers;

struct ak_tiers_options {
    struct ak_engine *engine;     /* required; outlives the manager */
    struct ak_archive *archive;   /* required; outlives the manager */
    const struct ak_clock *clock; /* NULL: the system's */
    struct ak_log *log;           /* may be NULL */
    struct ak_metrics *metrics;   /* may be NULL; not rendered after close */
    bool
        is_off; /* nothing moves by itself: only by writes, by requests for a cold one, and asked */
    struct ak_tier_rules rules; /* of collections that have none of their own */
    struct ak_tier_limits limits;
    uint32_t interval_ms;  /* between two passes; 0: 5 min */
    uint32_t flush_ms;     /* access times become durable so often; 0: 1 min */
    uint32_t wake_wait_ms; /* a wait for a cold collection ends after this; 0: 1 min */
    unsigned threads;      /* moves at a time, and wakes at a time; 0: 4 */
};

/* AK_INVALID: the rules. */
AK_MUST enum ak_rc ak_tiers_open(const struct ak_tiers_options *options, struct ak_tiers **tiers,
                                 struct ak_err *err);
/* No move begins any more, those under way end at their next safe point, and every wait ends with
 * AK_UNAVAILABLE, now and later. Does not wait. NULL is fine; idempotent. */
void ak_tiers_stop(struct ak_tiers *tiers);
/* Stop, keep the access times, free. Before the archive. NULL is fine. */
void ak_tiers_close(struct ak_tiers *tiers);

/* Somebody uses collections: the worker looks soon whether one became busy. Costs a load. */
void ak_tiers_touch(struct ak_tiers *tiers);

/* --- Waits: in the caller's storage until `done` is called, once --- */

struct ak_tier_wait {
    /* `why` is valid during the call. */
    void (*done)(struct ak_tier_wait *wait, enum ak_rc rc, const struct ak_err *why);
    struct ak_tier_wait *next; /* these are the manager's */
    int64_t began_ns;
    enum ak_tier to;
    bool is_woken;
    struct ak_uuid id;
};

/* The collection is COLD: bring it back. Joins what is under way. AK_UNAVAILABLE: the store is
 * away, or it takes longer than wake_wait_ms (and goes on); AK_NOT_FOUND: it was dropped. */
void ak_tiers_wake(struct ak_tiers *tiers, const struct ak_uuid *id, struct ak_tier_wait *wait);
/* A pass now; done when all that it decided was carried out or has failed. AK_CONFLICT: the manager
 * is off. */
void ak_tiers_run(struct ak_tiers *tiers, struct ak_tier_wait *wait);

enum ak_tier_action {
    AK_TIER_PIN, /* stays where it is, whatever the rules and limits */
    AK_TIER_UNPIN,
    AK_TIER_PROMOTE_TO_HOT,
    AK_TIER_PROMOTE_TO_WARM,
    AK_TIER_DEMOTE_TO_WARM,
    AK_TIER_DEMOTE_TO_COLD,
    AK_TIER_ACTION_COUNT
};
const char *ak_tier_action_name(enum ak_tier_action action); /* "pin" … "demote_to_cold" */
AK_MUST bool ak_tier_action_parse(struct ak_str text, enum ak_tier_action *action);

/* On a thread that may block. Being there already is a success; a promotion counts as a use, and a
 * demotion forgets the uses so far, so that the next pass does not undo it. AK_CONFLICT: the wrong
 * direction, pinned and to go down, or written meanwhile. */
void ak_tiers_act(struct ak_tiers *tiers, struct ak_str name_or_id, enum ak_tier_action action,
                  struct ak_tier_wait *wait);

/* --- Looking --- */

struct ak_tier_status {
    struct ak_tier_view view;
    struct ak_str name;         /* in the arena */
    struct ak_tier_rules rules; /* in force */
    uint32_t accesses;          /* within their window */
    uint64_t bucket_bytes;      /* of the snapshot that covers it */
    bool is_moving;             /* or about to */
    enum ak_tier moving_to;
    struct ak_tier_outlook next; /* what the policy does when nobody uses it */
};
/* Without counting as a use. AK_NOT_FOUND. */
AK_MUST enum ak_rc ak_tiers_status(struct ak_tiers *tiers, struct ak_str name_or_id,
                                   struct ak_arena *arena, struct ak_tier_status *status,
                                   struct ak_err *err);

#define AK_TIER_SHOWN_MAX 32 /* moves in progress that are told one by one */

struct ak_tiers_overview {
    struct ak_tier_usage usage;
    struct ak_tier_rules rules;
    struct ak_tier_limits limits;
    bool is_off;
    uint32_t interval_ms;
    struct ak_tier_progress {
        struct ak_uuid id;
        enum ak_tier from, to;
        const char *reason;
        int64_t since_us;
    } moving[AK_TIER_SHOWN_MAX];
    size_t moving_count; /* may be more than are shown */
    size_t queued;       /* decided or asked for, and not begun */
    size_t waking;       /* cold collections that come back, or are about to, for a request */
    size_t waiting;      /* requests that wait for them */
    struct {
        int64_t at_us; /* 0: none yet */
        double seconds;
        size_t collections, decided, done, failed;
    } pass; /* the last one */
};
void ak_tiers_overview(struct ak_tiers *tiers, struct ak_tiers_overview *overview);
