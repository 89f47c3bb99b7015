/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Declares the steps of a model: their numbers, for lab_is_broken, and `steps`, for its struct lab_driver. Define
 * LAB_STEPS, the name of a file in steps/, and include this once, in the model or in its header.
 */
#include "lab/lab.h"

#define STEP(number, name, words) number,
#define CUTS(how, name, words)	  CUTS_##how,
#define IGNORES(event, name)	  IGNORES_##event,
enum {
#include LAB_STEPS
};
#undef STEP
#undef CUTS
#undef IGNORES

#define STEP(number, name, words) {name, words, 0, LAB_CUTS_NOTHING},
#define CUTS(how, name, words)	  {name, words, 0, LAB_CUTS_##how},
#define IGNORES(event, name) \
	{name, "does nothing about MMU_NOTIFY_" #event, 1u << MMU_NOTIFY_##event, LAB_CUTS_NOTHING},
/* Only the file that has the driver uses it. */
__attribute__((unused)) static const struct lab_step steps[] = {
#include LAB_STEPS
	{NULL, NULL, 0, LAB_CUTS_NOTHING},
};
#undef STEP
#undef CUTS
#undef IGNORES
