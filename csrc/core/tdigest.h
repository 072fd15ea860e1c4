// Quantiles of any number of values in 24 KiB: a t-digest (Dunning and Ertl, "Computing extremely accurate quantiles using t-digests",
// 2019) with the scale function k1, that is clusters that are small near both ends, where thresholds lie.
//
// A cluster of a share around q spans at most one step of k1(q) = COMPRESSION / (2 pi) asin(2 q - 1), so it holds at most
// 2 pi / COMPRESSION sqrt(q (1 - q)) of all values (0.3 % in the middle, 0.06 % at 0.01 and 0.99), and a rank that is read is off by less
// than that: the tests measure it. No arithmetic but + - * / and sqrt, so the clusters have the same bits on every machine. Values in an
// order that is made against it can make it worse, as any t-digest; it learns only while somebody vouches for the video.

#pragma once

#include <cstdint>

namespace vad {

struct TDigest {
    static constexpr int32_t COMPRESSION  = 1000;
    static constexpr int32_t MAX_CLUSTERS = COMPRESSION + 24;  // two neighbours span more than a step, of which there are COMPRESSION / 2
    static constexpr int32_t MAX_WAITING  = 1024;

    int64_t n;           // values in the clusters
    double  min;
    double  max;
    int32_t n_clusters;
    int32_t n_waiting;
    double  mean[MAX_CLUSTERS];
    int64_t weight[MAX_CLUSTERS];
    double  waiting[MAX_WAITING];  // not in a cluster yet
};

constexpr int64_t MAX_COUNT = int64_t(1) << 53;  // of values: 10 million years at 25 a second, and exact as a double

void digest_add(TDigest & digest, double x);

// Takes what waits into the clusters.
void digest_merge(TDigest & digest);

// The functions below read clusters: n > 0, and what waits is not seen.

// Returns the value below which a share q in [0, 1] lies.
double digest_quantile(const TDigest & digest, double q);

// Return the share of values up to x, and below x: they differ where many values are equal.
double digest_share_up_to(const TDigest & digest, double x);
double digest_share_below(const TDigest & digest, double x);

}  // namespace vad
