// What preprocess takes: everything is looked at before the first byte is read or written.

#include <cstdint>

#include "error.h"
#include "overlap.h"
#include "preprocess.h"

namespace {

constexpr int32_t  N_FORMATS         = 5;
const char * const FORMATS[N_FORMATS] = {"NV12", "I420", "BGR", "RGB", "GRAY"};

bool is_yuv(int32_t format) {
    return format == VAD_FORMAT_NV12 || format == VAD_FORMAT_I420;
}

int64_t bytes_of_row(const vad_picture & p, int32_t plane) {
    switch (p.format) {
        case VAD_FORMAT_BGR:
        case VAD_FORMAT_RGB: return 3 * int64_t(p.width);
        case VAD_FORMAT_I420: return plane == 0 ? p.width : p.width / 2;
        default: return p.width;
    }
}

bool has_crop(const vad_picture & p) {
    return p.crop_x != 0 || p.crop_y != 0 || p.crop_width != 0 || p.crop_height != 0;
}

bool overflows(int64_t pitch, int64_t rows) {
    int64_t bytes;
    return __builtin_mul_overflow(pitch, rows, &bytes);
}

// In a sentence the argument is called pictures[i] or images[i].
struct Place {
    const char * function;
    int32_t      i;
};

vad_status check_crop(Place at, const vad_picture & p) {
    if (!has_crop(p)) {
        return VAD_OK;
    }
    if (p.crop_x < 0 || p.crop_y < 0 || p.crop_width < 1 || p.crop_height < 1 || int64_t(p.crop_x) + p.crop_width > p.width ||
        int64_t(p.crop_y) + p.crop_height > p.height) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: pictures[%d].crop must lie in the picture of %d x %d, got x %d, y %d, %d x %d; all 0 is everything",
                         at.function, at.i, p.width, p.height, p.crop_x, p.crop_y, p.crop_width, p.crop_height);
    }
    if (is_yuv(p.format) && ((p.crop_x | p.crop_y | p.crop_width | p.crop_height) & 1) != 0) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: pictures[%d].crop of %s must be even, for two by two pixels share a colour, got x %d, y %d, %d x %d",
                         at.function, at.i, FORMATS[p.format], p.crop_x, p.crop_y, p.crop_width, p.crop_height);
    }
    return VAD_OK;
}

vad_status check_picture(Place at, const vad_picture & p) {
    if (p.format < 0 || p.format >= N_FORMATS) {
        return vad::fail(VAD_E_ARGUMENT, "%s: pictures[%d].format must be a VAD_FORMAT_*, 0 to %d, got %d", at.function, at.i,
                         N_FORMATS - 1, p.format);
    }
    if (p.width < 1 || p.height < 1) {
        return vad::fail(VAD_E_ARGUMENT, "%s: pictures[%d] must be at least 1 x 1, got %d x %d", at.function, at.i, p.width, p.height);
    }
    if (is_yuv(p.format) && ((p.width | p.height) & 1) != 0) {
        return vad::fail(VAD_E_ARGUMENT, "%s: pictures[%d] of %s must have even sides, for two by two pixels share a colour, got %d x %d",
                         at.function, at.i, FORMATS[p.format], p.width, p.height);
    }
    for (int32_t plane = 0; plane < vad::n_planes(p.format); plane++) {
        if (p.plane[plane] == nullptr) {
            return vad::fail(VAD_E_ARGUMENT, "%s: pictures[%d].plane[%d] of %s must point to samples, got NULL", at.function, at.i,
                             plane, FORMATS[p.format]);
        }
        if (p.pitch[plane] < bytes_of_row(p, plane) || overflows(p.pitch[plane], p.height)) {
            return vad::fail(VAD_E_ARGUMENT,
                             "%s: pictures[%d].pitch[%d] of %s must be at least the %lld bytes of a row and its plane less than 2^63, got "
                             "%lld",
                             at.function, at.i, plane, FORMATS[p.format], (long long)bytes_of_row(p, plane), (long long)p.pitch[plane]);
        }
    }
    return check_crop(at, p);
}

