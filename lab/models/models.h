/* SPDX-License-Identifier: BSD-3-Clause */
/* The device models. Each has a file with its name, for the driver; its hardware may have files beside it. */
#ifndef LAB_MODELS_H
#define LAB_MODELS_H

#include "lab/lab.h"

#define MODEL(name) extern const struct lab_driver lab_##name;
#include "lab/models/models.def"
#undef MODEL

#endif
