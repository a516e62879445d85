// The factorisation machine's logit in double (Rendle 2010, eq. 1), pair by pair:
// what FM is and what DeepFM adds its tower to.
#pragma once

#include "tests/algorithms/model_harness.h"

namespace pagoda {

inline double FmLogit(const Oracle& o, size_t i) {
  double z = o.LinearTerm("linear", i);
  for (size_t f = 0; f < o.num_sparse(); ++f) {
    const Oracle::Vector a = o.Pooled(i, f);
    z += a[0];
    for (size_t g = 0; g < f; ++g) {
      const Oracle::Vector b = o.Pooled(i, g);
      for (size_t c = 1; c < a.size(); ++c) z += a[c] * b[c];
    }
  }
  return z;
}

}  // namespace pagoda
