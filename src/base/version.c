/*
 * The version of this build as a string, from the file VERSION through configure.
 * It is here and not in a header so that a library loaded at run time tells its own version and not
 * that of the headers its caller was built with.
 */
#include "config.h"

#include "base/version.h"

const char *kvfi_base_version(void)
{
    return PACKAGE_VERSION;
}
