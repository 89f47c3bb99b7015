/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn-bench-cache: linked with the interposer, as the README tells programs to be. */
#include "bench/regcache/side.h"

int main(void)
{
	static const struct side_ops *const contenders[] = {&side_mrn};

	return side_serve(contenders, 1);
}
