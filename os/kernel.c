/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/kernel.h"

#include <sys/utsname.h>

#include "os/syscall.h"

static unsigned int number(const char **p)
{
	unsigned int n = 0;

	while (**p >= '0' && **p <= '9')
		n = n * 10 + (unsigned int)(*(*p)++ - '0');
	if (**p)
		++*p;
	return n;
}

bool mrn_kernel_is_at_least(unsigned int major, unsigned int minor)
{
	struct utsname name;
	const char *p = name.release;
	unsigned int is;

	if (mrn_sys1(SYS_uname, (long)&name))
		return false;
	is = number(&p);
	return is != major ? is > major : number(&p) >= minor;
}
