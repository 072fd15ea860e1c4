// exp and log from additions, multiplications and divisions alone, so that they give the same bits on every machine; a C library's
// differ from one to the next in the last digit. Within 4 units of it, which the tests measure.

#pragma once

#include <cmath>
#include <limits>

namespace vad::elementary {

constexpr double LN2_HIGH  = 0x1.62e42fee00000p-1;  // 20 zeros at its end: an exponent times it is exact
constexpr double LN2_LOW   = 0x1.a39ef35793c76p-33;
constexpr double SQRT_HALF = 0x1.6a09e667f3bcdp-1;

// log(1 + y), for y > -1, without losing the digits of a small y.
inline double log1p(double y) {
    if (!(y < std::numeric_limits<double>::infinity())) {
        return y;
    }
    int    exponent = 0;
    double top      = y;  // log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 + ...) with s = top / (2 + top)
    if (y < -0.25 || y > 0.4) {
        double mantissa = std::frexp(1 + y, &exponent);
        if (mantissa < SQRT_HALF) {
            mantissa *= 2;
            exponent--;
        }
        top = mantissa - 1;
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
    int    exponent = 0;
    double mantissa = std::frexp(x, &exponent);
    if (mantissa < SQRT_HALF) {
        mantissa *= 2;
        exponent--;
    }
    return exponent * LN2_HIGH + (log1p(mantissa - 1) + exponent * LN2_LOW);
}

// exp(x) - 1 without losing the digits of a small x.
inline double expm1(double x) {
    constexpr double HALF_LN2 = 0.34657359027997264;
    if (!(x <= 709.78)) {
        return x != x ? x : std::numeric_limits<double>::infinity();
    }
    if (x < -745.2) {
        return -1;
    }
    const int    exponent = std::fabs(x) <= HALF_LN2 ? 0 : int(std::floor(x / (2 * HALF_LN2) + 0.5));
    const double rest     = (x - exponent * LN2_HIGH) - exponent * LN2_LOW;
    double       sum      = 0;
    for (int k = 15; k >= 2; k--) {
        sum = (sum + 1) * rest / k;
    }
    const double small = rest + rest * sum;
    return exponent == 0 ? small : std::ldexp(small + 1, exponent) - 1;
}

inline double exp(double x) {
    constexpr double HALF_LN2 = 0.34657359027997264;
    if (!(x <= 709.78)) {
        return x != x ? x : std::numeric_limits<double>::infinity();
    }
    if (x < -745.2) {
        return 0;
    }
    const int exponent = int(std::floor(x / (2 * HALF_LN2) + 0.5));
    return std::ldexp(1 + expm1((x - exponent * LN2_HIGH) - exponent * LN2_LOW), exponent);
}

}  // namespace vad::elementary
