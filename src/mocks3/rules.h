/* rules.h — which requests are to go wrong, and how: the rules behind /_mock/rules.
 *
 *   {"match":  {"operation": "PutObject", "method": "PUT", "bucket": "b", "key_prefix": "snap/"},
 *    "action": {"latency_ms": 100, "status": 503, "code": "SlowDown", "reset_after": 1000,
 *               "bytes_per_s": 65536, "hang": true, "drop_answer": true},
 *    "skip": 2, "times": 3}
 *
 * Everything in `match` must fit; what is left out fits all. The first rule that fits and has some
 * of its `times` left decides, after it let `skip` requests pass.
 *
 * Threads: any. Memory: rules are copied; at most AK_MOCK_RULES_MAX.
 */
#pragma once
#include "base/str.h"

#define AK_MOCK_RULES_MAX 256u
#define AK_MOCK_CODE_NAME_MAX 64u

struct ak_mock_action { /* zero: nothing goes wrong */
    uint64_t latency_ms;
    int status; /* 0: none */
    char code[AK_MOCK_CODE_NAME_MAX];
    bool resets;
    uint64_t reset_after; /* bytes of the body that has some: the request's or the answer's */
    uint64_t bytes_per_s; /* 0: as fast as can be */
    bool hangs;           /* never answered */
    bool drops_answer;    /* done, then reset instead of answered */
};

struct ak_mock_subject { /* a request */
    struct ak_str method;
    struct ak_str operation;
    struct ak_str bucket;
    struct ak_str key;
};

struct ak_mock_rules;
struct ak_mock_rules *ak_mock_rules_open(void);
void ak_mock_rules_close(struct ak_mock_rules *rules); /* NULL is fine */
/* Does a rule decide? It is counted then. */
bool ak_mock_rules_match(struct ak_mock_rules *rules, const struct ak_mock_subject *subject,
                         struct ak_mock_action *action);
/* One rule, or an array of them: all or none. Appends {"ids":[…]}. AK_INVALID says what is wrong.
 */
AK_MUST enum ak_rc ak_mock_rules_add(struct ak_mock_rules *rules, struct ak_str json,
                                     struct ak_buf *out, struct ak_err *err);
/* Appends {"rules":[…]} with how often each decided. */
void ak_mock_rules_list(struct ak_mock_rules *rules, struct ak_buf *out);
bool ak_mock_rules_remove(struct ak_mock_rules *rules, uint64_t id); /* false: there is none */
size_t ak_mock_rules_clear(struct ak_mock_rules *rules);             /* how many there were */
uint64_t ak_mock_rules_fired(struct ak_mock_rules *rules);           /* since the start */
