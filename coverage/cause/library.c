/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn-cause.so: a library that contains memory, to be closed. */
#include "coverage/cause/library.h"

char cause_library_memory[CAUSE_LIBRARY_MEMORY];
