/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn-cause.so: a library to be closed, with memory in it. */
#include "coverage/cause/library.h"

char cause_library_memory[CAUSE_LIBRARY_MEMORY];
