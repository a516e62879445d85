// What a job takes over from another job's cut before its first step: weights of tables
// and dense parameters, chosen and renamed by patterns. Optimizer slots, step counts and
// data positions stay behind.
//
//   PlanHandOver   pairs names and checks shapes, on every worker alike; changes nothing
//   ImportRows     the servers read rows straight from the cut's directories
//   LoadedValues   dense values with those of the cut put in
//
// A hand-over counts once the job has made its first cut: killed before, a job has no cut,
// and its next start finds rows that belong to none and begins anew (output_directory.h).
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/job_cut.pb.h"
#include "worker/job_cut.h"
#include "worker/model_instance.h"
#include "worker/parameter_client.h"

namespace pagoda {

// The cut that `options` asks for: `from` itself when it is a cut, else the best or the
// last one in the job's output directory there.
//   NOT_FOUND            there is no such directory, or no complete cut in it
//   FAILED_PRECONDITION  "best" of a job that has not finished
absl::StatusOr<std::string> FindSourceCut(const StartOptions& options);

// <output>/finished: the name of the cut that is the result of a finished job. Written
// last; absent while a job runs.
absl::Status WriteFinished(const std::string& output_dir, const std::string& cut_directory);
//   NOT_FOUND  the job has not finished
absl::StatusOr<std::string> ReadFinished(const std::string& output_dir);
// Removes it, if it is there: the job runs again.
absl::Status ForgetFinished(const std::string& output_dir);

// Pairs the cut's tables and dense parameters with the model's. A later pattern counts
// over an earlier one for the same name here.
//   INVALID_ARGUMENT     a pattern is bad, or nothing is loaded by it (with the nearest name)
//   FAILED_PRECONDITION  shapes differ (names both), or a table of an ftrl kind that is not
//                        frozen, whose weights follow from its slots
absl::StatusOr<proto::JobCut::HandOver> PlanHandOver(const StartOptions& options,
                                                     const proto::JobCut& source,
                                                     const ModelInstance& model);

// Gives the model's tables the initial values of those they take rows from. Call before
// ParameterClient::Open.
void TakeInitialValues(const proto::JobCut::HandOver& plan, const proto::JobCut& source,
                       ModelInstance* model);

// Lets the servers take the rows; on worker 0 only. Fills in the numbers of rows.
//   ParameterClient::ImportRows' errors
absl::Status ImportRows(const StartOptions& options, const proto::JobCut& source,
                        const ModelInstance& model, ParameterClient* client,
                        proto::JobCut::HandOver* plan);

// The model's dense values, with those of the cut where they are loaded.
absl::StatusOr<std::vector<float>> LoadedValues(const proto::JobCut::HandOver& plan,
                                                const JobCut& source, ModelInstance* model);

// The report, a line each: what was loaded, what is fresh, what of the cut was not loaded,
// what is frozen.
std::vector<std::string> DescribeHandOver(const StartOptions& options,
                                          const proto::JobCut::HandOver& plan);
// "table movieId, dense deep.0.weight": frozen in this stage; "" when nothing is.
std::string DescribeFrozen(const ModelInstance& model);

}  // namespace pagoda
