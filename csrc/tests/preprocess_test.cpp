// preprocess against the rule in float64, on random sizes, pitches and crops, in memory that ends where the picture ends.

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <vadfast/frame.h>

#include "allocations.h"
#include "check.h"

namespace {

std::mt19937 generator(5);

int32_t random_int(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(generator);
}

// A picture in allocations of their own, exactly as large as it says: a sanitizer sees the first byte that is read beyond.
struct Picture {
    explicit Picture(int32_t format, int32_t width, int32_t height) {
        p.format = format;
        p.width  = width;
        p.height = height;
        const bool nv12 = format == VAD_FORMAT_NV12, i420 = format == VAD_FORMAT_I420;
        const bool in_threes = format == VAD_FORMAT_BGR || format == VAD_FORMAT_RGB;
        add(in_threes ? 3 * width : width, height);
        if (nv12) {
            add(width, height / 2);
        }
        if (i420) {
            add(width / 2, height / 2);
            add(width / 2, height / 2);
        }
    }

    void add(int32_t row, int32_t rows) {
        const int32_t plane = int32_t(planes.size());
        p.pitch[plane]      = row + random_int(0, 3);
        const size_t n      = size_t(p.pitch[plane] * (rows - 1) + row);
        planes.emplace_back(new uint8_t[n]);
        for (size_t i = 0; i < n; i++) {
            planes.back()[i] = uint8_t(random_int(0, 255));
        }
        p.plane[plane] = planes.back().get();
    }

    vad_picture                             p{};
    std::vector<std::unique_ptr<uint8_t[]>> planes;
};

double clamp(double x) {
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

// A sample of the whole picture, rounded as cv2.cvtColor does (coefficients in units of 2^-20).
double sample(const vad_picture & p, int32_t x, int32_t y, int channel) {
    const uint8_t * row = p.plane[0] + y * p.pitch[0];
    switch (p.format) {
        case VAD_FORMAT_GRAY: return row[x];
        case VAD_FORMAT_RGB: return row[3 * x + channel];
        case VAD_FORMAT_BGR: return row[3 * x + 2 - channel];
        default: break;
    }
    const bool      nv12 = p.format == VAD_FORMAT_NV12;
    const uint8_t * at_u = p.plane[1] + (y / 2) * p.pitch[1] + (nv12 ? x / 2 * 2 : x / 2);
    const double    u = *at_u - 128.0, v = (nv12 ? at_u[1] : p.plane[2][(y / 2) * p.pitch[2] + x / 2]) - 128.0;
    const double    luma   = 1220542.0 * std::max(row[x] - 16, 0);
    const double    colour = channel == 0 ? 1673527.0 * v : channel == 1 ? -852492.0 * v - 409993.0 * u : 2116026.0 * u;
    return clamp(std::floor((luma + colour) / 1048576 + 0.5));
}

// One output value by the rule.
double value(const vad_picture & p, const vad_image & image, int32_t i, int32_t j, int channel) {
    const bool   everything = p.crop_width == 0;
    const int32_t width = everything ? p.width : p.crop_width, height = everything ? p.height : p.crop_height;
    const double x = (i + 0.5) * width / image.width - 0.5, y = (j + 0.5) * height / image.height - 0.5;
    const double left = std::floor(x), top = std::floor(y);
    double       sum = 0;
    for (int k = 0; k < 4; k++) {
        const double  column = left + k % 2, row = top + k / 2;
        const double  share = (1 - std::fabs(x - column)) * (1 - std::fabs(y - row));
        const int32_t in_x = int32_t(std::min(std::max(column, 0.0), width - 1.0));
        const int32_t in_y = int32_t(std::min(std::max(row, 0.0), height - 1.0));
        sum += share * sample(p, p.crop_x + in_x, p.crop_y + in_y, channel);
    }
    return sum;
}

void set_crop(vad_picture & p) {
    const int32_t even = p.format == VAD_FORMAT_NV12 || p.format == VAD_FORMAT_I420 ? ~1 : ~0;
    p.crop_x           = random_int(0, p.width - 1) & even;
    p.crop_y           = random_int(0, p.height - 1) & even;
    p.crop_width       = random_int(1, p.width - p.crop_x);
    p.crop_height      = random_int(1, p.height - p.crop_y);
    p.crop_width += even == ~1 ? p.crop_width & 1 : 0;
    p.crop_height += even == ~1 ? p.crop_height & 1 : 0;
}

// How far the image is from the rule, in levels; infinite where something beside it was written.
double error_of(const Picture & picture, int32_t width, int32_t height) {
    const int32_t              pitch = 3 * width + random_int(0, 3);
    std::unique_ptr<uint8_t[]> memory(new uint8_t[size_t(pitch * (height - 1) + 3 * width)]);
    for (int32_t y = 0; y < height - 1; y++) {
        std::fill(memory.get() + y * pitch + 3 * width, memory.get() + (y + 1) * pitch, uint8_t(77));
    }
    const vad_image image{memory.get(), pitch, width, height};
    if (vad_preprocess(&picture.p, &image, 1) != VAD_OK) {
        std::printf("%s\n", vad_last_error());
        return INFINITY;
    }
    double worst = 0;
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < 3 * width; x++) {
            worst = std::max(worst, std::fabs(image.data[y * pitch + x] - value(picture.p, image, x / 3, y, x % 3)));
        }
        for (int32_t x = 3 * width; y < height - 1 && x < pitch; x++) {
            worst = image.data[y * pitch + x] == 77 ? worst : INFINITY;
        }
    }
    return worst;
}

