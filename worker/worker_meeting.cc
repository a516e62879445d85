#include "worker/worker_meeting.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "worker/client_session.h"

namespace pagoda {
namespace {

// Between two looks at a key that may change: a start takes a few of them.
constexpr absl::Duration kPause = absl::Milliseconds(30);

class Meeting {
 public:
  Meeting(const MeetingOptions& options, ParameterClient* client)
      : options_(options), client_(client), deadline_(absl::Now() + options.timeout) {}

  absl::StatusOr<std::string> Lead();
  absl::StatusOr<std::string> Follow();

 private:
  std::string Key(absl::string_view name) const { return absl::StrCat(options_.job, "/", name); }
  std::string KeyOf(absl::string_view name, int rank) const {
    return absl::StrCat(options_.job, "/", name, "/", rank);
  }
  std::string Prefix(const std::string& meeting) const {
    return absl::StrCat(options_.job, "/meeting-", meeting, "/");
  }

  // The value, or "" when nobody has set it yet.
  absl::StatusOr<std::string> Look(const std::string& key) {
    absl::StatusOr<std::string> value = client_->GetKey(key, absl::ZeroDuration());
    if (absl::IsDeadlineExceeded(value.status())) return std::string();
    return value;
  }

  // False when the time is over.
  bool Pause() const {
    if (absl::Now() >= deadline_) return false;
    absl::SleepFor(std::min(kPause, deadline_ - absl::Now()));
    return true;
  }

  absl::Status NotThere(int rank) const {
    return absl::DeadlineExceededError(absl::StrCat("worker ", rank, " (rank ", rank,
                                                    ") has not come to the rendezvous within ",
                                                    absl::FormatDuration(options_.timeout)));
  }
  absl::Status SomebodyNotThere();

  const MeetingOptions& options_;
  ParameterClient* const client_;
  const absl::Time deadline_;
};

absl::StatusOr<std::string> Meeting::Lead() {
  PAGODA_RETURN_IF_ERROR(client_->SetKey(KeyOf("here", 0), absl::StrCat(NewIncarnation())));
  std::vector<std::string> proposed;
  std::string meeting;
  int missing = 1;
  do {
    std::vector<std::string> here = {"-"};  // Our own number is not asked for.
    missing = 0;
    for (int rank = 1; rank < options_.num_workers; ++rank) {
      PAGODA_ASSIGN_OR_RETURN(std::string number, Look(KeyOf("here", rank)));
      if (number.empty() && missing == 0) missing = rank;
      here.push_back(std::move(number));
    }
    if (missing > 0) continue;
    if (here != proposed) {
      proposed = here;
      meeting = absl::StrCat(NewIncarnation());
      PAGODA_RETURN_IF_ERROR(client_->SetKey(
          Key("meeting"), absl::StrCat(meeting, " ", absl::StrJoin(proposed, " "))));
    }
    for (int rank = options_.num_workers - 1; rank > 0; --rank) {
      PAGODA_ASSIGN_OR_RETURN(const std::string joined, Look(KeyOf("joined", rank)));
      if (joined != meeting) missing = rank;
    }
    if (missing == 0) {
      PAGODA_RETURN_IF_ERROR(client_->SetKey(absl::StrCat(Prefix(meeting), "go"), "go"));
      return Prefix(meeting);
    }
  } while (Pause());
  return NotThere(missing);
}

absl::StatusOr<std::string> Meeting::Follow() {
  const std::string number = absl::StrCat(NewIncarnation());
  PAGODA_RETURN_IF_ERROR(client_->SetKey(KeyOf("here", options_.rank), number));
  std::string joined;
  do {
    PAGODA_ASSIGN_OR_RETURN(const std::string value, Look(Key("meeting")));
    const std::vector<std::string> words = absl::StrSplit(value, ' ');
    const size_t mine = static_cast<size_t>(options_.rank) + 1;
    const bool ours =
        words.size() == static_cast<size_t>(options_.num_workers) + 1 && words[mine] == number;
    if (!ours) continue;
    if (joined != words[0]) {
      joined = words[0];
      PAGODA_RETURN_IF_ERROR(client_->SetKey(KeyOf("joined", options_.rank), joined));
    }
    PAGODA_ASSIGN_OR_RETURN(const std::string go, Look(absl::StrCat(Prefix(joined), "go")));
    if (!go.empty()) return Prefix(joined);
  } while (Pause());
  return SomebodyNotThere();
}

absl::Status Meeting::SomebodyNotThere() {
  for (int rank = 0; rank < options_.num_workers; ++rank) {
    PAGODA_ASSIGN_OR_RETURN(const std::string number, Look(KeyOf("here", rank)));
    if (number.empty()) return NotThere(rank);
  }
  return absl::DeadlineExceededError(absl::StrCat("the ", options_.num_workers, " workers of job '",
                                                  options_.job, "' have not met within ",
                                                  absl::FormatDuration(options_.timeout)));
}

}  // namespace

absl::StatusOr<std::string> MeetWorkers(const MeetingOptions& options, ParameterClient* client) {
  Meeting meeting(options, client);
  return options.rank == 0 ? meeting.Lead() : meeting.Follow();
}

}  // namespace pagoda
