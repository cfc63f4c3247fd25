// oneDNN's matrix product, at which a program under test can be made to die or be asked to stop in the middle of a
// micro-batch: there is no input or output there to count. Part of the shared object alone.
//
//   ACCRUE_FAULTS_STOP=17   SIGTERM at the 17th product
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "tests/faults/io_faults.h"

namespace accrue::testing::faults {
namespace {

void stop_when_due() {
  static const char* const text = std::getenv("ACCRUE_FAULTS_STOP");
  static long left = text == nullptr ? 0 : std::atol(text);
  if (left <= 0 || --left > 0) return;
  // To the process: threads that compute do not take it. It is on its way until another has.
  kill(getpid(), SIGTERM);
  sigset_t pending;
  while (sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1) sched_yield();
}

}  // namespace
}  // namespace accrue::testing::faults

// As dnnl.h declares it; including that would demand oneDNN's headers where BLAS was chosen.
extern "C" int dnnl_sgemm(char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                          std::int64_t ldc) {
  using namespace accrue::testing::faults;
  static const auto original = reinterpret_cast<decltype(&dnnl_sgemm)>(dlsym(RTLD_NEXT, "dnnl_sgemm"));
  stop_when_due();
  const Call call(products, "dnnl_sgemm");
  return original(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
