/* limits.h — every ceiling, with its reason. Network and disk input is held against these. */
#pragma once

#define AK_NAME_MAX 255               /* bytes of a collection, tenant or database name */
#define AK_EXTERNAL_ID_MAX 1024       /* bytes; longer keys belong in metadata */
#define AK_DIMENSION_MAX 65535        /* u16 in the formats; 4096 is the common ceiling */
#define AK_METADATA_MAX (64u << 10)   /* bytes of one document's JSON: it is copied per result */
#define AK_MODEL_NAME_MAX 255         /* bytes of embedding_model */
#define AK_K_MAX 10000                /* results of one search */
#define AK_EF_MAX 65536               /* candidates of one search: bounds its memory at 0.5 MiB */
#define AK_BATCH_SEARCH_MAX 1000      /* queries of one batch search */
#define AK_SCROLL_MAX 10000           /* documents of one scroll page */
#define AK_DELETE_IDS_MAX 100000      /* ids of one delete call */
#define AK_UPSERT_BATCH_MAX 100000    /* documents of one upsert call */
#define AK_JSON_DEPTH_MAX 64          /* nesting: bounds every recursive walk */
#define AK_JSON_KEYS_MAX (256u << 10) /* keys of the objects open at once: 28 bytes each */
#define AK_TOML_BYTES_MAX (1u << 20)  /* bytes of a configuration file */
#define AK_TOML_DEPTH_MAX 64   /* nesting of tables and arrays: bounds every recursive walk */
#define AK_TOML_KEYS_MAX 4096  /* keys of one table: they are compared one by one */
#define AK_FILTER_DEPTH_MAX 16 /* nested must/should/must_not */
#define AK_FILTER_CONDITIONS_MAX 1024 /* leaves of one filter */
#define AK_FILTER_KEY_MAX 512         /* bytes of a dotted key */
#define AK_FILTER_KEYS_MAX 64         /* different keys of one filter: each gets a column */
#define AK_FILTER_VALUES_MAX 65536    /* values of all matches of one filter: 40 bytes each */
#define AK_COLUMNS_MAX 64             /* filter columns of one collection, least used goes first */
#define AK_COLUMNS_BYTES_MAX ((size_t)1 << 30) /* memory of one collection's filter columns */
#define AK_BODY_MAX (64u << 20)                /* bytes of a request body held in memory */
#define AK_HEADER_BYTES_MAX (32u << 10)
#define AK_HEADER_COUNT_MAX 100
#define AK_TARGET_MAX (8u << 10)       /* bytes of a request target */
#define AK_WAL_RECORD_MAX (256u << 20) /* one batch of AK_BODY_MAX bytes of JSON always fits */
#define AK_SLOTS_MAX 0x7ffffff0u       /* u32 slots with the top bit free for marks */
#define AK_COLLECTIONS_MAX 1000000u /* entries of the in-memory directory: about 300 bytes each */
#define AK_RESPONSE_MAX ((size_t)256 << 20)  /* bytes of one answer: it is built in memory */
#define AK_PAGE_BYTES_MAX ((size_t)64 << 20) /* vectors of one scroll page: 180 MiB as text */
#define AK_NDJSON_LINE_MAX (4u << 20) /* bytes of a line: twice the longest vector and metadata */
