// Values wait until there are some, are sorted, and are merged with the clusters in one walk over both.

#include "tdigest.h"

#include <algorithm>
#include <cmath>

using vad::TDigest;

namespace {

constexpr double COS_STEP = 0.9999802608561371;  // of 2 pi / COMPRESSION: a step of k1 without asin, whose bits differ between machines
constexpr double SIN_STEP = 0.006283143965558951;
static_assert(TDigest::COMPRESSION == 1000, "the sine and cosine above are of 2 pi / 1000");

// Where a cluster must end that begins after a share q: with sin(a) = 2 q - 1, at (sin(a + step) + 1) / 2.
double end_of(double q) {
    const double sine = 2 * q - 1;
    return sine >= COS_STEP ? 1 : (1 + sine * COS_STEP + 2 * std::sqrt(q * (1 - q)) * SIN_STEP) / 2;
}

// Clusters in order, written as they fill up.
struct Writer {
    int64_t n;           // of all values
    int64_t n_before;    // in clusters that are complete
    double  end;         // of the open cluster, in values
    int32_t n_clusters;  // the last one is open
    double  mean[TDigest::MAX_CLUSTERS];
    int64_t weight[TDigest::MAX_CLUSTERS];

    void add(double x, int64_t n_values) {
        if (n_clusters > 0 && n_before + weight[n_clusters - 1] + n_values <= end) {
            double &  m = mean[n_clusters - 1];
            int64_t & w = weight[n_clusters - 1];
            w += n_values;
            // Rounding must not carry it past x: the means are in order, and searched.
            m = std::min(x, m + (x - m) * (double(n_values) / double(w)));
            return;
        }
        if (n_clusters > 0) {
            n_before += weight[n_clusters - 1];
        }
        end                = double(n) * end_of(double(n_before) / double(n));
        mean[n_clusters]   = x;
        weight[n_clusters] = n_values;
        n_clusters++;
    }
};

// The share at x between cluster `right` and the one before; n_before values lie in clusters before that one.
double share_between(const TDigest & digest, int32_t right, double x) {
    int64_t n_before = 0;
    for (int32_t i = 0; i < right - 1; i++) {
        n_before += digest.weight[i];
    }
    const int64_t n_left = right > 0 ? digest.weight[right - 1] : 0;
    const double  low    = right > 0 ? digest.mean[right - 1] : digest.min;
    const double  high   = right < digest.n_clusters ? digest.mean[right] : digest.max;
    const double  from   = double(n_before) + 0.5 * double(n_left);
    const double  to     = double(n_before + n_left) + (right < digest.n_clusters ? 0.5 * double(digest.weight[right]) : 0);
    return (from + (to - from) * ((x - low) / (high - low))) / double(digest.n);
}

}  // namespace

void vad::digest_add(TDigest & digest, double x) {
    digest.waiting[digest.n_waiting++] = x + 0.0;  // -0 becomes 0: of the two a sort may put either first
    if (digest.n_waiting == TDigest::MAX_WAITING) {
        digest_merge(digest);
    }
}

void vad::digest_merge(TDigest & digest) {
    if (digest.n_waiting == 0) {
        return;
    }
    double * const waiting = digest.waiting;
    std::sort(waiting, waiting + digest.n_waiting);
    digest.min = digest.n == 0 ? waiting[0] : std::min(digest.min, waiting[0]);
    digest.max = digest.n == 0 ? waiting[digest.n_waiting - 1] : std::max(digest.max, waiting[digest.n_waiting - 1]);
    Writer writer;
    writer.n        = digest.n + digest.n_waiting;
    writer.n_before = writer.n_clusters = 0;
    for (int32_t c = 0, w = 0; c < digest.n_clusters || w < digest.n_waiting;) {
        if (w == digest.n_waiting || (c < digest.n_clusters && digest.mean[c] <= waiting[w])) {
            writer.add(digest.mean[c], digest.weight[c]);
            c++;
        } else {
            writer.add(waiting[w++], 1);
        }
    }
    digest.n          = writer.n;
    digest.n_waiting  = 0;
    digest.n_clusters = writer.n_clusters;
    std::copy_n(writer.mean, writer.n_clusters, digest.mean);
    std::copy_n(writer.weight, writer.n_clusters, digest.weight);
}

// Through the smallest value, the mean of each cluster at its middle, and the largest, in straight lines; share_between is the inverse.
double vad::digest_quantile(const TDigest & digest, double q) {
    const double wanted = q * double(digest.n);
    double       low = digest.min, from = 0;
    int64_t      n_before = 0;
    for (int32_t i = 0; i <= digest.n_clusters; i++) {
        const bool   is_last = i == digest.n_clusters;
        const double high    = is_last ? digest.max : digest.mean[i];
        const double to      = is_last ? double(digest.n) : double(n_before) + 0.5 * double(digest.weight[i]);
        if (wanted <= to) {
            return std::min(high, low + (high - low) * ((wanted - from) / (to - from)));
        }
        n_before += is_last ? 0 : digest.weight[i];
        low  = high;
        from = to;
    }
    return digest.max;
}

double vad::digest_share_up_to(const TDigest & digest, double x) {
    if (x < digest.min || x >= digest.max) {
        return x < digest.min ? 0 : 1;
    }
    return share_between(digest, int32_t(std::upper_bound(digest.mean, digest.mean + digest.n_clusters, x) - digest.mean), x);
}

double vad::digest_share_below(const TDigest & digest, double x) {
    if (x <= digest.min || x > digest.max) {
        return x <= digest.min ? 0 : 1;
    }
    return share_between(digest, int32_t(std::lower_bound(digest.mean, digest.mean + digest.n_clusters, x) - digest.mean), x);
}
