/* arrow_schema.c — the Arrow schema of a table of documents, as Arrow's own writer puts it.
 *
 * An encapsulated IPC schema message is a flatbuffer; for our five columns it is the same 424 bytes
 * but for one: the length of the fixed-size list, an int32 at byte DIMENSION_AT. So it is a
 * template and a patch. It names utf8 and not Arrow's extension types for JSON and UUID, which some
 * readers refuse. Readers that do not know the key lose nothing.
 */
#include "parquet/writer.h"
#include <string.h>

#define BYTES 424u
#define DIMENSION_AT 0xF0u

/* Base64 of the message for 512 dimensions. */
static const char template[] =
    "/////6ABAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAUAAAA8AQAA/AAAAHwA"
    "AABMAAAABAAAAOj+//8AAAAKEAAAACQAAAAEAAAAAAAAAAsAAABpbnNlcnRlZF9hdAAIAAwABgAIAAgAAAAAAAIA"
    "BAAAAAMAAABVVEMAaP///wAAAQUQAAAAHAAAAAQAAAAAAAAACAAAAG1ldGFkYXRhAAAAABz///9Y////AAAAEBQA"
    "AAAkAAAABAAAAAEAAAAgAAAABgAAAHZlY3RvcgAAAAAGAAgABAAGAAAAAAIAAJD///8AAAADEAAAACAAAAAEAAAA"
    "AAAAAAcAAABlbGVtZW50AAAABgAIAAYABgAAAAAAAQAQABQACAAGAAcADAAAABAAEAAAAAAAAQUQAAAAHAAAAAQA"
    "AAAAAAAACwAAAGV4dGVybmFsX2lkAMT///8QABQACAAAAAcADAAAABAAEAAAAAAAAAUQAAAAIAAAAAQAAAAAAAAA"
    "CwAAAGRvY3VtZW50X2lkAAQABAAEAAAAAAAAAA==";

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t digit(char c)
{
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (uint32_t)(at - alphabet) : 0;
}

void ak_parquet_arrow_documents(uint32_t dimension, struct ak_buf *out)
{
    uint8_t message[BYTES + 3];
    for (size_t i = 0; i + 3 < sizeof template; i += 4) {
        uint32_t bits = digit(template[i]) << 18 | digit(template[i + 1]) << 12 |
                        digit(template[i + 2]) << 6 | digit(template[i + 3]);
        size_t at = i / 4 * 3;
        for (unsigned b = 0; b < 3 && at + b < sizeof message; b++) {
            message[at + b] = (uint8_t)(bits >> (16 - 8 * b));
        }
    }
    memcpy(message + DIMENSION_AT, &dimension, sizeof dimension);
    for (size_t at = 0; at < BYTES; at += 3) {
        size_t have = BYTES - at < 3 ? BYTES - at : 3;
        uint32_t bits = (uint32_t)message[at] << 16;
        bits |= have > 1 ? (uint32_t)message[at + 1] << 8 : 0;
        bits |= have > 2 ? (uint32_t)message[at + 2] : 0;
        for (size_t c = 0; c < 4; c++) {
            ak_buf_add_char(out, c <= have ? alphabet[bits >> (18 - 6 * c) & 63] : '=');
        }
    }
}
