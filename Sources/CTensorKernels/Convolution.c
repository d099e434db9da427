// Two-dimensional convolutions over images with their channels last, as products whose left factor is read from the images where they are: in
// a row of the kernel, the columns and channels under it stand side by side. Images are copied once into a border of zeros, so that each
// window is whole. Chains are those of MatrixProduct.c, over the elements of a window (forward and for the gradient of the images) and over
// all windows (for the gradient of the weights).
#include "Kernel.h"
#include "MatrixProduct.h"
#include "Pool.h"
#include <string.h>

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t rounded_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

size_t tensor_convolution_output(size_t size, size_t kernel, size_t stride, size_t padding) {
    return size + 2 * padding < kernel ? 0 : (size + 2 * padding - kernel) / stride + 1;
}

/// Images of `height` x `width` x `channels` with zeros around them.
struct frame {
    size_t height, width, channels, top, left, framed_height, framed_width;
};

INLINE size_t frame_size(const struct frame *frame) { return frame->framed_height * frame->framed_width * frame->channels; }

static void fill_frame(const struct frame *frame, float *to, const float *image) {
    size_t row = frame->framed_width * frame->channels, line = frame->width * frame->channels;
    size_t left = frame->left * frame->channels, right = row - left - line;
    memset(to, 0, frame->top * row * sizeof(float));
    to += frame->top * row;
    for (size_t i = 0; i < frame->height; i++, to += row, image += line) {
        memset(to, 0, left * sizeof(float));
        memcpy(to + left, image, line * sizeof(float));
        memset(to + left + line, 0, right * sizeof(float));
    }
    memset(to, 0, (frame->framed_height - frame->top - frame->height) * row * sizeof(float));
}

/// The frame of x.
static struct frame input_frame(const struct tensor_convolution_shape *s) {
    return (struct frame){s->height, s->width, s->inputs, s->padding, s->padding, s->height + 2 * s->padding, s->width + 2 * s->padding};
}

INLINE size_t output_height(const struct tensor_convolution_shape *s) {
    return tensor_convolution_output(s->height, s->kernel, s->stride, s->padding);
}

INLINE size_t output_width(const struct tensor_convolution_shape *s) {
    return tensor_convolution_output(s->width, s->kernel, s->stride, s->padding);
}

// MARK: Windows as words of a left factor

/// The runs of one window: `rows` runs of `length` words whose beginnings are `distance` apart, cut into chains. Their number; with null,
/// only that.
static size_t window_runs(struct product_run *runs, size_t rows, size_t length, size_t distance) {
    size_t count = 0, filled = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t done = 0; done < length; count++) {
            size_t here = least(length - done, CHAIN - filled);
            filled += here;
            bool ends = filled == CHAIN || (row + 1 == rows && done + here == length);
            if (ends) filled = 0;
            if (runs) runs[count] = (struct product_run){row > 0 && done == 0 ? (ptrdiff_t)(distance - length) : 0, here, ends};
            done += here;
        }
    return count;
}

/// Floats that so many runs take.
INLINE size_t run_floats(size_t count) { return rounded_up(count * sizeof(struct product_run) / sizeof(float) + 1, 16); }

/// A product of windows with weights: rows of windows of one image.
struct windows {
    const struct product_kernels *kernels;
    const struct product_run *runs;
    size_t run_count;
    struct right_factor weights;
};

// MARK: Forward

struct forward {
    const struct tensor_convolution_shape *shape;
    struct windows windows;
    float *y;
    const float *x, *bias;
    bool relu;
    float *frames;
    size_t parts;
};

static void forward_image(const struct forward *work, size_t sample, float *framed) {
    const struct tensor_convolution_shape *s = work->shape;
    struct frame frame = input_frame(s);
    size_t height = output_height(s), width = output_width(s), row = frame.framed_width * s->inputs;
    fill_frame(&frame, framed, work->x + sample * s->height * s->width * s->inputs);
    float *y = work->y + sample * height * width * s->outputs;
    for (size_t i = 0; i < height; i++) {
        struct left_factor left = {framed + i * s->stride * row, s->stride * s->inputs, s->stride * s->inputs, true, false,
                                   work->windows.runs, work->windows.run_count};
        multiply_rows(work->windows.kernels, &left, width, &work->windows.weights, s->outputs, y + i * width * s->outputs, s->outputs, false);
    }
    if (work->relu)
        tensor_activate(TENSOR_RELU, y, NULL, y, work->bias, height * width, s->outputs);
    else if (work->bias)
        tensor_add_row(y, y, work->bias, height * width, s->outputs);
}

