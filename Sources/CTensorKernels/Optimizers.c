#include "Functions.h"

CLONED(void, tensor_sgd,
       (float *values, const float *gradients, float *velocity, size_t n, float scale, float rate, float momentum,
        float decay, bool nesterov), (values, gradients, velocity, n, scale, rate, momentum, decay, nesterov)) {
    if (!velocity)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) values[i] = FMA(-rate, FMA(scale, gradients[i], decay * values[i]), values[i]);
    else if (nesterov)
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) {
            float g = FMA(scale, gradients[i], decay * values[i]);
            float v = FMA(momentum, velocity[i], g);
            velocity[i] = v;
            values[i] = FMA(-rate, FMA(momentum, v, g), values[i]);
        }
    else
        ELEMENTWISE
        for (size_t i = 0; i < n; i++) {
            float v = FMA(momentum, velocity[i], FMA(scale, gradients[i], decay * values[i]));
            velocity[i] = v;
            values[i] = FMA(-rate, v, values[i]);
        }
}

CLONED(void, tensor_adamw,
       (float *values, const float *gradients, float *first, float *second, size_t n, float scale, float shrink,
        float rate, float one_minus_beta1, float beta2, float one_minus_beta2, float inverse_root, float epsilon),
       (values, gradients, first, second, n, scale, shrink, rate, one_minus_beta1, beta2, one_minus_beta2,
        inverse_root, epsilon)) {
    ELEMENTWISE
    for (size_t i = 0; i < n; i++) {
        float g = scale * gradients[i];
        float m = FMA(one_minus_beta1, g - first[i], first[i]);
        float v = FMA(beta2, second[i], one_minus_beta2 * (g * g));
        first[i] = m;
        second[i] = v;
        values[i] = FMA(shrink, values[i], -(rate * (m / FMA(SQUARE_ROOT(v), inverse_root, epsilon))));
    }
}
