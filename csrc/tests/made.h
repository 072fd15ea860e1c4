// Values for tests: random ones, and ones of integers that the Python tests make too.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <vadfast/status.h>

namespace made {

const double           NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();
inline std::mt19937_64 generator(20261121);

inline double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(generator);
}

inline int32_t whole(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(generator);
}

// Some of them equal.
inline std::vector<double> values(int64_t n) {
    std::vector<double> x(n);
    for (double & value : x) {
        value = whole(0, 3) == 0 ? whole(-2, 2) : uniform(-5, 5);
    }
    return x;
}

inline std::vector<double> of_integers(int32_t n) {
    std::vector<double> x(n);
    for (int64_t i = 1; i <= n; i++) {
        const double second = double(i * 104729 % 1009);
        x[i - 1]            = double(i * 7919 % 10007) / 1024 + second * second / 65536;
    }
    return x;
}

inline bool says(const char * words) {
    return std::strstr(vad_last_error(), words) != nullptr;
}

// FNV-1a of 64 bits.
inline std::string sum_of(const void * memory, size_t size) {
    uint64_t sum = 0xcbf29ce484222325;
    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ static_cast<const uint8_t *>(memory)[i]) * 0x100000001b3;
    }
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
    return text;
}

inline std::string sum_of(const std::vector<double> & x) {
    return sum_of(x.data(), x.size() * sizeof x[0]);
}

}  // namespace made
