/* sender.c — a thread with one place: empty, or a batch that is being sent. */
#include "cli/sender.h"
#include "base/mem.h"
#include "base/sync.h"
#include <inttypes.h>
#include <string.h>

struct ak_sender {
    struct ak_sender_options options;
    char *path;
    struct ak_thread thread;
    struct ak_mutex lock; /* all below */
    struct ak_cond changed;
    struct ak_buf batch; /* the thread's while `sending` */
    uint64_t documents;  /* in the batch */
    uint64_t sent;       /* before it */
    bool sending;
    bool stop;
    struct ak_buf answer; /* the thread's */
    struct ak_err err;    /* why it stopped; rc AK_OK while all is well */
};

static void send_batch(struct ak_sender *sender, struct ak_err *err)
{
    const struct ak_request request = {
        .method = "POST",
        .path = sender->path,
        .content_type = sender->options.content_type,
        .body = ak_buf_str(&sender->batch),
        .timeout_ms = sender->options.timeout_ms,
    };
    enum ak_rc rc = ak_client_call(sender->options.client, &request, &sender->answer, err);
    if (rc != AK_OK) {
        (void)ak_wrap(err, rc, "documents %" PRIu64 " to %" PRIu64, sender->sent + 1,
                      sender->sent + sender->documents);
    }
}

static void run(void *arg)
{
    struct ak_sender *sender = arg;
    ak_mutex_lock(&sender->lock);
    for (;;) {
        while (!sender->sending && !sender->stop) {
            ak_cond_wait(&sender->changed, &sender->lock);
        }
        if (!sender->sending) {
            break;
        }
        struct ak_err err = {0};
        ak_mutex_unlock(&sender->lock);
        send_batch(sender, &err);
        ak_mutex_lock(&sender->lock);
        sender->err = err;
        sender->sent += sender->documents;
        sender->sending = false;
        ak_buf_clear(&sender->batch);
        ak_cond_broadcast(&sender->changed);
    }
    ak_mutex_unlock(&sender->lock);
}

enum ak_rc ak_sender_open(const struct ak_sender_options *options, struct ak_sender **sender,
                          struct ak_err *err)
{
    struct ak_sender *made = ak_zalloc(sizeof *made);
    made->options = *options;
    made->path = ak_strdup_n(options->path, strlen(options->path));
    ak_mutex_init(&made->lock, AK_RANK_LEAF, "sender");
    ak_cond_init(&made->changed);
    ak_buf_init(&made->batch, 0);
    ak_buf_init(&made->answer, 0);
    enum ak_rc rc = ak_thread_start(&made->thread, "akidb-send", run, made, err);
    if (rc != AK_OK) {
        ak_sender_close(made);
        return rc;
    }
    *sender = made;
    return AK_OK;
}

void ak_sender_close(struct ak_sender *sender)
{
    if (!sender) {
        return;
    }
    ak_mutex_lock(&sender->lock);
    sender->stop = true;
    ak_cond_broadcast(&sender->changed);
    ak_mutex_unlock(&sender->lock);
    ak_thread_join(&sender->thread);
    ak_cond_release(&sender->changed);
    ak_mutex_release(&sender->lock);
    ak_buf_release(&sender->batch);
    ak_buf_release(&sender->answer);
    ak_free(sender->path);
    ak_free(sender);
}

/* Lock held: until nothing is under way. */
static enum ak_rc wait_idle(struct ak_sender *sender, struct ak_err *err)
{
    while (sender->sending) {
        ak_cond_wait(&sender->changed, &sender->lock);
    }
    if (sender->err.rc != AK_OK && err) {
        *err = sender->err;
    }
    return sender->err.rc;
}

enum ak_rc ak_sender_put(struct ak_sender *sender, struct ak_buf *batch, uint64_t documents,
                         struct ak_err *err)
{
    ak_mutex_lock(&sender->lock);
    enum ak_rc rc = wait_idle(sender, err);
    if (rc == AK_OK) {
        struct ak_buf empty = sender->batch;
        sender->batch = *batch;
        *batch = empty;
        sender->documents = documents;
        sender->sending = true;
        ak_cond_broadcast(&sender->changed);
    }
    ak_mutex_unlock(&sender->lock);
    return rc;
}

enum ak_rc ak_sender_flush(struct ak_sender *sender, struct ak_err *err)
{
    ak_mutex_lock(&sender->lock);
    enum ak_rc rc = wait_idle(sender, err);
    ak_mutex_unlock(&sender->lock);
    return rc;
}
