// How code that does not own threads is lent some.
#pragma once

#include <cstddef>
#include <functional>

namespace pagoda {

// Calls body(i) once for every i in [0, count), in any order and perhaps on several
// threads, and returns when all are done. Where one is taken, an empty one means: on the
// calling thread.
using RunParts = std::function<void(size_t count, const std::function<void(size_t)>& body)>;

}  // namespace pagoda
