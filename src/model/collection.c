/* collection.c — names, parameters, documents: what is allowed, and the sentence when it is not. */
#include "model/collection.h"
#include <string.h>

#define M_MIN 4u
#define M_MAX 64u
#define EF_CONSTRUCTION_MIN 16u
#define EF_CONSTRUCTION_MAX 2000u

static const char *const metric_names[AK_METRIC_COUNT] = {
    [AK_METRIC_COSINE] = "cosine",
    [AK_METRIC_DOT] = "dot",
    [AK_METRIC_L2] = "l2",
};

static const char *const quantization_names[AK_QUANTIZATION_COUNT] = {
    [AK_QUANTIZATION_NONE] = "none",
    [AK_QUANTIZATION_U8] = "u8",
    [AK_QUANTIZATION_U4] = "u4",
    [AK_QUANTIZATION_BINARY] = "binary",
};

static const char *const vectors_names[AK_VECTORS_COUNT] = {
    [AK_VECTORS_RAM] = "ram",
    [AK_VECTORS_DISK] = "disk",
};

static const char *const state_names[] = {
    [AK_COLLECTION_CREATING] = "creating",
    [AK_COLLECTION_READY] = "ready",
    [AK_COLLECTION_MIGRATING] = "migrating",
    [AK_COLLECTION_DELETING] = "deleting",
};

const char *ak_metric_name(enum ak_metric metric)
{
    return (unsigned)metric < AK_METRIC_COUNT ? metric_names[metric] : "unknown";
}

bool ak_metric_parse(struct ak_str text, enum ak_metric *metric)
{
    for (unsigned i = 0; i < AK_METRIC_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(metric_names[i]))) {
            *metric = (enum ak_metric)i;
            return true;
        }
    }
    return false;
}

const char *ak_quantization_name(enum ak_quantization quantization)
{
    return (unsigned)quantization < AK_QUANTIZATION_COUNT ? quantization_names[quantization]
                                                          : "unknown";
}

bool ak_quantization_parse(struct ak_str text, enum ak_quantization *quantization)
{
    for (unsigned i = 0; i < AK_QUANTIZATION_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(quantization_names[i]))) {
            *quantization = (enum ak_quantization)i;
            return true;
        }
    }
    return false;
}

static size_t rounded(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* u8 rows are whole cache lines and have a float beside them. The others have four floats at their
 * end and begin at every sixteenth byte: of a row of a few lines, that wastes less than it saves.
 */
size_t ak_quantization_row_bytes(enum ak_quantization quantization, uint32_t dimension)
{
    const size_t factors = 4 * sizeof(float);
    switch (quantization) {
    case AK_QUANTIZATION_U8:
        return rounded(dimension, 64) + sizeof(float);
    case AK_QUANTIZATION_U4:
        return rounded(rounded(((size_t)dimension + 1) / 2, 16) + factors, 16);
    case AK_QUANTIZATION_BINARY:
        return rounded(rounded(((size_t)dimension + 7) / 8, 8) + factors, 16);
    case AK_QUANTIZATION_NONE:
    case AK_QUANTIZATION_COUNT:
    default:
        return 0;
    }
}

const char *ak_vectors_name(enum ak_vectors vectors)
{
    return (unsigned)vectors < AK_VECTORS_COUNT ? vectors_names[vectors] : "unknown";
}

bool ak_vectors_parse(struct ak_str text, enum ak_vectors *vectors)
{
    for (unsigned i = 0; i < AK_VECTORS_COUNT; i++) {
        if (ak_str_eq(text, ak_str_of(vectors_names[i]))) {
            *vectors = (enum ak_vectors)i;
            return true;
        }
    }
    return false;
}

const char *ak_collection_state_name(enum ak_collection_state state)
{
    return (unsigned)state < sizeof state_names / sizeof state_names[0] ? state_names[state]
                                                                        : "unknown";
}

struct ak_index_params ak_index_params_default(void)
{
    return (struct ak_index_params){
        .m = 16, .ef_construction = 200, .ef_search = 64, .quantization = AK_QUANTIZATION_U8};
}

/* Offset of the first control character (C0, DEL, or C1 as UTF-8), or s.len. */
static size_t first_control(struct ak_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_c1 = c == 0xC2 && i + 1 < s.len && (unsigned char)s.p[i + 1] < 0xA0;
        if (c < 0x20 || c == 0x7F || is_c1) {
            return i;
        }
    }
    return s.len;
}

enum ak_rc ak_name_check(struct ak_str name, const char *what, struct ak_err *err)
{
    if (name.len == 0) {
        return ak_fail(err, AK_INVALID, "%s is empty: 1 to %d bytes are allowed", what,
                       AK_NAME_MAX);
    }
    if (name.len > AK_NAME_MAX) {
        return ak_fail(err, AK_INVALID, "%s has %zu bytes: 1 to %d are allowed", what, name.len,
                       AK_NAME_MAX);
    }
    if (!ak_utf8_is_valid(name)) {
        return ak_fail(err, AK_INVALID, "%s is not valid UTF-8", what);
    }
    size_t control = first_control(name);
    if (control < name.len) {
        return ak_fail(err, AK_INVALID, "%s has a control character at byte %zu: none are allowed",
                       what, control);
    }
    if (memchr(name.p, '/', name.len) || memchr(name.p, '\\', name.len)) {
        return ak_fail(err, AK_INVALID, "%s '%.*s' has a '/' or '\\': neither is allowed", what,
                       AK_STR_ARG(name));
    }
    if (ak_str_eq(name, AK_STR(".")) || ak_str_eq(name, AK_STR(".."))) {
        return ak_fail(err, AK_INVALID, "%s '%.*s' would be a folder: choose another", what,
                       AK_STR_ARG(name));
    }
    return AK_OK;
}

