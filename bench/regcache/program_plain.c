/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn-bench-plain: the contenders that watch no memory, in a program without the interposer. */
#include "bench/regcache/side.h"

int main(void)
{
	static const struct side_ops *const contenders[WORK_NR_PLAIN] = {
		[WORK_LOOK_UP] = &side_look_up, [WORK_PLAIN] = &side_plain,
		[WORK_EACH] = &side_each,	[WORK_ONCE] = &side_once,
		[WORK_ARMING] = &side_arming,
	};

	return side_serve(contenders, WORK_NR_PLAIN);
}
