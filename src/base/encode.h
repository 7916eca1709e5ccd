/* encode.h — bytes as text: hexadecimal, and the percent-encoding of URIs (RFC 3986, section 2.1).
 *
 * Threads: any. Memory: the caller's; what is decoded lies in the arena.
 */
#pragma once
#include "base/arena.h"

int ak_hex_digit(char c); /* 0..15, either case; −1: none */
/* 2 × len lower-case digits, and NUL. */
void ak_hex(const void *bytes, size_t len, char *text);
/* `len` bytes out of 2 × len digits of either case; false: the text is another. */
AK_MUST bool ak_unhex(struct ak_str text, void *bytes, size_t len);
/* The bytes that a path segment or a value of a query stands for, NUL-terminated (not counted);
 * `plus_is_space` as forms have it. .p is NULL: a '%' without two digits, %00, or no memory. */
struct ak_str ak_percent_decode(struct ak_str text, bool plus_is_space, struct ak_arena *arena);
