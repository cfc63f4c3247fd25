#include "core/tensor.h"

#include <atomic>

namespace accrue {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device, Category category)
    : data_(static_cast<std::byte*>(Allocator::of(device).allocate(bytes, category))), bytes_(bytes), device_(device) {}

Storage::~Storage() { Allocator::of(device_).deallocate(data_); }

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, Category category) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  std::int64_t bytes = 0;
  const bool fits = !__builtin_mul_overflow(shape.numel(), static_cast<std::int64_t>(size_of(dtype)), &bytes);
  check(fits, "Tensor: the bytes of {} {} do not fit 63 bits", name_of(dtype), shape);
  tensor.storage_ = std::make_shared<Storage>(static_cast<std::size_t>(bytes), device, category);
  tensor.id_ = next_id();
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device, Category category) {
  Tensor tensor = empty(shape, dtype, device, category);
  tensor.fill_zero();
  return tensor;
}

Tensor Tensor::view(const Shape& shape, std::int64_t offset) const {
  check(defined(), "Tensor: a view of an undefined tensor");
  check(offset >= 0 && offset <= numel() && shape.numel() <= numel() - offset,
        "Tensor: a view {} at element {} does not fit into {}", shape, offset, shape_);
  Tensor result = *this;
  result.shape_ = shape;
  result.offset_ += static_cast<std::size_t>(offset) * size_of(dtype_);
  result.id_ = next_id();
  if (result.base_id_ == 0) result.base_id_ = id_;
  return result;
}

Tensor Tensor::view_as(DType dtype, const Shape& shape, std::size_t first_byte) const {
  check(defined(), "Tensor: a view of an undefined tensor");
  const std::size_t wanted = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  check(first_byte <= bytes() && wanted <= bytes() - first_byte,
        "Tensor: a view {} of {} at byte {} does not fit into {} bytes", shape, name_of(dtype), first_byte, bytes());
  check((offset_ + first_byte) % size_of(dtype) == 0, "Tensor: a view of {} at byte {}, which is no multiple of {}",
        name_of(dtype), offset_ + first_byte, size_of(dtype));
  Tensor result = *this;
  result.shape_ = shape;
  result.dtype_ = dtype;
  result.offset_ += first_byte;
  result.id_ = next_id();
  if (result.base_id_ == 0) result.base_id_ = id_;
  return result;
}

Tensor Tensor::clone(Category category) const {
  Tensor result = empty(shape_, dtype_, device(), category);
  result.copy_from(*this);
  return result;
}

void Tensor::fill_zero() const { Allocator::of(device()).memory().fill(raw(), 0, bytes()); }

void Tensor::copy_from(const Tensor& source) const {
  check(source.shape() == shape_ && source.dtype() == dtype_ && source.device() == device(),
        "Tensor: copy_from needs {} {} on {}, but got {} {} on {}", name_of(dtype_), shape_, device().to_string(),
        name_of(source.dtype()), source.shape(), source.device().to_string());
  Allocator::of(device()).memory().copy(raw(), source.raw(), bytes());
}

void Tensor::copy_bytes_from_host(std::span<const std::byte> source) const {
  check(source.size() == bytes(), "Tensor: {} bytes for {} {}", source.size(), name_of(dtype_), shape_);
  Allocator::of(device()).memory().copy_from_host(raw(), source.data(), bytes());
}

std::span<const std::byte> Tensor::host_bytes(std::vector<std::byte>& buffer) const {
  if (device().kind == DeviceKind::cpu) return {raw(), bytes()};
  buffer.resize(bytes());
  Allocator::of(device()).memory().copy_to_host(buffer.data(), raw(), bytes());
  return buffer;
}

Tensor empty_like(const Tensor& tensor) { return Tensor::empty(tensor.shape(), tensor.dtype(), tensor.device()); }

}  // namespace accrue
