#include "kernels/loss_terms.h"

namespace accrue::kernels {

LossTerms read_loss_terms(const Tensor& terms) {
  check(terms.dtype() == DType::u8 && terms.numel() == sizeof(LossTerms), "loss terms must be u8 [{}], but are {} {}",
        sizeof(LossTerms), name_of(terms.dtype()), terms.shape());
  LossTerms value;
  Allocator::of(terms.device()).memory().copy_to_host(&value, terms.raw(), sizeof value);
  return value;
}

}  // namespace accrue::kernels
