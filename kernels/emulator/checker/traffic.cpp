#include "kernels/emulator/traffic.h"

#include "kernels/emulator/checker/checker.h"

namespace accrue::emulator {

Traffic traffic() { return checker::instance().traffic; }
void reset_traffic() { checker::instance().traffic = {}; }

}  // namespace accrue::emulator
