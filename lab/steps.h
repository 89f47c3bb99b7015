/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declares the steps of a model: their numbers, for lab_is_broken, and `steps`, for its struct lab_driver. Define
 * LAB_STEPS, the name of a file in steps/, and include this once, in the model or in its header.
 */
#include "lab/lab.h"

#define STEP(number, name, words) number,
enum {
#include LAB_STEPS
};
#undef STEP

#define STEP(number, name, words) {name, words},
/* Only the file that has the driver uses it. */
__attribute__((unused)) static const struct lab_step steps[] = {
#include LAB_STEPS
	{NULL, NULL},
};
#undef STEP
