// exp and log from additions, multiplications and divisions alone, so that they give the same bits on every machine; a C library's
// differ from one to the next in the last digit. Within 4 units of it, which the tests measure.

#pragma once

#include <cmath>
#include <limits>

namespace vad::elementary {

constexpr double LN2_HIGH  = 0x1.62e42fee00000p-1;  // 20 zeros at its end: an exponent times it is exact
constexpr double LN2_LOW   = 0x1.a39ef35793c76p-33;
constexpr double SQRT_HALF = 0x1.6a09e667f3bcdp-1;
constexpr double HALF_LN2  = 0.34657359027997264;

// x = mantissa 2^exponent, the mantissa within a factor of sqrt(2) of 1.
struct Split {
    double mantissa;
    int    exponent;
};

inline Split split(double x) {
    Split parts;
    parts.mantissa = std::frexp(x, &parts.exponent);
    if (parts.mantissa < SQRT_HALF) {
        parts.mantissa *= 2;
        parts.exponent--;
    }
    return parts;
}

// The power of 2 next to exp(x), and what is left of x then.
inline int exponent_of(double x) {
    return int(std::floor(x / (2 * HALF_LN2) + 0.5));
}

inline double rest_of(double x, int exponent) {
    return (x - exponent * LN2_HIGH) - exponent * LN2_LOW;
}

// log(1 + y), for y > -1, without losing the digits of a small y.
inline double log1p(double y) {
    if (!(y < std::numeric_limits<double>::infinity())) {
        return y;
    }
    int    exponent = 0;
    double top      = y;  // log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 + ...) with s = top / (2 + top)
    if (y < -0.25 || y > 0.4) {
        const Split parts = split(1 + y);
        exponent          = parts.exponent;
        top               = parts.mantissa - 1;
    }
    const double s      = top / (2 + top);
    const double square = s * s;
    double       sum    = 0;
    for (int k = 25; k >= 3; k -= 2) {
        sum = (sum + 1.0 / k) * square;
    }
    // s is rounded and top is not: 2 s = top - s top, whose rounding hardly counts.
    return exponent * LN2_HIGH + (top - s * (top - 2 * sum) + exponent * LN2_LOW);
}

inline double log(double x) {
    const Split parts = split(x);
    return parts.exponent * LN2_HIGH + (log1p(parts.mantissa - 1) + parts.exponent * LN2_LOW);
}

// exp(x) - 1 without losing the digits of a small x.
inline double expm1(double x) {
    if (!(x <= 709.78)) {
        return x != x ? x : std::numeric_limits<double>::infinity();
    }
    if (x < -745.2) {
        return -1;
    }
    const int    exponent = std::fabs(x) <= HALF_LN2 ? 0 : exponent_of(x);
    const double rest     = rest_of(x, exponent);
    double       sum      = 0;
    for (int k = 15; k >= 2; k--) {
        sum = (sum + 1) * rest / k;
    }
    const double small = rest + rest * sum;
    return exponent == 0 ? small : std::ldexp(small + 1, exponent) - 1;
}

inline double exp(double x) {
    if (!(x <= 709.78)) {
        return x != x ? x : std::numeric_limits<double>::infinity();
    }
    if (x < -745.2) {
        return 0;
    }
    const int exponent = exponent_of(x);
    return std::ldexp(1 + expm1(rest_of(x, exponent)), exponent);
}

}  // namespace vad::elementary
