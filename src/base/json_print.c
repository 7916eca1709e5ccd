/* json_print.c — the shortest decimal that reads back to the same float32.
 *
 * Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020) for 32 bits: the float is
 * c × 2^q, and the decimals within its rounding interval are looked for at one exponent k only,
 * with the interval's ends and the float itself scaled by 10^-k and rounded to odd, so that every
 * comparison is exact in 64-bit integers. Of the candidates of least length the nearest is taken.
 *
 * Departs from the paper in nothing but the layout: decimals with an exponent from -4 to 8 are
 * written without one (0.0123, 123.5), others as 1.5e-7.
 */
#include "base/json_priv.h"

#define G_MIN (-31)
#define G_MAX 45
#define PLAIN_MIN (-4) /* smallest and largest decimal exponent written without an "e" */
#define PLAIN_MAX 8

/* ceil(10^k × 2^-floor(log2 10^k) × 2^63) for k = G_MIN..G_MAX. */
static const uint64_t g_table[G_MAX - G_MIN + 1] = {
    0x81ceb32c4b43fcf5u, 0xa2425ff75e14fc32u, 0xcad2f7f5359a3b3fu, 0xfd87b5f28300ca0eu,
    0x9e74d1b791e07e49u, 0xc612062576589ddbu, 0xf79687aed3eec552u, 0x9abe14cd44753b53u,
    0xc16d9a0095928a28u, 0xf1c90080baf72cb2u, 0x971da05074da7befu, 0xbce5086492111aebu,
    0xec1e4a7db69561a6u, 0x9392ee8e921d5d08u, 0xb877aa3236a4b44au, 0xe69594bec44de15cu,
    0x901d7cf73ab0acdau, 0xb424dc35095cd810u, 0xe12e13424bb40e14u, 0x8cbccc096f5088ccu,
    0xafebff0bcb24aaffu, 0xdbe6fecebdedd5bfu, 0x89705f4136b4a598u, 0xabcc77118461cefdu,
    0xd6bf94d5e57a42bdu, 0x8637bd05af6c69b6u, 0xa7c5ac471b478424u, 0xd1b71758e219652cu,
    0x83126e978d4fdf3cu, 0xa3d70a3d70a3d70bu, 0xcccccccccccccccdu, 0x8000000000000000u,
    0xa000000000000000u, 0xc800000000000000u, 0xfa00000000000000u, 0x9c40000000000000u,
    0xc350000000000000u, 0xf424000000000000u, 0x9896800000000000u, 0xbebc200000000000u,
    0xee6b280000000000u, 0x9502f90000000000u, 0xba43b74000000000u, 0xe8d4a51000000000u,
    0x9184e72a00000000u, 0xb5e620f480000000u, 0xe35fa931a0000000u, 0x8e1bc9bf04000000u,
    0xb1a2bc2ec5000000u, 0xde0b6b3a76400000u, 0x8ac7230489e80000u, 0xad78ebc5ac620000u,
    0xd8d726b7177a8000u, 0x878678326eac9000u, 0xa968163f0a57b400u, 0xd3c21bcecceda100u,
    0x84595161401484a0u, 0xa56fa5b99019a5c8u, 0xcecb8f27f4200f3au, 0x813f3978f8940985u,
    0xa18f07d736b90be6u, 0xc9f2c9cd04674edfu, 0xfc6f7c4045812297u, 0x9dc5ada82b70b59eu,
    0xc5371912364ce306u, 0xf684df56c3e01bc7u, 0x9a130b963a6c115du, 0xc097ce7bc90715b4u,
    0xf0bdc21abb48db21u, 0x96769950b50d88f5u, 0xbc143fa4e250eb32u, 0xeb194f8e1ae525feu,
    0x92efd1b8d0cf37bfu, 0xb7abc627050305aeu, 0xe596b7b0c643c71au, 0x8f7e32ce7bea5c70u,
    0xb35dbf821ae4f38cu,
};

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

struct decimal {
    uint32_t digits;
    int32_t exp10;
};

/* floor(log10(2^q)), or floor(log10(3/4 × 2^q)) when `closer`; exact for |q| ≤ 1500. */
static int32_t floor_log10(int32_t q, bool closer)
{
    return (q * 1262611 - (closer ? 524031 : 0)) >> 22;
}

/* floor(log2(10^e)), exact for |e| ≤ 1200. */
static int32_t floor_log2(int32_t e)
{
    return (e * 1741647) >> 19;
}

/* floor(g × cp / 2^64), with the lowest bit set when more than g's own rounding was cut off: the
 * paper shows that comparing such numbers is exact. */
