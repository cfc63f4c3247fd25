#include "kernels/matmul_epilogues.h"

#include <atomic>

namespace accrue::kernels {
namespace {

std::atomic<MatmulEpilogues> chosen = MatmulEpilogues::bias;

}  // namespace

void set_matmul_epilogues(MatmulEpilogues epilogues) { chosen = epilogues; }
MatmulEpilogues matmul_epilogues() { return chosen; }

}  // namespace accrue::kernels