static void forward_part(void *context, size_t part) {
    const struct forward *work = context;
    struct frame frame = input_frame(work->shape);
    float *framed = work->frames + part * rounded_up(frame_size(&frame), 16);
    size_t samples = work->shape->samples;
    for (size_t sample = part * samples / work->parts; sample < (part + 1) * samples / work->parts; sample++)
        forward_image(work, sample, framed);
}

/// Weights (outputs, inputs, kernel, kernel) as (row, column, input) x output.
static void weights_by_window(const struct tensor_convolution_shape *s, float *to, const float *weight) {
    size_t K = s->kernel, area = K * K;
    for (size_t o = 0; o < s->outputs; o++)
        for (size_t c = 0; c < s->inputs; c++)
            for (size_t place = 0; place < area; place++)
                to[(place * s->inputs + c) * s->outputs + o] = weight[(o * s->inputs + c) * area + place];
}

/// How scratch memory is used: weights in another order and packed, runs, and frames for each thread.
struct forward_scratch {
    size_t ordered, packed, runs, frame, parts;
};

static struct forward_scratch forward_scratch(const struct tensor_convolution_shape *s, size_t most) {
    struct frame frame = input_frame(s);
    size_t words = s->kernel * s->kernel * s->inputs;
    size_t runs = window_runs(NULL, s->kernel, s->kernel * s->inputs, frame.framed_width * s->inputs);
    return (struct forward_scratch){rounded_up(words * s->outputs, 16), words * rounded_up(s->outputs, 16), run_floats(runs),
                                    rounded_up(frame_size(&frame), 16), least(most, s->samples)};
}

INLINE size_t forward_floats(const struct forward_scratch *scratch) {
    return scratch->ordered + scratch->packed + scratch->runs + scratch->parts * scratch->frame;
}

void tensor_convolution_forward(const struct tensor_convolution_shape *s, float *y, const float *x, const float *weight,
                                const float *bias, bool relu, float *scratch, size_t scratch_count) {
    struct forward_scratch uses = forward_scratch(s, pool_threads());
    while (uses.parts > 1 && forward_floats(&uses) > scratch_count) uses.parts--;
    struct frame frame = input_frame(s);
    float *packed = scratch + uses.ordered;
    struct product_run *runs = (struct product_run *)(void *)(packed + uses.packed);
    size_t words = s->kernel * s->kernel * s->inputs;
    const struct product_kernels *kernels = product_kernels();
    struct panel_plan plan = panel_plan(kernels, s->outputs);
    weights_by_window(s, scratch, weight);
    pack_panels(kernels, &plan, packed, scratch, s->outputs, false, words);
    struct windows windows = {kernels, runs, window_runs(runs, s->kernel, s->kernel * s->inputs, frame.framed_width * s->inputs),
                              {plan, packed, words, 0, 0}};
    struct forward work = {s, windows, y, x, bias, relu, packed + uses.packed + uses.runs, uses.parts};
    pool_run(uses.parts, forward_part, &work);
}

// MARK: The gradient of the images

/// One dimension of those elements of x whose place is `phase` modulo the stride: `count` of them, each under `taps` places of the kernel,
/// the last of which (in the kernel) is `last`, over y's places from `first` + its number on.
struct phase {
    size_t count, taps, last;
    ptrdiff_t first;
};

static struct phase phase_of(size_t phase, size_t size, const struct tensor_convolution_shape *s) {
    size_t kernel = s->kernel, stride = s->stride, place = (phase + s->padding) % stride;
    struct phase result = {phase < size ? (size - phase + stride - 1) / stride : 0, 0, 0, 0};
    if (place >= kernel) return result;
    result.taps = (kernel - place + stride - 1) / stride;
    result.last = place + (result.taps - 1) * stride;
    result.first = ((ptrdiff_t)(phase + s->padding) - (ptrdiff_t)result.last) / (ptrdiff_t)stride;
    return result;
}

