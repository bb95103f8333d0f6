// The operands of an operator as XLA hands them over: checked once, then read lane by lane.
//
// Each operand has leading batch axes that broadcast against each other's, as in a NumPy matrix product: an axis of length 1 serves
// every lane. So any combination of batched and unbatched operands is one call, and nothing is copied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "compressed.h"
#include "xla/ffi/api/ffi.h"

namespace spikax {

namespace ffi = xla::ffi;

inline constexpr size_t kMaxAxes = 32;

class Operand {
 public:
  // The last `inner` axes are those of one lane.
  explicit Operand(const ffi::AnyBuffer& buffer, size_t inner = 1)
      : data_(buffer.untyped_data()), dtype_(buffer.element_type()), dims_(buffer.dimensions()), inner_(inner) {
    if (dims_.size() < inner) return;
    for (size_t i = dims_.size() - inner; i < dims_.size(); ++i) size_ *= dims_[i];
  }

  ffi::DataType dtype() const { return dtype_; }
  size_t rank() const { return dims_.size(); }
  size_t inner() const { return inner_; }
  int64_t axis(size_t i) const { return dims_[i]; }
  // The elements of one lane.
  int64_t size() const { return size_; }

  template <typename T>
  T* At(int64_t offset) const {
    return static_cast<T*>(data_) + offset;
  }

 private:
  void* data_;
  ffi::DataType dtype_;
  ffi::AnyBuffer::Dimensions dims_;
  size_t inner_;
  int64_t size_ = 1;
};

// The lanes of a call: the product of the broadcast batch axes.
class Lanes {
 public:
  ffi::Error Init(std::initializer_list<const Operand*> operands) {
    const Operand& first = **operands.begin();
    if (first.rank() < first.inner() || first.rank() > first.inner() + kMaxAxes)
      return ffi::Error::InvalidArgument("operands need the axes of a lane, and at most 32 batch axes");
    axes_ = first.rank() - first.inner();
    std::fill_n(length_, axes_, 1);
    for (const Operand* operand : operands) {
      if (operand->rank() != axes_ + operand->inner())
        return ffi::Error::InvalidArgument("operands differ in their number of batch axes");
      for (size_t i = 0; i < axes_; ++i) {
        if (operand->axis(i) == 1 || operand->axis(i) == length_[i]) continue;
        if (length_[i] != 1) return ffi::Error::InvalidArgument("batch axes do not broadcast");
        length_[i] = operand->axis(i);
      }
    }
    for (size_t i = 0; i < axes_; ++i) count_ *= length_[i];
    return ffi::Error::Success();
  }

  int64_t count() const { return count_; }

  // The lanes that `operand` has data of its own for.
  int64_t CountIn(const Operand& operand) const {
    int64_t count = 1;
    for (size_t i = 0; i < axes_; ++i) count *= operand.axis(i);
    return count;
  }

  // Where the elements of `operand` for `lane` begin.
  int64_t Offset(const Operand& operand, int64_t lane) const {
    int64_t offset = 0, stride = operand.size();
    for (size_t i = axes_; i-- > 0;) {
      if (operand.axis(i) != 1) offset += lane % length_[i] * stride;
      lane /= length_[i];
      stride *= operand.axis(i);
    }
    return offset;
  }

 private:
  size_t axes_ = 0;
  int64_t length_[kMaxAxes] = {};
  int64_t count_ = 1;
};

// The matrix that belongs to a lane. An empty indptr says that all rows are of one length.
template <typename I>
Compressed<I> MatrixAt(const Lanes& lanes, const Operand& indices, const Operand& indptr, int64_t rows, int64_t cols, int64_t lane) {
  const I* columns = indices.At<I>(lanes.Offset(indices, lane));
  const int64_t entries = indices.size();
  if (indptr.size() == 0) return {nullptr, false, columns, rows, cols, entries, entries / std::max<int64_t>(rows, 1)};
  const bool wide = indptr.dtype() == ffi::S64;
  const int64_t pointers = lanes.Offset(indptr, lane);
  const void* begin = wide ? static_cast<const void*>(indptr.At<int64_t>(pointers)) : indptr.At<int32_t>(pointers);
  return {begin, wide, columns, rows, cols, entries, 0};
}

// What every operator asks of the arrays of a matrix with `rows` rows.
inline ffi::Error CheckMatrix(const Operand& indices, const Operand& indptr, int64_t rows) {
  if (indptr.dtype() != ffi::S32 && indptr.dtype() != ffi::S64) return ffi::Error::InvalidArgument("indptr must be int32 or int64");
  if (indptr.size() == 0) {
    if (rows == 0 ? indices.size() == 0 : indices.size() % rows == 0) return ffi::Error::Success();
    return ffi::Error::InvalidArgument("without indptr, the entries must divide among the rows");
  }
  if (indptr.size() != rows + 1) return ffi::Error::InvalidArgument("indptr must be one longer than the matrix has rows");
  return ffi::Error::Success();
}

// What an operator asks of a result that has the dtype of `data` and room for every lane.
inline ffi::Error CheckResult(const Lanes& lanes, const Operand& data, const Operand& y) {
  if (y.dtype() != data.dtype() || lanes.CountIn(y) != lanes.count())
    return ffi::Error::InvalidArgument("the result must have the dtype of data and the batch axes of all operands");
  return ffi::Error::Success();
}

// What a product asks of its weights, one or one an entry, and of its result.
inline ffi::Error CheckProduct(const Lanes& lanes, const Operand& data, const Operand& indices, const Operand& y) {
  if (data.size() != 1 && data.size() != indices.size())
    return ffi::Error::InvalidArgument("data must hold one weight, or one for each entry of indices");
  return CheckResult(lanes, data, y);
}

}  // namespace spikax
