/* SPDX-License-Identifier: BSD-3-Clause */
/* malloc, as the engine calls it. */
#ifndef TESTS_ENGINE_HEAP_H
#define TESTS_ENGINE_HEAP_H

#include <stddef.h>

char *heap_allocated(size_t length);
char *heap_resized(char *old, size_t length);
void heap_give_back(char *p);

#endif
