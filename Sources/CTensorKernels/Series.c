#include "Series.h"

double tensor_cosine_of_turns(double x) {
    double sine, cosine;
    series_sincos(x, &sine, &cosine);
    return cosine;
}

double tensor_sine_of_turns(double x) {
    double sine, cosine;
    series_sincos(x, &sine, &cosine);
    return sine;
}

double tensor_exponential(double x) { return series_exp(x); }
