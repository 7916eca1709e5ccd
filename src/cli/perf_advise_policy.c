/* perf_advise_policy.c — the tiering policy of the server that is advised: rules, limits, and which
 * collections are pinned and how large they are, as GET /tiers tells it. */
#include "base/json.h"
#include "cli/perf_advise.h"
#include "cli/serve.h"
#include <string.h>

#define PAGE 1000u

/* Seconds to µs; what is not a number of seconds that a time has is left. */
static void read_seconds(struct ak_json *in, int64_t *us)
{
    double seconds = 0;
    if (ak_json_double(in, &seconds) && seconds >= 0 && seconds <= 3.2e9) {
        *us = (int64_t)(seconds * 1e6);
    }
}

static void read_rules(struct ak_json *in, struct ak_tier_rules *rules)
{
    struct ak_str key;
    uint64_t n = 0;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("hot_idle_s"))) {
            read_seconds(in, &rules->hot_idle_us);
        } else if (ak_str_eq(key, AK_STR("warm_idle_s"))) {
            read_seconds(in, &rules->warm_idle_us);
        } else if (ak_str_eq(key, AK_STR("window_s"))) {
            read_seconds(in, &rules->window_us);
        } else if (ak_str_eq(key, AK_STR("promote_accesses"))) {
            if (ak_json_u64(in, 0, UINT32_MAX, &n)) {
                rules->promote_accesses = (uint32_t)n;
            }
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_limits(struct ak_json *in, struct ak_tier_limits *limits)
{
    struct ak_str key;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("max_hot_memory"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, &limits->hot_bytes);
        } else if (ak_str_eq(key, AK_STR("max_warm_disk"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, &limits->warm_bytes);
        } else if (ak_str_eq(key, AK_STR("grace_s"))) {
            read_seconds(in, &limits->grace_us);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
}

static void read_bytes(struct ak_json *in, uint64_t *memory, uint64_t *disk)
{
    struct ak_str key;
    uint64_t bucket = 0;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("memory"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, memory);
        } else if (ak_str_eq(key, AK_STR("disk"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, disk);
        } else if (ak_str_eq(key, AK_STR("bucket"))) {
            (void)ak_json_u64(in, 0, UINT64_MAX, &bucket);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
    *disk = *disk ? *disk : bucket; /* of a cold one: what it took, and would take, on the disk */
}

struct reading {
    struct ak_advise_policy *policy;
    struct ak_advise_collection *list; /* in the order of names, as the answer's */
    size_t count, at;
    char next[AK_NAME_MAX * 3 + 1];
};

static void read_status(struct ak_json *in, struct reading *reading)
{
    struct ak_str key;
    struct ak_str name = AK_STR_NONE;
    uint64_t memory = 0;
    uint64_t disk = 0;
    bool is_pinned = false;
    ak_json_object(in);
    while (ak_json_next_key(in, &key)) {
        if (ak_str_eq(key, AK_STR("collection"))) {
            (void)ak_json_string(in, &name);
        } else if (ak_str_eq(key, AK_STR("pinned"))) {
            (void)ak_json_bool(in, &is_pinned);
        } else if (ak_str_eq(key, AK_STR("bytes"))) {
            read_bytes(in, &memory, &disk);
        } else {
            (void)ak_json_skip(in, NULL);
        }
    }
    while (!ak_json_failed(in) && reading->at < reading->count) {
        struct ak_advise_collection *one = &reading->list[reading->at];
        int order = ak_str_cmp(one->name, name);
        if (order == 0) {
            one->is_pinned = is_pinned;
            one->memory_bytes = memory;
            one->disk_bytes = disk;
        }
        if (order > 0) { /* it was made after the collections were listed */
            break;
        }
        reading->at++;
    }
}

static enum ak_rc read_page(struct reading *reading, struct ak_str answer, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    struct ak_str next = AK_STR_NONE;
    bool is_on = true;
    ak_json_init(&in, answer);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        if (ak_str_eq(key, AK_STR("rules"))) {
            read_rules(&in, &reading->policy->rules);
        } else if (ak_str_eq(key, AK_STR("limits"))) {
            read_limits(&in, &reading->policy->limits);
        } else if (ak_str_eq(key, AK_STR("enabled"))) {
            (void)ak_json_bool(&in, &is_on);
        } else if (ak_str_eq(key, AK_STR("collections"))) {
            ak_json_array(&in);
            while (ak_json_next_element(&in)) {
                read_status(&in, reading);
            }
        } else if (ak_str_eq(key, AK_STR("next"))) {
            (void)(ak_json_null(&in) || ak_json_string(&in, &next));
        } else {
            (void)ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    reading->policy->is_off = !is_on;
    (void)snprintf(reading->next, sizeof reading->next, "%.*s", AK_STR_ARG(next));
    ak_json_release(&in);
    return rc;
}

enum ak_rc ak_advise_policy_read(struct ak_remote *remote, const struct ak_config *config,
                                 struct ak_advise_collection *list, size_t count,
                                 struct ak_advise_policy *policy, struct ak_err *err)
{
    struct ak_tiers_options options;
    struct reading reading = {.policy = policy, .list = list, .count = count};
    struct ak_buf path;
    struct ak_str answer = AK_STR_NONE;
    enum ak_rc rc = AK_OK;
    ak_serve_tiers_options(config, &options);
    *policy = (struct ak_advise_policy){
        .rules = options.rules, .limits = options.limits, .is_off = options.is_off};
    ak_buf_init(&path, 0);
    do {
        ak_buf_clear(&path);
        ak_buf_add_fmt(&path, "/api/v1/tiers?limit=%u", PAGE);
        if (reading.next[0]) {
            ak_buf_add_str(&path, AK_STR("&after="));
            ak_url_put(&path, ak_str_of(reading.next));
        }
        rc = ak_remote_call(remote, "GET", ak_buf_cstr(&path), NULL, &answer, err);
        rc = rc == AK_OK ? read_page(&reading, answer, err) : rc;
    } while (rc == AK_OK && reading.next[0]);
    ak_buf_release(&path);
    /* A folder that no server has open, and a server without tiers: the configuration says. */
    return rc == AK_UNSUPPORTED || rc == AK_NOT_FOUND ? AK_OK : rc;
}
