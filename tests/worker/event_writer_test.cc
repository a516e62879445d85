#include "worker/event_writer.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "proto/tensorboard.pb.h"
#include "tests/worker/temporary_directory.h"
#include "worker/crc32c.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

using proto::tensorboard::Event;

// Takes the file apart by the TFRecord rules, checking both CRCs of each record.
std::vector<Event> ParseEvents(const std::string& bytes) {
  std::vector<Event> events;
  size_t at = 0;
  while (at < bytes.size()) {
    REQUIRE(at + 12 <= bytes.size());
    uint64_t length = 0;
    uint32_t length_crc = 0, data_crc = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&length_crc, bytes.data() + at + 8, 4);
    REQUIRE(length_crc == MaskCrc(Crc32c(bytes.substr(at, 8))));
    REQUIRE(at + 16 + length <= bytes.size());
    const std::string data = bytes.substr(at + 12, length);
    std::memcpy(&data_crc, bytes.data() + at + 12 + length, 4);
    REQUIRE(data_crc == MaskCrc(Crc32c(data)));
    Event event;
    REQUIRE(event.ParseFromString(data));
    events.push_back(event);
    at += 16 + length;
  }
  return events;
}

TEST_CASE("event files read back as TensorBoard reads them") {
  TemporaryDirectory dir;
  auto writer = EventWriter::Create(dir / "tensorboard");
  REQUIRE(writer.ok());
  const std::string name = std::filesystem::path((*writer)->path()).filename().string();
  REQUIRE(name.starts_with("events.out.tfevents."));
  REQUIRE((*writer)->Write(100, {{"train/loss", 0.5}, {"eval/auc", 0.75}}).ok());
  REQUIRE((*writer)->Write(int64_t{1} << 40, {{"train/loss", -1e-3}}).ok());

  const auto bytes = ReadWholeFile((*writer)->path());  // Before close: flushed already.
  REQUIRE(bytes.ok());
  const std::vector<Event> events = ParseEvents(*bytes);
  REQUIRE(events.size() == 3);
  REQUIRE(events[0].file_version() == "brain.Event:2");
  REQUIRE(events[0].wall_time() > 1.6e9);
  REQUIRE(events[1].step() == 100);
  REQUIRE(events[1].summary().value_size() == 2);
  REQUIRE(events[1].summary().value(0).tag() == "train/loss");
  REQUIRE(events[1].summary().value(0).simple_value() == 0.5f);
  REQUIRE(events[1].summary().value(1).tag() == "eval/auc");
  REQUIRE(events[2].step() == int64_t{1} << 40);
  REQUIRE(events[2].summary().value(0).simple_value() == -1e-3f);
}

// Bytes computed by hand from TensorFlow's field numbers: the schema is ours, the
// wire must be theirs.
TEST_CASE("an event has TensorFlow's wire form") {
  Event event;
  event.set_step(3);
  auto* value = event.mutable_summary()->add_value();
  value->set_tag("a");
  value->set_simple_value(1.0f);
  const std::string want("\x10\x03\x2a\x0a\x0a\x08\x0a\x01\x61\x15\x00\x00\x80\x3f", 14);
  REQUIRE(event.SerializeAsString() == want);
}

TEST_CASE("values that are not finite are left out, and an empty event with them") {
  TemporaryDirectory dir;
  auto writer = EventWriter::Create(dir.path());
  REQUIRE(writer.ok());
  REQUIRE((*writer)->Write(1, {{"a", std::nan("")}}).ok());
  REQUIRE((*writer)->Write(2, {{"a", INFINITY}, {"b", 2.0}}).ok());
  const auto bytes = ReadWholeFile((*writer)->path());
  REQUIRE(bytes.ok());
  const std::vector<Event> events = ParseEvents(*bytes);
  REQUIRE(events.size() == 2);
  REQUIRE(events[1].summary().value_size() == 1);
  REQUIRE(events[1].summary().value(0).tag() == "b");
}

TEST_CASE("two writers of one second make two files, and a bad path is named") {
  TemporaryDirectory dir;
  auto first = EventWriter::Create(dir.path());
  auto second = EventWriter::Create(dir.path());
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  REQUIRE((*first)->path() != (*second)->path());
  auto bad = EventWriter::Create("/proc/no/such/place");
  REQUIRE_FALSE(bad.ok());
  REQUIRE(std::string(bad.status().message()).find("/proc/no/such/place") != std::string::npos);
}

}  // namespace
}  // namespace pagoda
