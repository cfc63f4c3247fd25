// What a training that runs out of memory tells its user.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/cli.h"
#include "train/fitting_micro_batch.h"

namespace accrue::train {

// An error whose message says already what to do about it.
class AdvisedError : public Error {
  using Error::Error;
};

// Runs `train`. An error for want of memory goes on as an AdvisedError, once what it has left behind is released: the
// message then names the largest micro-batch that fits (largest_fitting_micro_batch, of which all holds), as options of
// the command line, or what else would help. `savings` are options that need less memory.
void run_within_memory(const FittingSearch& search, Normalisation normalisation,
                       const std::vector<std::string>& savings, const std::function<void()>& train);

// Options that the user has not given yet and that need less memory for the same model: those of this machine, and of
// the program (empty: none).
std::vector<std::string> memory_savings(const TrainingOptions& options, const Machine& machine,
                                        const std::string& of_program);

}  // namespace accrue::train