static enum ak_rc check_range(uint32_t value, uint32_t min, uint32_t max, const char *field,
                              struct ak_err *err)
{
    if (value < min || value > max) {
        return ak_fail(err, AK_INVALID, "%s is %u: %u to %u are allowed", field, value, min, max);
    }
    return AK_OK;
}

static enum ak_rc check_model(struct ak_str model, struct ak_err *err)
{
    if (model.len > AK_MODEL_NAME_MAX) {
        return ak_fail(err, AK_INVALID, "embedding_model has %zu bytes: at most %d are allowed",
                       model.len, AK_MODEL_NAME_MAX);
    }
    if (!ak_utf8_is_valid(model)) {
        return ak_fail(err, AK_INVALID, "embedding_model is not valid UTF-8");
    }
    size_t control = first_control(model);
    if (control < model.len) {
        return ak_fail(err, AK_INVALID,
                       "embedding_model has a control character at byte %zu: none are allowed",
                       control);
    }
    return AK_OK;
}

static enum ak_rc check_index_params(const struct ak_index_params *params, struct ak_err *err)
{
    enum ak_rc rc = check_range(params->m, M_MIN, M_MAX, "index.m", err);
    if (rc == AK_OK) {
        rc = check_range(params->ef_construction, EF_CONSTRUCTION_MIN, EF_CONSTRUCTION_MAX,
                         "index.ef_construction", err);
    }
    if (rc == AK_OK) {
        rc = check_range(params->ef_search, 1, AK_EF_MAX, "index.ef_search", err);
    }
    if (rc == AK_OK && (unsigned)params->quantization >= AK_QUANTIZATION_COUNT) {
        rc = ak_fail(err, AK_INVALID,
                     "index.quantization is unknown: " AK_QUANTIZATION_NAMES " are allowed");
    }
    if (rc == AK_OK && (unsigned)params->vectors >= AK_VECTORS_COUNT) {
        rc = ak_fail(err, AK_INVALID, "index.vectors is unknown: ram and disk are allowed");
    }
    if (rc == AK_OK && params->vectors == AK_VECTORS_DISK &&
        params->quantization == AK_QUANTIZATION_NONE) {
        rc = ak_fail(err, AK_INVALID,
                     "index.vectors is disk and index.quantization none: a search would read every "
                     "vector it meets from disk; give a quantization, such as u8, or vectors ram");
    }
    return rc;
}

enum ak_rc ak_collection_info_check(const struct ak_collection_info *info, struct ak_err *err)
{
    enum ak_rc rc = ak_name_check(info->name, "name", err);
    if (rc == AK_OK) {
        rc = check_range(info->dimension, 1, AK_DIMENSION_MAX, "dimension", err);
    }
    if (rc == AK_OK && (unsigned)info->metric >= AK_METRIC_COUNT) {
        rc = ak_fail(err, AK_INVALID, "metric is unknown: cosine, dot or l2 are allowed");
    }
    if (rc == AK_OK) {
        rc = check_model(info->embedding_model, err);
    }
    if (rc == AK_OK) {
        rc = check_index_params(&info->index, err);
    }
    return rc;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* One pass without branches, so that the compiler turns it into vector code: this runs over every
 * number that comes in. The place of the bad number is looked for only once there is one. */
static enum ak_rc check_vector(const float *vector, uint32_t dimension, enum ak_metric metric,
                               struct ak_err *err)
{
    const uint32_t exponent = 0x7F800000u;
    uint32_t any = 0;
    uint32_t bad = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        uint32_t bits = bits_of(vector[i]);
        any |= bits << 1; /* the sign aside: -0 is zero too */
        bad |= (bits & exponent) == exponent;
    }
    for (uint32_t i = 0; bad && i < dimension; i++) {
        if ((bits_of(vector[i]) & exponent) == exponent) {
            return ak_fail(err, AK_INVALID, "vector[%u] is not a finite number", i);
        }
    }
    if (metric == AK_METRIC_COSINE && any == 0) {
        return ak_fail(err, AK_INVALID, "vector is all zeros: cosine needs a direction");
    }
    return AK_OK;
}

static enum ak_rc check_texts(const struct ak_document *doc, struct ak_err *err)
{
    if (doc->external_id.len > AK_EXTERNAL_ID_MAX) {
        return ak_fail(err, AK_INVALID, "external_id has %zu bytes: at most %d are allowed",
                       doc->external_id.len, AK_EXTERNAL_ID_MAX);
    }
    if (!ak_utf8_is_valid(doc->external_id)) {
        return ak_fail(err, AK_INVALID, "external_id is not valid UTF-8");
    }
    if (doc->metadata.len > AK_METADATA_MAX) {
        return ak_fail(err, AK_INVALID, "metadata has %zu bytes: at most %u are allowed",
                       doc->metadata.len, AK_METADATA_MAX);
    }
    return AK_OK;
}

enum ak_rc ak_document_check(const struct ak_document *doc, uint32_t dimension,
                             enum ak_metric metric, int64_t row, struct ak_err *err)
{
    enum ak_rc rc = check_vector(doc->vector, dimension, metric, err);
    if (rc == AK_OK) {
        rc = check_texts(doc, err);
    }
    if (rc != AK_OK && row >= 0) {
        return ak_wrap(err, rc, "vectors[%lld]", (long long)row);
    }
    return rc;
}
