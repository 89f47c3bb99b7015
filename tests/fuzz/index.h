/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_INDEX_H
#define TESTS_FUZZ_INDEX_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's name for it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
