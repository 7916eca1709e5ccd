/* bench_load.h — the load generator: many kept-alive connections on a few threads.
 *
 * Requests are rendered beforehand; a connection keeps `pipeline` of them under way and sends the
 * next one when an answer is whole (closed loop). Latency runs from handing a request to the socket
 * to the last byte of its answer.
 *
 * Threads: run() by one. Memory: the requests are borrowed for the run.
 */
#pragma once
#include "cli/bench.h"
#include "cli/http_head.h"

#define AK_LOAD_PIPELINE_MAX 64u

struct ak_load_options {
    const struct ak_endpoint *endpoint;
    const struct ak_str *requests; /* whole HTTP requests, sent round robin */
    size_t request_count;
    uint32_t clients;  /* connections */
    uint32_t threads;  /* ≤ clients */
    uint32_t pipeline; /* 1..AK_LOAD_PIPELINE_MAX */
    uint64_t count;    /* stop after so many requests; 0: by time */
    double seconds;    /* stop after so long; 0: by count */
};

struct ak_load_report {
    struct ak_histogram latency;
    uint64_t refused; /* answers other than 2xx */
    uint64_t broken;  /* requests whose connection went away */
    int first_status; /* of the first refused one */
    char first_answer[256];
    double seconds;
};

AK_MUST enum ak_rc ak_load_run(const struct ak_load_options *options, struct ak_load_report *report,
                               struct ak_err *err);
