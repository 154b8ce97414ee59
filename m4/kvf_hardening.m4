dnl KVF_HARDENING: what makes a fault in memory end the process rather than serve an attacker, as far as
dnl compiler and linker have it: KVF_CFLAGS grows, KVF_LDFLAGS and kvf_hardening_text are set. Flags that the
dnl user gives come later on the command line, and win. -fcf-protection=return is shadow stacks, which cost
dnl nothing; the other half of CET is an instruction at each entry of a function that Linux does not check.
AC_DEFUN([KVF_HARDENING], [
AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening],
        [without stack protector, _FORTIFY_SOURCE, CET, RELRO and immediate binding])],
    [], [enable_hardening=yes])
KVF_LDFLAGS=
kvf_hardening_text=
AS_IF([test "x$enable_hardening" = xno], [kvf_hardening_text="no (as asked)"], [
    for kvf_flag in -fstack-protector-strong -fcf-protection=return; do
        KVF_CHECK_CFLAG([$kvf_flag], [kvf_hardening_text="$kvf_hardening_text $kvf_flag"])
    done
    KVF_FORTIFY
    KVF_CFLAGS="$KVF_CFLAGS$kvf_hardening_text"
    for kvf_flag in -Wl,-z,relro -Wl,-z,now; do
        KVF_CHECK_LDFLAG([$kvf_flag], [KVF_LDFLAGS="$KVF_LDFLAGS $kvf_flag"])
    done
    kvf_hardening_text=`echo $kvf_hardening_text $KVF_LDFLAGS`
    AS_IF([test "x$kvf_hardening_text" = x], [kvf_hardening_text="no (the compiler takes none of the flags)"])])
AC_SUBST([KVF_LDFLAGS])
AC_SUBST([HARDENING], [$kvf_hardening_text])
])

dnl KVF_CHECK_LDFLAG(FLAG, [IF-YES])
AC_DEFUN([KVF_CHECK_LDFLAG], [
AC_MSG_CHECKING([whether the linker takes $1])
kvf_save_LDFLAGS=$LDFLAGS
LDFLAGS="$LDFLAGS -Wl,--fatal-warnings $1"
AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes]); $2], [AC_MSG_RESULT([no])])
LDFLAGS=$kvf_save_LDFLAGS
])

dnl KVF_FORTIFY: the highest level that the C library does not warn of. None where it was chosen already,
dnl where nothing is optimised (it needs that), and under sanitizers, which see more by themselves.
AC_DEFUN([KVF_FORTIFY], [
kvf_fortify=
AC_MSG_CHECKING([for the level of _FORTIFY_SOURCE])
AC_COMPILE_IFELSE([AC_LANG_SOURCE([[#if defined _FORTIFY_SOURCE || !defined __OPTIMIZE__
#error
#endif]])],
    [AS_IF([test "x$enable_sanitizer" = xno],
        [for kvf_level in 3 2; do
            kvf_save_CFLAGS=$CFLAGS
            CFLAGS="$CFLAGS -Werror -D_FORTIFY_SOURCE=$kvf_level"
            AS_IF([test "x$kvf_fortify" = x],
                [AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]], [])], [kvf_fortify=$kvf_level])])
            CFLAGS=$kvf_save_CFLAGS
         done])])
AS_IF([test "x$kvf_fortify" = x], [AC_MSG_RESULT([left as it is])],
    [AC_MSG_RESULT([$kvf_fortify])
     kvf_hardening_text="$kvf_hardening_text -D_FORTIFY_SOURCE=$kvf_fortify"])
])
