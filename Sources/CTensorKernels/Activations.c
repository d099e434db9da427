#include "Functions.h"

/// f and f' of one value; both are computed and the unused one is dropped by the compiler.
INLINE float activation(enum tensor_function function, float x, float *slope) {
    switch (function) {
    case TENSOR_EXP: {
        float e = fast_exp(x);
        *slope = e;
        return e;
    }
    case TENSOR_LOG:
        *slope = 1 / x;
        return fast_log(x);
    case TENSOR_TANH: {
        float t = fast_tanh(x);
        *slope = FMA(-t, t, 1.0f);
        return t;
    }
    case TENSOR_SIGMOID: {
        float s = fast_sigmoid(x);
        *slope = s * (1 - s);
        return s;
    }
    case TENSOR_RELU:
        *slope = x > 0 ? 1 : 0;
        // Written so that NaN passes through.
        return x < 0 ? 0 : x;
    case TENSOR_GELU_EXACT: {
        float cumulative, density;
        normal_distribution(x, &cumulative, &density);
        *slope = FMA(x, density, cumulative);
        return x * cumulative;
    }
    case TENSOR_GELU_TANH: {
        // 0.5 (1 + tanh u) is sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
        float w = x * x;
        float s = fast_sigmoid(x * FMA(0.0713548162f, w, 1.59576912f));
        *slope = FMA(x * s * (1 - s), FMA(0.214064449f, w, 1.59576912f), s);
        return x * s;
    }
    }
    return x;
}

INLINE void activate(enum tensor_function function, float *y, float *slope, const float *x, const float *row,
                     size_t rows, size_t columns) {
    if (!row) {
        columns *= rows;
        rows = columns ? 1 : 0;
    }
    for (size_t r = 0; r < rows; r++, y += columns, x += columns, slope += slope ? columns : 0) {
        // One loop a case: a test inside would keep the compiler from vectorising.
        float unused;
        if (row && slope)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) {
                float d, v = activation(function, x[c] + row[c], &d);
                slope[c] = d;
                y[c] = v;
            }
        else if (row)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) y[c] = activation(function, x[c] + row[c], &unused);
        else if (slope)
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) {
                float d, v = activation(function, x[c], &d);
                slope[c] = d;
                y[c] = v;
            }
        else
            ELEMENTWISE
            for (size_t c = 0; c < columns; c++) y[c] = activation(function, x[c], &unused);
    }
}

CLONED(void, tensor_activate,
       (enum tensor_function function, float *y, float *slope, const float *x, const float *row, size_t rows,
        size_t columns), (function, y, slope, x, row, rows, columns)) {
    switch (function) {
    case TENSOR_EXP: return activate(TENSOR_EXP, y, slope, x, row, rows, columns);
    case TENSOR_LOG: return activate(TENSOR_LOG, y, slope, x, row, rows, columns);
    case TENSOR_TANH: return activate(TENSOR_TANH, y, slope, x, row, rows, columns);
    case TENSOR_SIGMOID: return activate(TENSOR_SIGMOID, y, slope, x, row, rows, columns);
    case TENSOR_RELU: return activate(TENSOR_RELU, y, slope, x, row, rows, columns);
    case TENSOR_GELU_EXACT: return activate(TENSOR_GELU_EXACT, y, slope, x, row, rows, columns);
    case TENSOR_GELU_TANH: return activate(TENSOR_GELU_TANH, y, slope, x, row, rows, columns);
    }
}

CLONED(void, tensor_relu_backward, (float *dx, const float *dy, const float *y, size_t n, bool accumulate),
       (dx, dy, y, n, accumulate)) {
    if (accumulate)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) dx[i] += y[i] > 0 ? dy[i] : 0;
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}