void test_sizes() {
    double worst = 0;
    for (int i = 0; i < 400; i++) {
        const int32_t format = i % 5, even = format <= VAD_FORMAT_I420 ? 2 : 1, most = i % 20 == 0 ? 700 : 40;
        Picture       picture(format, even * random_int(1, most / even), even * random_int(1, 40 / even));
        if (i % 3 == 0) {
            set_crop(picture.p);
        }
        worst = std::max(worst, error_of(picture, random_int(1, most), random_int(1, 40)));
    }
    std::printf("preprocess: worst error %.4f levels\n", worst);
    // Half a level is the rounding of any integer; the rest is what OpenCV cuts off: two quarters, and 11 bits of weight.
    CHECK(worst < 1.1);
}

void test_same_size_is_a_conversion() {
    for (int32_t format = 0; format < 5; format++) {
        CHECK(error_of(Picture(format, 34, 18), 34, 18) == 0);
        CHECK(error_of(Picture(format, 600, 6), 600, 6) == 0);
    }
}

// Refused with a sentence that has `word`, and nothing written.
void refuses(const vad_picture & picture, const vad_image & image, const char * word) {
    std::vector<uint8_t> before(image.data, image.data + 300);
    const Picture        first(VAD_FORMAT_GRAY, 2, 2);
    const vad_picture    pictures[2] = {first.p, picture};
    const vad_image      images[2]   = {image, image};
    CHECK(vad_preprocess(pictures, images, 2) == VAD_E_ARGUMENT);  // not even the first, which is good
    CHECK(std::string(vad_last_error()).find(word) != std::string::npos);
    CHECK(std::equal(before.begin(), before.end(), image.data));
}

