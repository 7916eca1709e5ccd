/* filter.h — conditions on metadata: parsed once, then evaluated against columns or one document.
 *
 *   {"must":[C…], "should":[C…], "must_not":[C…]}      at least one of the three
 *   C is one of   {"key":"lang","match":"en"}          equal string, number or bool; each element
 *                                                      of an array counts as a value of the key
 *                 {"key":"year","match":[2019,2020]}   any of (also {"any":[…]})
 *                 {"key":"year","range":{"gte":2020,"lt":2030}}   numbers; gt gte lt lte
 *                 {"key":"tag","exists":true}          present and not null; false: is not
 *                 {"must":[…]…}                        a nested filter
 * All of must hold, at least one of should (when there are any), none of must_not. A key is a
 * dotted path into nested objects ("author.name"); it is compared with the member names on the way,
 * joined by dots, so that a name with a dot in it is reachable too. Types must agree: "1" does not
 * match 1; numbers compare as doubles, so 1 and 1.0 are equal.
 * Present and not null are also: any object, any array (an empty one too). Only the scalars
 * directly in an array are values of the key, and a path does not lead through an array.
 *
 * Threads: a parsed filter is immutable. Memory: lives in the caller's arena.
 */
#pragma once
#include "base/arena.h"
#include "base/json.h"

enum ak_filter_kind { AK_FILTER_GROUP, AK_FILTER_MATCH, AK_FILTER_RANGE, AK_FILTER_EXISTS };
enum ak_value_type { AK_VALUE_STRING, AK_VALUE_NUMBER, AK_VALUE_BOOL };

struct ak_filter_value {
    enum ak_value_type type;
    struct ak_str string;
    double number;
    bool boolean;
};

struct ak_filter {
    enum ak_filter_kind kind;
    struct ak_str key;                    /* MATCH, RANGE, EXISTS: as written, dotted */
    const struct ak_filter_value *values; /* MATCH: any of */
    size_t value_count;
    double low, high;              /* RANGE; -inf/+inf when open */
    bool low_open, high_open;      /* RANGE: gt / lt exclude the bound */
    bool exists;                   /* EXISTS: the wanted answer */
    const struct ak_filter **must; /* GROUP */
    size_t must_count;
    const struct ak_filter **should;
    size_t should_count;
    const struct ak_filter **must_not;
    size_t must_not_count;
};

/* Read one filter at the cursor. NULL: `in` holds the failure (unknown field, bad type, too deep,
 * more than AK_FILTER_CONDITIONS_MAX conditions). */
const struct ak_filter *ak_filter_read(struct ak_json *in, struct ak_arena *arena);
AK_MUST enum ak_rc ak_filter_parse(struct ak_str json, struct ak_arena *arena,
                                   const struct ak_filter **filter, struct ak_err *err);
/* Does this metadata (valid JSON object or empty) satisfy the filter? The slow reference. Without
 * memory to decode the document, what is not decoded counts as absent. */
bool ak_filter_matches(const struct ak_filter *filter, struct ak_str metadata);

/* One thing found under keys[key]: a scalar, or value NULL for an object or an array (which is then
 * followed by its scalars). null gives nothing. The value's string is valid during the call. */
typedef void (*ak_filter_visit_fn)(void *ctx, size_t key, const struct ak_filter_value *value);
/* Report all that the keys (at most 64) hold in `metadata`, in document order, in one reading.
 * false: no memory to decode it, and something may be missing from the report. */
bool ak_filter_visit(struct ak_str metadata, const struct ak_str *keys, size_t key_count,
                     ak_filter_visit_fn fn, void *ctx);
bool ak_filter_value_eq(const struct ak_filter_value *a, const struct ak_filter_value *b);
/* Does one value satisfy this MATCH or RANGE? */
bool ak_filter_value_satisfies(const struct ak_filter_value *value, const struct ak_filter *leaf);
