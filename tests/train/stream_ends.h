// Pipes, sockets and terminals with both their ends.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>

#include <array>
#include <utility>

#include "train/file_descriptor.h"

namespace accrue::testing {

struct Ends {
  train::FileDescriptor reader, writer;
};

inline Ends pipe_ends() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  return {.reader = train::FileDescriptor(ends[0]), .writer = train::FileDescriptor(ends[1])};
}

inline Ends socket_ends() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {.reader = train::FileDescriptor(ends[0]), .writer = train::FileDescriptor(ends[1])};
}

// In raw mode, which does not turn line feeds into two characters.
inline Ends terminal_ends() {
  train::FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  EXPECT_EQ(grantpt(master.get()), 0);
  EXPECT_EQ(unlockpt(master.get()), 0);
  train::FileDescriptor slave(open(ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios mode;
  EXPECT_EQ(tcgetattr(slave.get(), &mode), 0);
  cfmakeraw(&mode);
  EXPECT_EQ(tcsetattr(slave.get(), TCSANOW, &mode), 0);
  return {.reader = std::move(master), .writer = std::move(slave)};
}

}  // namespace accrue::testing