/// A frame of dy in which every window of every phase is whole.
static struct frame output_frame(const struct tensor_convolution_shape *s) {
    ptrdiff_t before[2] = {0, 0}, after[2] = {0, 0};
    size_t sizes[2] = {s->height, s->width}, outputs[2] = {output_height(s), output_width(s)};
    for (int side = 0; side < 2; side++)
        for (size_t phase = 0; phase < least(s->stride, sizes[side]); phase++) {
            struct phase p = phase_of(phase, sizes[side], s);
            if (p.taps == 0) continue;
            ptrdiff_t behind = p.first + (ptrdiff_t)(p.count + p.taps) - 1 - (ptrdiff_t)outputs[side];
            if (-p.first > before[side]) before[side] = -p.first;
            if (behind > after[side]) after[side] = behind;
        }
    return (struct frame){outputs[0], outputs[1], s->outputs, (size_t)before[0], (size_t)before[1],
                          outputs[0] + (size_t)(before[0] + after[0]), outputs[1] + (size_t)(before[1] + after[1])};
}

struct data_gradient {
    const struct tensor_convolution_shape *shape;
    struct frame frame;
    /// By phase of the row, then of the column.
    const struct windows *windows;
    float *dx;
    const float *dy;
    float *frames;
    size_t parts;
};

/// The elements of one image that belong to a phase of rows and one of columns.
static void data_gradient_phase(const struct data_gradient *work, const float *framed, float *dx, size_t row_phase, size_t column_phase) {
    const struct tensor_convolution_shape *s = work->shape;
    const struct windows *windows = &work->windows[row_phase * s->stride + column_phase];
    struct phase rows = phase_of(row_phase, s->height, s), columns = phase_of(column_phase, s->width, s);
    size_t line = work->frame.framed_width * s->outputs;
    for (size_t i = 0; i < rows.count; i++) {
        float *to = dx + ((row_phase + i * s->stride) * s->width + column_phase) * s->inputs;
        if (rows.taps * columns.taps == 0) {
            for (size_t j = 0; j < columns.count; j++) memset(to + j * s->stride * s->inputs, 0, s->inputs * sizeof(float));
            continue;
        }
        const float *corner = framed + ((ptrdiff_t)(i + work->frame.top) + rows.first) * (ptrdiff_t)line +
                              ((ptrdiff_t)work->frame.left + columns.first) * (ptrdiff_t)s->outputs;
        struct left_factor left = {corner, s->outputs, s->outputs, true, false, windows->runs, windows->run_count};
        multiply_rows(windows->kernels, &left, columns.count, &windows->weights, s->inputs, to, s->stride * s->inputs, false);
    }
}

static void data_gradient_part(void *context, size_t part) {
    const struct data_gradient *work = context;
    const struct tensor_convolution_shape *s = work->shape;
    float *framed = work->frames + part * rounded_up(frame_size(&work->frame), 16);
    size_t size = work->frame.height * work->frame.width * s->outputs;
    for (size_t sample = part * s->samples / work->parts; sample < (part + 1) * s->samples / work->parts; sample++) {
        fill_frame(&work->frame, framed, work->dy + sample * size);
        for (size_t row = 0; row < least(s->stride, s->height); row++)
            for (size_t column = 0; column < least(s->stride, s->width); column++)
                data_gradient_phase(work, framed, work->dx + sample * s->height * s->width * s->inputs, row, column);
    }
}

/// Weights as (tap's row, tap's column, output) x input, taps descending.
static void weights_by_tap(const struct tensor_convolution_shape *s, float *to, const float *weight, struct phase rows,
                           struct phase columns) {
    size_t K = s->kernel;
    for (size_t r = 0; r < rows.taps; r++)
        for (size_t c = 0; c < columns.taps; c++, to += s->outputs * s->inputs) {
            size_t place = (rows.last - r * s->stride) * K + columns.last - c * s->stride;
            for (size_t o = 0; o < s->outputs; o++)
                for (size_t i = 0; i < s->inputs; i++) to[o * s->inputs + i] = weight[(o * s->inputs + i) * K * K + place];
        }
}

/// Floats: weights of one phase in another order, then of all phases packed, with their runs, then frames.
struct data_gradient_scratch {
    size_t ordered, windows, packed, frame, parts;
};

