// Whether two stretches of memory share bytes: no result may lie where something is still to be read, or where another result goes.

#pragma once

#include <cstdint>

namespace vad {

struct Bytes {
    uintptr_t first;
    uintptr_t end;
};

inline Bytes bytes_at(const void * first, int64_t n) {
    const auto address = reinterpret_cast<uintptr_t>(first);
    return {address, address + uintptr_t(n)};
}

inline bool overlap(const Bytes & a, const Bytes & b) {
    return a.first < a.end && b.first < b.end && a.first < b.end && b.first < a.end;
}

// Rows of `width` bytes, `pitch` (not less) from one to the next.
struct Rows {
    const uint8_t * first;
    int64_t         pitch;
    int64_t         width;
    int64_t         n;
};

inline Bytes bytes_of(const Rows & rows) {
    return bytes_at(rows.first, (rows.n - 1) * rows.pitch + rows.width);
}

// To the byte: two tiles of a mosaic lie between each other's rows, and share none.
inline bool overlap(const Rows & a, const Rows & b) {
    if (!overlap(bytes_of(a), bytes_of(b))) {
        return false;
    }
    // Of the rows of b that begin before the end of a row of a, the last one ends last.
    const auto apart = int64_t(reinterpret_cast<uintptr_t>(a.first) - reinterpret_cast<uintptr_t>(b.first));
    for (int64_t i = 0; i < a.n; i++) {
        const int64_t from = apart + i * a.pitch, last = from + a.width - 1;
        const int64_t row  = last < 0 ? -1 : last / b.pitch < b.n ? last / b.pitch : b.n - 1;
        if (row >= 0 && row * b.pitch + b.width > from) {
            return true;
        }
    }
    return false;
}

}  // namespace vad