void test_bad_input() {
    std::vector<uint8_t> out(300, 7);
    const vad_image      image{out.data(), 30, 10, 10};
    const Picture        good(VAD_FORMAT_NV12, 8, 6);
    auto                 with = [&](auto change) {
        vad_picture p = good.p;
        change(p);
        return p;
    };
    refuses(with([](vad_picture & p) { p.format = 5; }), image, "pictures[1].format");
    refuses(with([](vad_picture & p) { p.format = INT32_MIN; }), image, "got -2147483648");
    refuses(with([](vad_picture & p) { p.width = 0; }), image, "at least 1 x 1");
    refuses(with([](vad_picture & p) { p.height = -6; }), image, "got 8 x -6");
    refuses(with([](vad_picture & p) { p.width = 7; }), image, "even sides");
    refuses(with([](vad_picture & p) { p.plane[1] = nullptr; }), image, "plane[1]");
    refuses(with([](vad_picture & p) { p.pitch[0] = 7; }), image, "pitch[0]");
    refuses(with([](vad_picture & p) { p.pitch[1] = -8; }), image, "got -8");
    refuses(with([](vad_picture & p) { p.pitch[0] = INT64_MAX; }), image, "less than 2^63");
    refuses(with([](vad_picture & p) { p.crop_x = 2; }), image, "crop");
    refuses(with([](vad_picture & p) { p.crop_x = 2, p.crop_width = INT32_MAX, p.crop_height = 2; }), image, "lie in the picture");
    refuses(with([](vad_picture & p) { p.crop_x = 1, p.crop_width = 2, p.crop_height = 2; }), image, "must be even");
    refuses(with([](vad_picture & p) { p.crop_y = -2, p.crop_width = 2, p.crop_height = 2; }), image, "y -2");

    vad_image bad = image;
    bad.pitch     = 29;
    refuses(good.p, bad, "images[0].pitch");
    bad       = image;
    bad.width = INT32_MAX;
    refuses(good.p, bad, "6442450941");
    bad.pitch  = INT64_MAX / 2;
    bad.height = 3;
    refuses(good.p, bad, "less than 2^63");
    bad        = image;
    bad.height = 0;
    refuses(good.p, bad, "got 10 x 0");

    bad      = image;
    bad.data = nullptr;
    CHECK(vad_preprocess(&good.p, &bad, 1) == VAD_E_ARGUMENT);
    CHECK(vad_preprocess(nullptr, &image, 1) == VAD_E_ARGUMENT);
    CHECK(vad_preprocess(&good.p, nullptr, 1) == VAD_E_ARGUMENT);
    CHECK(vad_preprocess(&good.p, &image, -1) == VAD_E_ARGUMENT);
    CHECK(vad_preprocess(nullptr, nullptr, 0) == VAD_OK);
}

void test_overlap() {
    std::vector<uint8_t> mosaic(8 * 36);
    Picture              picture(VAD_FORMAT_RGB, 64, 64);
    const vad_picture    twice[2] = {picture.p, picture.p};
    const auto           refused  = [&](const vad_image (&images)[2], const char * words) {
        return vad_preprocess(twice, images, 2) == VAD_E_ARGUMENT && std::string(vad_last_error()).find(words) != std::string::npos;
    };
    auto * last = const_cast<uint8_t *>(picture.p.plane[0]) + 63 * picture.p.pitch[0];
    CHECK(refused({{mosaic.data(), 36, 6, 8}, {last, 12, 4, 1}}, "images[1] must not overlap pictures[0]"));
    CHECK(refused({{mosaic.data(), 36, 7, 8}, {mosaic.data() + 4 * 36 + 18, 36, 6, 4}}, "images[1] must not overlap images[0]"));
    CHECK(mosaic == std::vector<uint8_t>(8 * 36));
    const vad_image beside[2] = {{mosaic.data(), 36, 6, 8}, {mosaic.data() + 18, 36, 6, 8}};
    CHECK(vad_preprocess(twice, beside, 2) == VAD_OK);
}

void test_allocates_nothing() {
    std::vector<uint8_t> out(3 * 600 * 40);
    const vad_image      image{out.data(), 1800, 600, 40};
    for (int32_t format = 0; format < 5; format++) {
        const Picture picture(format, 320, 64);
        const long    before = allocations::count();
        const auto    status = vad_preprocess(&picture.p, &image, 1);
        CHECK(allocations::count() == before);
        CHECK(status == VAD_OK);
    }
    CHECK(allocations::works());
}

}  // namespace

int main() {
    test_sizes();
    test_same_size_is_a_conversion();
    test_bad_input();
    test_overlap();
    test_allocates_nothing();
    return check::done("preprocess");
}
