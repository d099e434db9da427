#include "CReductionKernels.h"
