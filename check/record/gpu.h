/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that is registered with CUDA's driver, CUDA's runtime or HIP. What a GPU does with it, nobody here sees. */
#ifndef MRN_CHECK_GPU_H
#define MRN_CHECK_GPU_H

/* In a forked child. */
void check_gpu_restart(void);

#endif
