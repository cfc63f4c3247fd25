// Signals that a kernel causes: reported with kernel, block and thread, then left to do what they always do.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/emulator/address_sanitizer.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/diagnosis.h"

#ifdef ACCRUE_EMULATOR_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

namespace accrue::emulator {
namespace {

void print(const std::string& text) {
  // Nothing can be done about a message that cannot be written.
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

#ifdef ACCRUE_EMULATOR_ADDRESS_SANITIZER

// AddressSanitizer reports the access; which thread it was is for us to say.
void on_death() {
  if (block.runs()) print("emulator: in " + running_thread() + "\n");
}

void install() { __sanitizer_set_death_callback(on_death); }

#else

const char* cause(int signal_number, const void* address) {
  if (signal_number == SIGFPE) return "integer division by zero";
  if (signal_number == SIGILL) return "an instruction that ends the program, such as __trap()";
  if (Fiber::current().overflowed_at(address)) return "stack overflow";
  return "access to memory that does not exist";
}

void on_signal(int signal_number, siginfo_t* information, void*) {
  // The kernel's own code was interrupted, not the C library's: building strings is safe enough to be worth the
  // message.
  if (block.runs()) {
    checker::engine_stops();
    print("emulator: " + std::string(cause(signal_number, information->si_addr)) + "\n  " + running_thread() + "\n");
  }
  // The handler was for once only: when it returns, the instruction faults again, and a debugger or a core file sees
  // it.
}

void install() {
  // A stack of its own, because the fiber's may be what has run out.
  static std::array<char, 64 * 1024> stack;
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  sigaltstack(&alternative, nullptr);
  for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    struct sigaction previous {};
    sigaction(signal_number, nullptr, &previous);
    if (previous.sa_handler != SIG_DFL) continue;  // somebody else, such as a test framework, wants it
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | static_cast<int>(SA_RESETHAND);
    sigaction(signal_number, &action, nullptr);
  }
}

#endif

}  // namespace

void install_fault_handlers() {
  static const bool installed = (install(), true);
  static_cast<void>(installed);
}

}  // namespace accrue::emulator
