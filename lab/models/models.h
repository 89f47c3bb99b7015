/* SPDX-License-Identifier: BSD-3-Clause */
/* The device models. Each has a file with its name, for the driver; its hardware may have files beside it. */
#ifndef LAB_MODELS_H
#define LAB_MODELS_H

#include "lab/lab.h"

extern const struct lab_driver lab_amdgpu_gfx, lab_amdgpu_hsa, lab_dmirror, lab_gntdev, lab_hfi1;
extern const struct lab_driver lab_i915, lab_nouveau, lab_radeon, lab_scif_dma, lab_umem_odp,
	lab_vhost;

#endif