static struct data_gradient_scratch data_gradient_scratch(const struct tensor_convolution_shape *s, size_t most) {
    struct frame frame = output_frame(s);
    struct data_gradient_scratch result = {rounded_up(s->kernel * s->kernel * s->outputs * s->inputs, 16),
                                           rounded_up(s->stride * s->stride * sizeof(struct windows) / sizeof(float) + 1, 16), 0,
                                           rounded_up(frame_size(&frame), 16), least(most, s->samples)};
    for (size_t row = 0; row < s->stride; row++)
        for (size_t column = 0; column < s->stride; column++) {
            struct phase rows = phase_of(row, s->height, s), columns = phase_of(column, s->width, s);
            size_t length = columns.taps * s->outputs;
            result.packed += rows.taps * length * rounded_up(s->inputs, 16) +
                             run_floats(window_runs(NULL, rows.taps, length, frame.framed_width * s->outputs));
        }
    return result;
}

INLINE size_t data_gradient_floats(const struct data_gradient_scratch *scratch) {
    return scratch->ordered + scratch->windows + scratch->packed + scratch->parts * scratch->frame;
}

void tensor_convolution_backward_data(const struct tensor_convolution_shape *s, float *dx, const float *dy, const float *weight,
                                      float *scratch, size_t scratch_count) {
    struct data_gradient_scratch uses = data_gradient_scratch(s, pool_threads());
    while (uses.parts > 1 && data_gradient_floats(&uses) > scratch_count) uses.parts--;
    struct frame frame = output_frame(s);
    struct windows *windows = (struct windows *)(void *)(scratch + uses.ordered);
    float *space = scratch + uses.ordered + uses.windows;
    const struct product_kernels *kernels = product_kernels();
    struct panel_plan plan = panel_plan(kernels, s->inputs);
    for (size_t row = 0; row < s->stride; row++)
        for (size_t column = 0; column < s->stride; column++) {
            struct phase rows = phase_of(row, s->height, s), columns = phase_of(column, s->width, s);
            size_t length = columns.taps * s->outputs, words = rows.taps * length, distance = frame.framed_width * s->outputs;
            weights_by_tap(s, scratch, weight, rows, columns);
            pack_panels(kernels, &plan, space, scratch, s->inputs, false, words);
            struct product_run *runs = (struct product_run *)(void *)(space + words * rounded_up(s->inputs, 16));
            size_t count = window_runs(runs, rows.taps, length, distance);
            windows[row * s->stride + column] = (struct windows){kernels, runs, count, {plan, space, words, 0, 0}};
            space += words * rounded_up(s->inputs, 16) + run_floats(count);
        }
    struct data_gradient work = {s, frame, windows, dx, dy, space, uses.parts};
    pool_run(uses.parts, data_gradient_part, &work);
}

// MARK: The gradient of the weights

/// The windows of a chain at a time, CHAIN of them: `first` ..< `last` of all, of which those of a line of y stand side by side in a frame.
struct weight_gradient {
    const struct product_kernels *kernels;
    const struct tensor_convolution_shape *shape;
    /// (row, column, input) x output, added up chain by chain.
    float *gradient;
    /// The chain's part of dy.
    struct right_factor right;
    const struct product_run *runs;
    size_t run_count, parts;
    /// Where the chain's first window begins in its frame.
    const float *first;
    bool adds;
};

/// The runs of windows `first` ..< `last` of all images, and where the first begins.
static size_t chain_runs(const struct tensor_convolution_shape *s, struct product_run *runs, size_t first, size_t last, size_t *begin) {
    struct frame frame = input_frame(s);
    size_t width = output_width(s), area = output_height(s) * width, step = s->stride * s->inputs, count = 0, end = 0;
    for (size_t window = first; window < last; count++) {
        size_t line = window % area / width, column = window % width, here = least(width - column, last - window);
        size_t at = window / area * rounded_up(frame_size(&frame), 16) +
                    (line * s->stride * frame.framed_width + column * s->stride) * s->inputs;
        if (window == first) *begin = at;
        runs[count] = (struct product_run){window == first ? 0 : (ptrdiff_t)at - (ptrdiff_t)end, here, window + here == last};
        end = at + here * step;
        window += here;
    }
    return count;
}

