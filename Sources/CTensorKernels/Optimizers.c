#include "Functions.h"

CLONED void tensor_sgd(float *values, const float *gradients, float *velocity, size_t n, float scale, float rate,
                       float momentum, float decay, bool nesterov) {
    if (!velocity)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) values[i] -= rate * (scale * gradients[i] + decay * values[i]);
    else if (nesterov)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) {
            float g = scale * gradients[i] + decay * values[i];
            float v = momentum * velocity[i] + g;
            velocity[i] = v;
            values[i] -= rate * (g + momentum * v);
        }
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) {
            float v = momentum * velocity[i] + (scale * gradients[i] + decay * values[i]);
            velocity[i] = v;
            values[i] -= rate * v;
        }
}

CLONED void tensor_adamw(float *values, const float *gradients, float *first, float *second, size_t n, float scale,
                         float shrink, float rate, float one_minus_beta1, float beta2, float one_minus_beta2,
                         float inverse_root, float epsilon) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) {
        float g = scale * gradients[i];
        float m = first[i] + one_minus_beta1 * (g - first[i]);
        float v = beta2 * second[i] + one_minus_beta2 * (g * g);
        first[i] = m;
        second[i] = v;
        values[i] = shrink * values[i] - rate * (m / (SQUARE_ROOT(v) * inverse_root + epsilon));
    }
}
