// Files that are wrong in one respect each, for hostile_files_test.cpp.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/check.h"

namespace accrue::testing {

struct HostileFile {
  std::string name;     // what is wrong
  std::string bytes;    // the whole file
  std::string message;  // words of the refusal
  ErrorKind kind = ErrorKind::bad_data;
};

inline std::string length_prefix(std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

// A safetensors file of this header.
inline std::string safetensors_file(const std::string& header, const std::string& data = "") {
  return length_prefix(header.size()) + header + data;
}

// The header of an IDX file.
inline std::string idx_header(const std::vector<std::uint32_t>& extents, char type = 0x08) {
  std::string bytes = {0, 0, type, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(extent >> shift & 0xff));
  return bytes;
}

std::string gzip(const std::string& content);

// What the files below have been before they were spoilt.
struct SoundFile {
  std::string format, bytes;
};
std::vector<SoundFile> sound_files();

std::vector<HostileFile> hostile_safetensors();
std::vector<HostileFile> hostile_json();
std::vector<HostileFile> hostile_idx();
std::vector<HostileFile> hostile_gpt_configs();
std::vector<HostileFile> hostile_mlp_configs();
std::vector<HostileFile> hostile_settings();  // of a run, in state.json
std::vector<HostileFile> hostile_states();    // state.json, whose settings are those
std::vector<HostileFile> hostile_texts();
std::vector<HostileFile> hostile_metrics();

}  // namespace accrue::testing
