// The machine's options, applied.
#include <fmt/format.h>

#include "core/cuda_devices.h"
#include "core/format_bytes.h"
#include "kernels/attention_kernel.h"
#include "kernels/matmul_epilogues.h"
#include "kernels/matmul_precision.h"
#include "kernels/threads.h"
#include "train/cli.h"
#include "train/console.h"

namespace accrue::train {
namespace {

// Before Ampere, tensor cores and cuBLAS know neither bf16 nor tf32; fp16 they do.
void require_precision(Device device, const std::string& precision) {
  const int capability = cuda::compute_capability(device.index);
  if (precision == "fp32" || precision == "fp16" || capability >= 80) return;
  fail(ErrorKind::usage,
       "--precision {}: {} has compute capability {}.{}, but this needs 8.0 or more; use --precision fp16 or fp32",
       precision, device.to_string(), capability / 10, capability % 10);
}

void require_cpu_can(const MachineOptions& options) {
  if (options.precision != "fp32" && options.precision != "bf16")
    fail(ErrorKind::usage, "--precision {}: the CPU computes in fp32 or bf16; use one of these, or --device cuda",
         options.precision);
  if (options.epilogues != "bias")
    fail(ErrorKind::usage, "--epilogues {}: the CPU has no such choice; leave it out, or use --device cuda",
         options.epilogues);
  if (options.precision == "bf16" && !kernels::cpu_multiplies_bf16())
    Console().warn(
        "note: this CPU cannot multiply bf16 (it has no AVX512_BF16): operands are rounded to bf16 and multiplied in "
        "fp32, which takes longer than --precision fp32\n");
}

// The CPU's kernels keep activations in f32: there, bf16 is of the products alone.
bool has_bf16_products_alone(const MachineOptions& options) {
  return options.precision == "bf16" && parse_device(options.device).kind == DeviceKind::cpu;
}

kernels::MatmulPrecision product_precision(const MachineOptions& options) {
  using enum kernels::MatmulPrecision;
  if (options.precision == "tf32") return tf32;
  return has_bf16_products_alone(options) ? bf16 : f32;
}

}  // namespace

DType compute_dtype(const MachineOptions& options) {
  if (has_bf16_products_alone(options)) return DType::f32;
  return options.precision == "bf16" ? DType::bf16 : options.precision == "fp16" ? DType::f16 : DType::f32;
}

std::string precision_rule(const MachineOptions& options) {
  return has_bf16_products_alone(options) ? "bf16 (products)" : options.precision;
}

Machine use_machine(const MachineOptions& options) {
  const Machine machine{.device = parse_device(options.device), .compute = compute_dtype(options)};
  if (machine.device.kind == DeviceKind::cpu) require_cpu_can(options);
  if (machine.device.kind == DeviceKind::cuda) require_precision(machine.device, options.precision);
  if (options.device == "auto" && machine.device.kind == DeviceKind::cpu && cuda::device_count() > 0 &&
      !cuda::emulated())
    Console().warn("note: the GPU that is here cannot be used; --device cuda says why\n");
  kernels::set_matmul_precision(product_precision(options));
  using kernels::MatmulEpilogues;
  kernels::set_matmul_epilogues(options.epilogues == "all" ? MatmulEpilogues::all : MatmulEpilogues::bias);
  using kernels::AttentionKernel;
  kernels::set_attention_kernel(options.attention == "cudnn"    ? AttentionKernel::cudnn
                                : options.attention == "native" ? AttentionKernel::native
                                                                : AttentionKernel::automatic);
  if (options.threads > 0) kernels::set_thread_count(options.threads);
  if (options.memory_limit) Allocator::of(machine.device).set_limit(parse_bytes(*options.memory_limit).value());
  return machine;
}

std::string describe_machine(const MachineOptions& options) {
  const Device device = parse_device(options.device);
  const int threads = kernels::thread_count();
  if (device.kind == DeviceKind::cpu)
    return fmt::format("cpu, {} thread{}{}", threads, threads == 1 ? "" : "s",
                       has_bf16_products_alone(options) ? ", products in bf16" : "");
  return fmt::format("{} ({}), {}", device.to_string(), cuda::description(device.index), options.precision);
}

}  // namespace accrue::train