vad_status check_image(Place at, const vad_image & image) {
    if (image.data == nullptr) {
        return vad::fail(VAD_E_ARGUMENT, "%s: images[%d].data must point to memory, got NULL", at.function, at.i);
    }
    if (image.width < 1 || image.height < 1) {
        return vad::fail(VAD_E_ARGUMENT, "%s: images[%d] must be at least 1 x 1, got %d x %d", at.function, at.i, image.width,
                         image.height);
    }
    if (image.pitch < 3 * int64_t(image.width) || overflows(image.pitch, image.height)) {
        return vad::fail(VAD_E_ARGUMENT,
                         "%s: images[%d].pitch must be at least the %lld bytes of a row and the image less than 2^63, got %lld",
                         at.function, at.i, 3LL * image.width, (long long)image.pitch);
    }
    return VAD_OK;
}

vad::Rows rows_of(const vad_image & image) {
    return {image.data, image.pitch, 3 * int64_t(image.width), image.height};
}

vad::Rows rows_of(const vad_picture & p, int32_t plane) {
    return {p.plane[plane], p.pitch[plane], bytes_of_row(p, plane), plane == 0 ? p.height : p.height / 2};
}

// Of pictures and images that were checked one by one: no image lies in a picture of the call, or in another image.
vad_status check_apart(const char * function, const vad_picture * pictures, const vad_image * images, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const vad::Rows image = rows_of(images[i]);
        for (int32_t j = 0; j < n; j++) {
            for (int32_t plane = 0; plane < vad::n_planes(pictures[j].format); plane++) {
                if (vad::overlap(image, rows_of(pictures[j], plane))) {
                    return vad::fail(VAD_E_ARGUMENT,
                                     "%s: images[%d] must not overlap pictures[%d], got it at %p, in its plane %d; pass other memory",
                                     function, i, j, static_cast<const void *>(image.first), plane);
                }
            }
            if (j < i && vad::overlap(image, rows_of(images[j]))) {
                return vad::fail(VAD_E_ARGUMENT, "%s: images[%d] must not overlap images[%d], got them at %p and %p; pass other memory",
                                 function, i, j, static_cast<const void *>(image.first), static_cast<const void *>(images[j].data));
            }
        }
    }
    return VAD_OK;
}

}  // namespace

vad_status vad::check_preprocess(const char * function, const vad_picture * pictures, const vad_image * images, int32_t n) {
    if (n < 0) {
        return fail(VAD_E_ARGUMENT, "%s: n must be at least 0, got %d", function, n);
    }
    if (n > 0 && (pictures == nullptr || images == nullptr)) {
        return missing(function, pictures == nullptr ? "pictures" : "images");
    }
    for (int32_t i = 0; i < n; i++) {
        if (vad_status status = check_picture({function, i}, pictures[i]); status != VAD_OK) {
            return status;
        }
        if (vad_status status = check_image({function, i}, images[i]); status != VAD_OK) {
            return status;
        }
    }
    return check_apart(function, pictures, images, n);
}

int32_t vad::n_planes(int32_t format) {
    return format == VAD_FORMAT_NV12 ? 2 : format == VAD_FORMAT_I420 ? 3 : 1;
}

vad::Resize vad::resize_of(const vad_picture & p, const vad_image & image) {
    Resize resize{{p.plane[0], p.plane[1], p.plane[2]}, {p.pitch[0], p.pitch[1], p.pitch[2]}, image.data, image.pitch,
                  p.format, p.width, p.height, image.width, image.height};
    if (!has_crop(p)) {
        return resize;
    }
    resize.width  = p.crop_width;
    resize.height = p.crop_height;
    for (int32_t plane = 0; plane < n_planes(p.format); plane++) {
        // Half of the rows in the planes of chroma, and in bytes half of the columns in those of I420.
        const int64_t y = plane == 0 ? p.crop_y : p.crop_y / 2;
        const int64_t x = p.format == VAD_FORMAT_I420 && plane > 0 ? p.crop_x / 2 : p.crop_x;
        resize.plane[plane] += y * p.pitch[plane] + x * (bytes_of_row(p, 0) / p.width);
    }
    return resize;
}
