/* collection.h — what a collection and a document are, as plain values, and their validation.
 *
 * Threads: values. Memory: strings are borrowed views; whoever keeps one copies it.
 */
#pragma once
#include "base/arena.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/uuid.h"

enum ak_metric { AK_METRIC_COSINE, AK_METRIC_DOT, AK_METRIC_L2, AK_METRIC_COUNT };
enum ak_quantization {
    AK_QUANTIZATION_NONE, /* walks measure floats */
    AK_QUANTIZATION_U8,   /* a byte a dimension for the walk; results are measured in floats */
    /* In the order of the numbers that images hold: */
    AK_QUANTIZATION_U4,     /* half a byte a dimension */
    AK_QUANTIZATION_BINARY, /* a bit a dimension */
    AK_QUANTIZATION_COUNT
};

#define AK_QUANTIZATION_NAMES "none, u8, u4 and binary" /* for sentences on what is allowed */

enum ak_vectors {
    AK_VECTORS_RAM,
    AK_VECTORS_DISK, /* codes and links are in memory; the floats, once an image holds them, only on
                      * disk: read when results are measured, and returned */
    AK_VECTORS_COUNT
};
enum ak_collection_state {
    AK_COLLECTION_CREATING,
    AK_COLLECTION_READY,
    AK_COLLECTION_MIGRATING,
    AK_COLLECTION_DELETING
};

struct ak_index_params {
    uint32_t m;               /* links a node keeps per upper level; level 0 keeps 2·m. 4..64 */
    uint32_t ef_construction; /* candidates looked at when linking. 16..2000 */
    uint32_t ef_search;       /* default candidates of a search. 1..AK_EF_MAX */
    enum ak_quantization quantization;
    enum ak_vectors vectors;
};

struct ak_collection_info {
    struct ak_uuid id;
    struct ak_str name; /* 1..AK_NAME_MAX bytes of UTF-8, no control or path characters */
    uint32_t dimension; /* 1..AK_DIMENSION_MAX */
    enum ak_metric metric;
    struct ak_str embedding_model; /* may be empty */
    struct ak_index_params index;
    enum ak_collection_state state;
    int64_t created_us;
};

/* m 16, ef_construction 200, ef_search 64, quantisation u8, vectors in RAM. */
struct ak_index_params ak_index_params_default(void);
/* AK_INVALID names the field and what is allowed. Checks what the user may choose. */
AK_MUST enum ak_rc ak_collection_info_check(const struct ak_collection_info *info,
                                            struct ak_err *err);
AK_MUST enum ak_rc ak_name_check(struct ak_str name, const char *what, struct ak_err *err);
const char *ak_metric_name(enum ak_metric metric); /* "cosine" "dot" "l2" */
AK_MUST bool ak_metric_parse(struct ak_str text, enum ak_metric *metric);
const char *ak_quantization_name(enum ak_quantization quantization);
AK_MUST bool ak_quantization_parse(struct ak_str text, enum ak_quantization *quantization);
/* Bytes that the code of one vector takes in memory and image, with what belongs to it; 0: none. */
size_t ak_quantization_row_bytes(enum ak_quantization quantization, uint32_t dimension);
const char *ak_vectors_name(enum ak_vectors vectors); /* "ram" "disk" */
AK_MUST bool ak_vectors_parse(struct ak_str text, enum ak_vectors *vectors);
const char *ak_collection_state_name(enum ak_collection_state state);

/* A document as it comes in. */
struct ak_document {
    struct ak_uuid id;         /* nil: one is made */
    struct ak_str external_id; /* empty: none */
    const float *vector;       /* f32[dimension], finite */
    struct ak_str metadata;    /* a JSON object, checked and compact; empty: none */
    int64_t inserted_us;       /* set by the engine on upsert */
};

/* Finite; not zero under cosine; external id and metadata within their limits. `row` is named in
 * the message ("vectors[3]: …") when ≥ 0. */
AK_MUST enum ak_rc ak_document_check(const struct ak_document *doc, uint32_t dimension,
                                     enum ak_metric metric, int64_t row, struct ak_err *err);

/* Check metadata text: a JSON object (or null) of at most AK_METADATA_MAX bytes without its white
 * space. *compact is a copy in the arena, empty for null. AK_INVALID, AK_TOO_BIG. */
AK_MUST enum ak_rc ak_metadata_read(struct ak_str text, struct ak_arena *arena,
                                    struct ak_str *compact, struct ak_err *err);
