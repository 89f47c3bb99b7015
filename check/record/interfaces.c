/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/interfaces.h"

#include "check/record/calls.h"
#include "check/record/gpu.h"
#include "check/record/places.h"
#include "check/record/uring.h"
#include "check/record/vfio.h"
#include "os/behind.h"
#ifdef MRN_HAVE_FABRIC
#include "check/record/fabric.h"
#endif
#ifdef MRN_HAVE_UCX
#include "check/record/ucx.h"
#endif
#ifdef MRN_HAVE_VERBS
#include "check/record/verbs.h"
#endif

/* What was there when the program was loaded; of what is opened later, at the first call. */
__attribute__((constructor)) static void look_behind(void)
{
	mrn_behind_look();
}

int check_interfaces_start(void)
{
	check_uring_start();
	return check_calls_start();
}

void check_interfaces_restart(void)
{
	check_uring_restart();
	check_gpu_restart();
	check_vfio_restart();
	check_places_restart();
#ifdef MRN_HAVE_FABRIC
	check_fabric_restart();
#endif
#ifdef MRN_HAVE_UCX
	check_ucx_restart();
#endif
#ifdef MRN_HAVE_VERBS
	check_verbs_restart();
#endif
}
