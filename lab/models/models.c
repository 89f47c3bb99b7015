/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "lab/models/models.h"
#include "lab/run.h"

const struct lab_driver *const lab_drivers[] = {
#define MODEL(name) &lab_##name,
#include "lab/models/models.def"
	NULL,
};

const struct lab_driver *lab_find_driver(const char *name)
{
	for (size_t i = 0; lab_drivers[i]; i++)
		if (!strcmp(lab_drivers[i]->name, name))
			return lab_drivers[i];
	return NULL;
}

int lab_find_step(const struct lab_driver *driver, const char *step)
{
	for (int i = 0; driver->steps[i].name; i++)
		if (!strcmp(driver->steps[i].name, step))
			return i;
	return -1;
}
