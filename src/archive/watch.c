/* watch.c — those who wait for jobs, without a thread each.
 *
 *     watched ──the job is over, the time is up, the server stops──▶ due ──▶ told, by one thread
 *
 * W1  A watch is in one of the two lists from ak_archive_watch() until just before it is told; it
 *     is told once, and then is the caller's again.
 * W2  Whether a job is over is looked up when its watch comes, and told by whoever takes the job
 *     out, under the same lock: no end is missed.
 */
#include "archive/archive_priv.h"

/* Lock held. */
static void make_due(struct ak_archive *archive, struct ak_job_watch **at)
{
    struct ak_job_watch *watch = *at;
    *at = watch->next;
    watch->next = archive->due;
    archive->due = watch;
    ak_cond_signal(&archive->has_due);
}

void ak_archive_watch(struct ak_archive *archive, struct ak_job_watch *watch)
{
    int64_t now_ns = ak_mono_ns(ak_clock_system());
    watch->end_ns = watch->timeout_ms < 0 || watch->timeout_ms > (INT64_MAX - now_ns) / 1000000
                        ? INT64_MAX
                        : now_ns + watch->timeout_ms * 1000000;
    ak_mutex_lock(&archive->lock);
    watch->next = archive->watched;
    archive->watched = watch;
    if (archive->no_watching || !ak_archive_job_find(archive, &watch->job)) {
        make_due(archive, &archive->watched);
    } else if (watch->end_ns < archive->next_end_ns) {
        archive->next_end_ns = watch->end_ns;
        ak_cond_signal(&archive->has_due);
    }
    ak_mutex_unlock(&archive->lock);
}

void ak_archive_watches_end(struct ak_archive *archive, const struct ak_uuid *job)
{
    for (struct ak_job_watch **at = &archive->watched; *at;) {
        if (!job || ak_uuid_eq(&(*at)->job, job)) {
            make_due(archive, at);
        } else {
            at = &(*at)->next;
        }
    }
}

void ak_archive_unwatch(struct ak_archive *archive)
{
    ak_mutex_lock(&archive->lock);
    archive->no_watching = true;
    ak_archive_watches_end(archive, NULL);
    ak_mutex_unlock(&archive->lock);
}

/* Those whose time is up are due; next_end_ns is when another one's is. Lock held. */
static void look_at_the_clock(struct ak_archive *archive, int64_t now_ns)
{
    archive->next_end_ns = INT64_MAX;
    for (struct ak_job_watch **at = &archive->watched; *at;) {
        if ((*at)->end_ns <= now_ns) {
            make_due(archive, at);
            continue;
        }
        if ((*at)->end_ns < archive->next_end_ns) {
            archive->next_end_ns = (*at)->end_ns;
        }
        at = &(*at)->next;
    }
}

static void tell_all(struct ak_archive *archive)
{
    while (archive->due) {
        struct ak_job_watch *watch = archive->due;
        archive->due = watch->next;
        ak_mutex_unlock(&archive->lock);
        watch->fn(watch);
        ak_mutex_lock(&archive->lock);
    }
}

static void tell(void *arg)
{
    struct ak_archive *archive = arg;
    ak_mutex_lock(&archive->lock);
    for (;;) {
        int64_t now_ns = ak_mono_ns(ak_clock_system());
        if (archive->next_end_ns <= now_ns) {
            look_at_the_clock(archive, now_ns);
        }
        tell_all(archive);
        if (archive->teller_stops) {
            break;
        }
        if (archive->due || archive->next_end_ns <= ak_mono_ns(ak_clock_system())) {
            continue; /* it came while others were told */
        }
        if (archive->next_end_ns == INT64_MAX) {
            ak_cond_wait(&archive->has_due, &archive->lock);
        } else {
            int64_t left_ms = (archive->next_end_ns - ak_mono_ns(ak_clock_system())) / 1000000;
            (void)ak_cond_wait_ms(&archive->has_due, &archive->lock, left_ms + 1);
        }
    }
    ak_mutex_unlock(&archive->lock);
}

enum ak_rc ak_archive_teller_start(struct ak_archive *archive, struct ak_err *err)
{
    return ak_thread_start(&archive->teller, "ak-watch", tell, archive, err);
}

void ak_archive_teller_stop(struct ak_archive *archive)
{
    ak_archive_unwatch(archive);
    ak_mutex_lock(&archive->lock);
    archive->teller_stops = true;
    ak_cond_signal(&archive->has_due);
    ak_mutex_unlock(&archive->lock);
    ak_thread_join(&archive->teller);
}
