#include "worker/gradient_pusher.h"

#include <utility>

#include "base/status_macros.h"

namespace pagoda {

std::unique_ptr<RowGradients> GradientPusher::Take() {
  std::lock_guard lock(shared_->mutex);
  if (shared_->spare.empty()) return std::make_unique<RowGradients>();
  std::unique_ptr<RowGradients> gradients = std::move(shared_->spare.back());
  shared_->spare.pop_back();
  return gradients;
}

absl::Status GradientPusher::Push(Step step, std::unique_ptr<RowGradients> gradients,
                                  float learning_rate_factor) {
  PAGODA_RETURN_IF_ERROR(shared_->calls.Wait(options_.in_flight_max - 1, *client_,
                                             options_.wait_max, "a push of gradients"));
  std::vector<TablePush> tables;
  for (size_t table = 0; table < gradients->ids.size(); ++table) {
    if (gradients->ids[table].empty()) continue;
    tables.push_back(
        {static_cast<int>(table), gradients->ids[table], gradients->gradients[table].data()});
  }
  if (tables.empty() && !options_.send_empty) return absl::OkStatus();
  shared_->calls.Started();
  // std::function wants a copyable callback, hence the shared_ptr.
  std::shared_ptr<RowGradients> held = std::move(gradients);
  client_->Push(step, std::move(tables), learning_rate_factor,
                [shared = shared_, held](const absl::Status& status) {
                  {
                    std::lock_guard lock(shared->mutex);
                    shared->spare.push_back(std::make_unique<RowGradients>(std::move(*held)));
                  }
                  shared->calls.Finished(status);
                });
  return absl::OkStatus();
}

absl::Status GradientPusher::Drain() {
  return shared_->calls.Wait(0, *client_, options_.wait_max, "a push of gradients");
}

}  // namespace pagoda