/// Some rows of the kernel, dealt out to threads as (row of the kernel, part of its words).
static void weight_gradient_part(void *context, size_t part) {
    const struct weight_gradient *work = context;
    const struct tensor_convolution_shape *s = work->shape;
    size_t length = s->kernel * s->inputs, total = s->kernel * length, line = (s->width + 2 * s->padding) * s->inputs;
    size_t rows = (size_t)work->kernels->rows, units = (total + rows - 1) / rows;
    size_t word = least(total, part * units / work->parts * rows), end = least(total, (part + 1) * units / work->parts * rows);
    while (word < end) {
        size_t row = word / length, offset = word % length, here = least(length - offset, end - word);
        struct left_factor left = {work->first + row * line + offset, s->stride * s->inputs, 1, false, false, work->runs, work->run_count};
        multiply_rows(work->kernels, &left, here, &work->right, s->outputs, work->gradient + word * s->outputs, s->outputs,
                      work->adds);
        word += here;
    }
}

/// Floats: the gradient, dy's panels, runs, frames of all images.
struct weight_gradient_scratch {
    size_t gradient, panels, runs, frame;
};

static struct weight_gradient_scratch weight_gradient_scratch(const struct tensor_convolution_shape *s) {
    struct frame frame = input_frame(s);
    return (struct weight_gradient_scratch){rounded_up(s->kernel * s->kernel * s->inputs * s->outputs, 16),
                                            CHAIN * rounded_up(s->outputs, 16), run_floats(CHAIN), rounded_up(frame_size(&frame), 16)};
}

void tensor_convolution_backward_weights(const struct tensor_convolution_shape *s, float *dweight, const float *dy, const float *x,
                                         float *scratch, size_t scratch_count) {
    (void)scratch_count;
    struct weight_gradient_scratch uses = weight_gradient_scratch(s);
    struct frame frame = input_frame(s);
    float *panels = scratch + uses.gradient, *frames = panels + uses.panels + uses.runs;
    struct product_run *runs = (struct product_run *)(void *)(panels + uses.panels);
    size_t windows = s->samples * output_height(s) * output_width(s), words = s->kernel * s->kernel * s->inputs;
    for (size_t sample = 0; sample < s->samples; sample++)
        fill_frame(&frame, frames + sample * uses.frame, x + sample * s->height * s->width * s->inputs);
    const struct product_kernels *kernels = product_kernels();
    struct panel_plan plan = panel_plan(kernels, s->outputs);
    bool copies = s->outputs % 16 != 0;
    struct weight_gradient work = {.kernels = kernels, .shape = s, .gradient = scratch, .runs = runs,
                                   .parts = least(pool_threads(), words)};
    for (size_t first = 0; first < windows; first += CHAIN) {
        size_t last = least(first + CHAIN, windows), begin = 0;
        const float *rows = dy + first * s->outputs;
        if (copies) pack_panels(kernels, &plan, panels, rows, s->outputs, false, last - first);
        work.right = (struct right_factor){plan, copies ? panels : rows, last - first, copies ? 0 : s->outputs, 0};
        work.run_count = chain_runs(s, runs, first, last, &begin);
        work.first = frames + begin;
        work.adds = first > 0;
        pool_run(work.parts, weight_gradient_part, &work);
    }
    for (size_t o = 0; o < s->outputs; o++)
        for (size_t c = 0; c < s->inputs; c++)
            for (size_t place = 0; place < s->kernel * s->kernel; place++)
                dweight[(o * s->inputs + c) * s->kernel * s->kernel + place] = scratch[(place * s->inputs + c) * s->outputs + o];
}

size_t tensor_convolution_scratch(const struct tensor_convolution_shape *s) {
    struct forward_scratch forward = forward_scratch(s, pool_threads());
    struct data_gradient_scratch data = data_gradient_scratch(s, pool_threads());
    struct weight_gradient_scratch weights = weight_gradient_scratch(s);
    size_t most = forward_floats(&forward), floats = data_gradient_floats(&data);
    if (floats > most) most = floats;
    floats = weights.gradient + weights.panels + weights.runs + s->samples * weights.frame;
    return floats > most ? floats : most;
}