static uint32_t round_to_odd(uint64_t g, uint32_t cp)
{
    uint64_t low = (g & UINT32_MAX) * cp;
    uint64_t high = (g >> 32) * cp + (low >> 32);
    return (uint32_t)(high >> 32) | ((uint32_t)high > 1);
}

static struct decimal shortest(uint32_t fraction, uint32_t exponent)
{
    uint32_t c = exponent ? fraction | 1u << 23 : fraction;
    int32_t q = exponent ? (int32_t)exponent - 150 : -149;
    if (q <= 0 && q > -24 && exponent && (c & ((1u << -q) - 1)) == 0) {
        return (struct decimal){c >> -q, 0}; /* an integer of at most 24 bits */
    }
    /* Below a power of two the floats are twice as dense: the interval's lower half is shorter. */
    bool closer = fraction == 0 && exponent > 1;
    int32_t k = floor_log10(q, closer);
    int32_t h = q + floor_log2(-k) + 1;
    uint64_t g = g_table[-k - G_MIN];
    uint32_t odd = c & 1; /* the ends of the interval belong to it when c is even */
    uint32_t lower = round_to_odd(g, (4 * c - 2 + closer) << h) + odd;
    uint32_t value = round_to_odd(g, 4 * c << h);
    uint32_t upper = round_to_odd(g, (4 * c + 2) << h) - odd;
    uint32_t s = value / 4;
    if (s >= 10) {
        uint32_t tens = s / 10;
        bool down_inside = lower <= 40 * tens;
        bool up_inside = 40 * tens + 40 <= upper;
        if (down_inside != up_inside) {
            return (struct decimal){tens + up_inside, k + 1};
        }
    }
    bool down_inside = lower <= 4 * s;
    bool up_inside = 4 * s + 4 <= upper;
    if (down_inside != up_inside) {
        return (struct decimal){s + up_inside, k};
    }
    uint32_t middle = 4 * s + 2;
    bool up = value > middle || (value == middle && (s & 1));
    return (struct decimal){s + up, k};
}

/* Write the digits of v; gives how many. */
static int put_digits(uint32_t v, char text[10])
{
    char back[10];
    int at = 10;
    while (v >= 100) {
        uint32_t pair = v % 100;
        v /= 100;
        at -= 2;
        memcpy(back + at, digit_pairs + (size_t)2 * pair, 2);
    }
    if (v >= 10) {
        at -= 2;
        memcpy(back + at, digit_pairs + (size_t)2 * v, 2);
    } else {
        back[--at] = (char)('0' + v);
    }
    memcpy(text, back + at, (size_t)(10 - at));
    return 10 - at;
}

/* 0.000ddd, ddd00, dd.d or d.dde-7; `point` is the power of ten of the first digit. */
static size_t lay_out(const char *digits, int n, int point, char *to)
{
    char *p = to;
    if (point < PLAIN_MIN || point > PLAIN_MAX) {
        *p++ = digits[0];
        if (n > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)(n - 1));
            p += n - 1;
        }
        *p++ = 'e';
        if (point < 0) {
            *p++ = '-';
        }
        p += put_digits((uint32_t)(point < 0 ? -point : point), p);
    } else if (point < 0) {
        memcpy(p, "0.000", 5);
        p += 1 - point;
        memcpy(p, digits, (size_t)n);
        p += n;
    } else if (n > point + 1) {
        memcpy(p, digits, (size_t)point + 1);
        p += point + 1;
        *p++ = '.';
        memcpy(p, digits + point + 1, (size_t)(n - point - 1));
        p += n - point - 1;
    } else {
        memcpy(p, digits, (size_t)n);
        memset(p + n, '0', (size_t)(point + 1 - n));
        p += point + 1;
    }
    return (size_t)(p - to);
}

size_t ak_f32_print(float value, char text[16])
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t fraction = bits & 0x7FFFFF;
    uint32_t exponent = bits >> 23 & 0xFF;
    size_t sign = bits >> 31;
    char digits[10];
    if (exponent == 0xFF) {
        return 0;
    }
    text[0] = '-'; /* overwritten when there is no sign */
    if (fraction == 0 && exponent == 0) {
        text[sign] = '0';
        return sign + 1;
    }
    struct decimal d = shortest(fraction, exponent);
    int n = put_digits(d.digits, digits);
    int point = d.exp10 + n - 1;
    while (digits[n - 1] == '0') {
        n--;
    }
    return sign + lay_out(digits, n, point, text + sign);
}
