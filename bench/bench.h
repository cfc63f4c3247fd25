// What the benchmarks of all kernels share: their names, their operands, and what is reported.
//
// Every benchmark is named OPERATION/DTYPE/SIZE/DEVICE/CACHE, and --benchmark_filter picks by that: '/cuda/',
// '^layernorm', '/tiny/', '/cold'. The devices are the CPU, in f32 (matrix products of that in bf16, too), and the GPU
// where this build and machine have one, in f32 and bf16. docs/benchmarks.md says how they are measured.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/models.h"
#include "core/tensor.h"
#include "kernels/matmul_precision.h"

namespace accrue::bench {

// Where a benchmark runs and in what.
struct Variant {
  Device device;
  DType dtype = DType::f32;
  kernels::MatmulPrecision precision = kernels::MatmulPrecision::f32;

  double element_bytes() const { return static_cast<double>(size_of(dtype)); }
  std::string dtype_name() const;  // "f32", "tf32", "bf16": of the products, where the precision differs from the dtype
  std::string device_name() const;  // "cpu", "cuda"
};

std::vector<Device> devices();
// Leaves out all other kinds from here on.
void use_only(DeviceKind kind);
// Those of the kernels' activations: f32 on the CPU; f32 and bf16 on a GPU.
std::vector<Variant> variants(Device device);

// What the time of a call is measured against (kernels/machine_peak.h, bench/update_peak.h). Nothing: a few bytes whose
// time is all latency.
enum class Bound { memory, update, products, nothing };

// What one call does and costs, as the operation's header in kernels/ counts it.
struct Work {
  std::function<void()> call;
  double bytes = 0, flop = 0;
  Bound bound = Bound::memory;
};
using MakeWork = std::function<Work()>;

// Whether a call finds its operands in the caches: the same ones every time, or none of them (bench/measure.h).
enum class Cache { warm, cold };

// Registers NAME/DTYPE/SIZE/DEVICE/CACHE for each of `caches`; `make` allocates the operands when the benchmark runs.
// Reported are bytes/s, FLOP/s and the percentage of the measured peak of what bounds the operation. That is the
// memory's peak for warm operands, too, which may then exceed it; products on the CPU also have a percentage of its
// largest products. On a GPU, sizes whose time is all launch are measured warm alone.
void add_benchmark(const std::string& name, const Variant& variant, const std::string& size, MakeWork make,
                   const std::vector<Cache>& caches = {Cache::warm, Cache::cold});

// Has `add` register benchmarks once main() begins.
class Registration {
 public:
  explicit Registration(std::function<void()> add);
  static void run_all();
};

// Registers what make(model, variant) does for every variant and its device's models.
template <class Make>
void add_for_models(const std::string& name, Make make) {
  for (const Device device : devices())
    for (const Variant& variant : variants(device))
      for (const Model& model : models(device))
        add_benchmark(name, variant, model.name, [=] { return make(model, variant); });
}

// Standard normal values.
Tensor filled(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
inline Tensor filled(const Shape& shape, const Variant& variant) {
  return filled(shape, variant.dtype, variant.device);
}
// Integers in [0, limit), as token ids or targets.
Tensor random_ids(const Shape& shape, std::int64_t limit, Device device);

// Makes the calls one after the other and waits for them: the seconds that all took.
double seconds_of(Device device, std::int64_t calls, const std::function<void(std::int64_t)>& call);

}  // namespace accrue::bench
