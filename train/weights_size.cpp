#include "train/weights_size.h"

#include "core/check.h"

namespace accrue::train {

void require_weights_for(std::int64_t parameters, std::string_view config, std::span<const SafetensorsEntry> entries,
                         std::string_view weights) {
  std::int64_t held = 0;  // cannot overflow: the entries lie side by side in the file
  for (const SafetensorsEntry& entry : entries)
    if (is_float(entry.dtype)) held += entry.shape.numel();
  if (held < parameters)
    fail(ErrorKind::bad_data,
         "{}: describes a model of {} parameters, but {} holds {}; the two are not of the same checkpoint, or one is "
         "damaged",
         config, parameters, weights, held);
}

}  // namespace accrue::train
