// Philox 4x32-10: random words that are a function of a key and a counter (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC'11, doi:10.1145/2063384.2063405).
#pragma once

#include "target.h"

namespace spikax {

struct PhiloxKey {
  uint32_t k0, k1;
};

// Replaces the counter by its four random words.
SPIKAX_BOTH inline void Philox(PhiloxKey key, uint32_t (&words)[4]) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * words[0], p1 = uint64_t{0xCD9E8D57} * words[2];
    words[0] = static_cast<uint32_t>(p1 >> 32) ^ words[1] ^ key.k0;
    words[2] = static_cast<uint32_t>(p0 >> 32) ^ words[3] ^ key.k1;
    words[1] = static_cast<uint32_t>(p1);
    words[3] = static_cast<uint32_t>(p0);
    key.k0 += 0x9E3779B9;
    key.k1 += 0xBB67AE85;
  }
}

// The stream of one row: numbers that are exactly uniform in [0, size).
class Uniform {
 public:
  SPIKAX_BOTH Uniform(PhiloxKey key, uint32_t row, uint32_t size) : key_(key), row_(row), size_(size), unfair_(-size % size) {}

  SPIKAX_BOTH uint32_t Next() {
    for (;;) {
      if (next_ == 4) Fill();
      // Lemire, "Fast random integer generation in an interval" (ACM TOMACS 29:3, 2019).
      const uint64_t product = uint64_t{words_[next_++]} * size_;
      if (static_cast<uint32_t>(product) >= unfair_) return static_cast<uint32_t>(product >> 32);
    }
  }

 private:
  SPIKAX_BOTH void Fill() {
    words_[0] = block_++;
    words_[1] = row_;
    words_[2] = words_[3] = 0;
    Philox(key_, words_);
    next_ = 0;
  }

  PhiloxKey key_;
  uint32_t row_, size_, unfair_, block_ = 0, words_[4];
  int next_ = 4;
};

}  // namespace spikax
