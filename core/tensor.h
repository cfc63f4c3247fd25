// Owned bytes on one device, and a contiguous row-major handle to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/check.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace accrue {

// Bytes of one device, returned to its allocator when the last handle goes.
class Storage {
 public:
  Storage(std::size_t bytes, Device device, Category category);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  std::byte* data_;
  std::size_t bytes_;
  Device device_;
};

// A handle: copying it shares the bytes and the node id. Every newly made tensor, and every view, gets an id of its
// own; the tape keys gradients by it (a view at offset 0 has its base's pointer, so pointers cannot be keys).
// Errors are Error(internal) for a wrong use, Error(memory) where memory is allocated and Error(no_device) for a device
// that this build does not have.
class Tensor {
 public:
  Tensor() = default;  // undefined: "no tensor here"
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu(),
                      Category category = Category::activations);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu(),
                      Category category = Category::activations);
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device = Device::cpu(),
                     Category category = Category::data);

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const {
    check(defined(), "Tensor: an undefined tensor is on no device");
    return storage_->device();
  }
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  std::uint64_t id() const { return id_; }
  // The id of the tensor that this is a view of, or a view of a view; 0 if it is none.
  std::uint64_t base_id() const { return base_id_; }

  // The elements as T; throws unless T is this tensor's dtype. Host code may dereference it on the CPU only.
  template <class T>
  T* data() const;
  std::byte* raw() const { return storage_->data() + offset_; }

  // A view of numel(shape) elements from element `offset` on: shares the bytes, has its own id. Throws if it does not
  // fit. No tape records it: gradients of the view do not reach its base. In a model use nn::reshape, which does.
  Tensor view(const Shape& shape, std::int64_t offset = 0) const;
  // The same of another dtype, from a byte of this tensor on, which must be a multiple of that dtype's size: a number
  // in a record of bytes.
  Tensor view_as(DType dtype, const Shape& shape, std::size_t first_byte) const;
  // Whether other handles keep the same bytes alive.
  bool shares_storage() const { return storage_.use_count() > 1; }
  Tensor clone(Category category = Category::activations) const;

  void fill_zero() const;
  void copy_from(const Tensor& source) const;  // throws unless shape, dtype and device are the same
  template <class T>
  void copy_from_host(std::span<const T> values) const;
  template <class T>
  std::vector<T> to_vector() const;
  // The same for bytes of whatever dtype, for files. host_bytes() gives the tensor's own where the host may read them,
  // else a copy in `buffer`; they are good until either is gone.
  void copy_bytes_from_host(std::span<const std::byte> source) const;
  std::span<const std::byte> host_bytes(std::vector<std::byte>& buffer) const;
  template <class T>
  T item() const;  // the only element; throws if there are more or none

 private:
  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  std::uint64_t id_ = 0, base_id_ = 0;
};

Tensor empty_like(const Tensor& tensor);

// ---- implementation of the templates ----

template <class T>
T* Tensor::data() const {
  check(defined(), "Tensor: an undefined tensor has no data");
  check(dtype_of<T>() == dtype_, "Tensor: data<{}>() of a tensor of {}", name_of(dtype_of<T>()), name_of(dtype_));
  return reinterpret_cast<T*>(raw());
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape, Device device, Category category) {
  const Tensor tensor = empty(shape, dtype_of<T>(), device, category);
  if (category != Category::data) {
    tensor.copy_from_host(values);
    return tensor;
  }
  check(static_cast<std::int64_t>(values.size()) == shape.numel(), "Tensor: {} values for shape {}", values.size(),
        shape);
  Allocator::of(device).memory().upload(tensor.raw(), values.data(), tensor.bytes());
  return tensor;
}

template <class T>
void Tensor::copy_from_host(std::span<const T> values) const {
  check(static_cast<std::int64_t>(values.size()) == numel(), "Tensor: {} values for shape {}", values.size(), shape_);
  T* destination = data<T>();
  Allocator::of(device()).memory().copy_from_host(destination, values.data(), bytes());
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const T* source = data<T>();
  std::vector<T> values(static_cast<std::size_t>(numel()));
  Allocator::of(device()).memory().copy_to_host(values.data(), source, bytes());
  return values;
}

template <class T>
T Tensor::item() const {
  check(numel() == 1, "Tensor: item() needs exactly one element, but the shape is {}", shape_);
  return to_vector<T>().front();
}

}  // namespace accrue
