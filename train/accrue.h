// The whole library in one include.
#pragma once

#include "core/parameter.h"
#include "core/tape.h"
#include "core/tensor.h"
#include "nn/cross_entropy.h"
#include "nn/gpt.h"
#include "nn/layers.h"
#include "nn/mlp.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "train/accumulator.h"
#include "train/evaluate.h"
#include "train/trainer.h"
