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
  bool wants_rows = false;
  gradients->step = step;
  for (size_t table = 0; table < gradients->ids.size(); ++table) {
    if (gradients->ids[table].empty()) continue;
    TablePush push{static_cast<int>(table), gradients->ids[table],
                   gradients->gradients[table].data()};
    if (table < gradients->returned.size() && !gradients->returned[table].empty()) {
      push.returned = gradients->returned[table];
      push.rows = gradients->rows[table].data();
      wants_rows = true;
    }
    tables.push_back(push);
  }
  if (tables.empty() && !options_.send_empty) return absl::OkStatus();
  shared_->calls.Started();
  // std::function wants a copyable callback, hence the shared_ptr.
  std::shared_ptr<RowGradients> held = std::move(gradients);
  client_->Push(step, std::move(tables), learning_rate_factor,
                [shared = shared_, held, wants_rows](const absl::Status& status) {
                  {
                    std::lock_guard lock(shared->mutex);
                    auto& to = wants_rows && status.ok() ? shared->returned : shared->spare;
                    to.push_back(std::make_unique<RowGradients>(std::move(*held)));
                  }
                  shared->calls.Finished(status);
                });
  return absl::OkStatus();
}

std::vector<std::unique_ptr<RowGradients>> GradientPusher::TakeReturned() {
  std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->returned, {});
}

void GradientPusher::Recycle(std::unique_ptr<RowGradients> gradients) {
  std::lock_guard lock(shared_->mutex);
  shared_->spare.push_back(std::move(gradients));
}

absl::Status GradientPusher::Drain() {
  return shared_->calls.Wait(0, *client_, options_.wait_max, "a push of gradients");
}

}  // namespace pagoda
