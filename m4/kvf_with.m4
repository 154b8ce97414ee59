dnl How configure finds what kvferry builds on: one way for all of them.
dnl
dnl KVF_CHECK_CFLAG(FLAG, [IF-YES], [IF-NO])
AC_DEFUN([KVF_CHECK_CFLAG], [
AC_MSG_CHECKING([whether $CC takes $1])
kvf_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS -Werror $1"
AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
    [AC_MSG_RESULT([yes]); kvf_flag_ok=yes],
    [AC_MSG_RESULT([no]); kvf_flag_ok=no])
CFLAGS=$kvf_save_CFLAGS
AS_IF([test "x$kvf_flag_ok" = xyes], [$2], [$3])
])

dnl KVF_TRY_LIB(NAME, HEADER, FUNCTION): does NAME_CFLAGS, NAME_LIBS build a call of FUNCTION?
dnl Sets kvf_try to yes or no.
AC_DEFUN([KVF_TRY_LIB], [
kvf_save_CPPFLAGS=$CPPFLAGS
kvf_save_LIBS=$LIBS
CPPFLAGS="$CPPFLAGS $$1_CFLAGS"
LIBS="$$1_LIBS $LIBS"
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <$2>]], [[void *p = (void *)&$3; return p == 0;]])],
    [kvf_try=yes], [kvf_try=no])
CPPFLAGS=$kvf_save_CPPFLAGS
LIBS=$kvf_save_LIBS
])

dnl KVF_WITH(NAME, name, DEFAULT, PC-MODULE, HEADER, FUNCTION, LIBS, PACKAGE, [DIR-TO-TRY])
dnl --with-name=auto|yes|no|DIR. yes fails when it is missing, auto goes on without it, DIR takes
dnl what DIR/lib*/pkgconfig says or DIR/include and DIR/lib*, and nothing else.
dnl Sets NAME_CFLAGS, NAME_LIBS, have_name, have_name_text, HAVE_NAME (conditional and define).
AC_DEFUN([KVF_WITH], [
AC_ARG_WITH([$2],
    [AS_HELP_STRING([--with-$2=auto|yes|no|DIR], [use $1 @<:@$3@:>@])],
    [], [with_$2=$3])
have_$2=no
have_$2_text=no
kvf_from=
AS_CASE([$with_$2],
    [no], [have_$2_text="no (as asked)"],
    [auto|yes],
        [m4_ifval([$4], [PKG_CHECK_MODULES([$1], [$4],
            [kvf_from=`$PKG_CONFIG --modversion "m4_bpatsubst([$4], [ .*])"`], [:])])
         AS_IF([test "x$kvf_from" = x && test "x$$1_LIBS" = x], [$1_LIBS="$7"])
         KVF_TRY_LIB([$1], [$5], [$6])
         m4_ifval([$9], [AS_IF([test "x$kvf_try" = xno && test -d "$9"],
            [KVF_WITH_DIR([$1], [$2], [$4], [$5], [$7], [$9])
             KVF_TRY_LIB([$1], [$5], [$6])])])],
    [AS_CASE([$with_$2], [/*], [],
        [AC_MSG_ERROR([--with-$2=$with_$2: say auto, yes, no or a directory that starts with /])])
     AS_IF([test -d "$with_$2"], [],
        [AC_MSG_ERROR([--with-$2=$with_$2: there is no such directory])])
     AS_IF([test -f "$with_$2/include/$5"], [],
        [AC_MSG_ERROR([--with-$2=$with_$2: there is no $with_$2/include/$5])])
     KVF_WITH_DIR([$1], [$2], [$4], [$5], [$7], [$with_$2])
     KVF_TRY_LIB([$1], [$5], [$6])])
AC_MSG_CHECKING([for $1])
AS_IF([test "x$with_$2" = xno], [],
    [test "x$kvf_try" = xyes],
        [have_$2=yes
         have_$2_text="found"
         AS_IF([test "x$kvf_from" != x], [have_$2_text="found, $kvf_from"])],
    [test "x$with_$2" = xauto], [have_$2_text="no (not found; $8)"],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([--with-$2=$with_$2: no usable $5 and $6 (install $8, or say --with-$2=DIR)])])
AC_MSG_RESULT([$have_$2_text])
AS_IF([test "x$have_$2" = xyes],
    [AC_DEFINE([HAVE_$1], [1], [$1 was found])],
    [$1_CFLAGS=; $1_LIBS=])
AC_SUBST([$1_CFLAGS])
AC_SUBST([$1_LIBS])
AM_CONDITIONAL([HAVE_$1], [test "x$have_$2" = xyes])
])

dnl KVF_WITH_DIR(NAME, name, PC-MODULE, HEADER, LIBS, DIR): flags for what lies under DIR.
dnl A pkgconfig directory right below lib is moved as a whole; below a multiarch directory only its
dnl prefix can be told. The run path is recorded, but for the system's own directories, and as RPATH: as
dnl RUNPATH it would not hold for what the libraries themselves load, which would come from elsewhere.
AC_DEFUN([KVF_WITH_DIR], [
kvf_from="under $6"
$1_CFLAGS="-I$6/include"
$1_LIBS=
kvf_pc=
kvf_pc_opt="--define-variable=prefix=$6"
for kvf_d in "$6"/lib "$6"/lib64 "$6"/lib/*-linux-gnu "$6"/lib64/stubs "$6"/lib/stubs; do
    AS_IF([test -d "$kvf_d/pkgconfig"],
        [kvf_pc="$kvf_pc:$kvf_d/pkgconfig"
         AS_CASE([$kvf_d], [*/lib|*/lib64],
             [AS_IF([test -f "$kvf_d/pkgconfig/$2.pc"], [kvf_pc_opt=--define-prefix])])])
    AS_IF([test -d "$kvf_d" && test "x$6" != x/usr],
        [AS_CASE([$kvf_d],
            [*/stubs], [$1_LIBS="$$1_LIBS -L$kvf_d"],
            [$1_LIBS="$$1_LIBS -L$kvf_d -Wl,--disable-new-dtags -Wl,-rpath,$kvf_d"])])
done
kvf_rpath=$$1_LIBS
$1_LIBS="$$1_LIBS $5"
m4_ifval([$3], [
AS_IF([test "x$kvf_pc" != x &&
       PKG_CONFIG_LIBDIR="$kvf_pc" $PKG_CONFIG $kvf_pc_opt --exists "$3" 2>/dev/null],
    [$1_CFLAGS=`PKG_CONFIG_LIBDIR="$kvf_pc" $PKG_CONFIG $kvf_pc_opt --cflags "$3"`
     $1_LIBS="$kvf_rpath "`PKG_CONFIG_LIBDIR="$kvf_pc" $PKG_CONFIG $kvf_pc_opt --libs "$3"`
     kvf_from=`PKG_CONFIG_LIBDIR="$kvf_pc" $PKG_CONFIG --modversion \
        "m4_bpatsubst([$3], [ .*])"`" under $6"])
])
# a .la file of a tree that was moved names folders that are gone: the library itself is taken
kvf_libs=
for kvf_l in $$1_LIBS; do
    AS_CASE([$kvf_l], [-l*],
        [kvf_n=lib`AS_ECHO(["$kvf_l"]) | $SED 's/^-l//'`
         for kvf_d in "$6"/lib "$6"/lib64 "$6"/lib/*-linux-gnu; do
             AS_IF([test -f "$kvf_d/$kvf_n.la" && test -f "$kvf_d/$kvf_n.so"], [kvf_l="-l:$kvf_n.so"])
         done])
    kvf_libs="$kvf_libs $kvf_l"
done
$1_LIBS=$kvf_libs
])

dnl KVF_WITH_MPI: --with-mpi=auto|yes|no|DIR. The mpicc of DIR/bin or of PATH tells its flags;
dnl without one, pkg-config's ompi-c or mpich. Sets MPI_CFLAGS, MPI_LIBS, MPIRUN, HAVE_MPI.
AC_DEFUN([KVF_WITH_MPI], [
AC_ARG_WITH([mpi],
    [AS_HELP_STRING([--with-mpi=auto|yes|no|DIR], [use MPI @<:@auto@:>@])],
    [], [with_mpi=auto])
AC_ARG_VAR([MPIRUN], [the program that starts an MPI job])
have_mpi=no
have_mpi_text="no (not found; libopenmpi-dev)"
kvf_mpi_path=$PATH
kvf_mpi_from=
AS_CASE([$with_mpi],
    [no], [have_mpi_text="no (as asked)"],
    [auto|yes], [],
    [/*], [AS_IF([test -d "$with_mpi"], [],
               [AC_MSG_ERROR([--with-mpi=$with_mpi: there is no such directory])])
           kvf_mpi_path="$with_mpi/bin"],
    [AC_MSG_ERROR([--with-mpi=$with_mpi: say auto, yes, no or a directory that starts with /])])
AS_IF([test "x$with_mpi" != xno], [
    AC_PATH_PROG([MPICC], [mpicc], [], [$kvf_mpi_path])
    AS_IF([test "x$MPICC" != x], [
        kvf_mpi_from=$MPICC
        AS_IF([MPI_CFLAGS=`$MPICC --showme:compile 2>/dev/null` &&
               MPI_LIBS=`$MPICC --showme:link 2>/dev/null`], [],
            [# MPICH prints the whole command, compiler first
             MPI_CFLAGS=`$MPICC -show -c 2>/dev/null | $SED 's/^@<:@^ @:>@* *//; s/ -c\( \|$\)/ /'`
             MPI_LIBS=`$MPICC -show 2>/dev/null | $SED 's/^@<:@^ @:>@* *//'`])
        KVF_TRY_LIB([MPI], [mpi.h], [MPI_Init_thread])
        have_mpi=$kvf_try])
    AS_CASE([$have_mpi:$with_mpi], [no:auto|no:yes],
        [for kvf_pcmod in ompi-c mpich; do
            AS_IF([test "x$have_mpi" = xno && $PKG_CONFIG --exists $kvf_pcmod 2>/dev/null],
                [MPI_CFLAGS=`$PKG_CONFIG --cflags $kvf_pcmod`
                 MPI_LIBS=`$PKG_CONFIG --libs $kvf_pcmod`
                 kvf_mpi_from="pkg-config $kvf_pcmod"
                 KVF_TRY_LIB([MPI], [mpi.h], [MPI_Init_thread])
                 have_mpi=$kvf_try])
        done])
    AS_IF([test "x$have_mpi" = xyes], [
        AC_PATH_PROGS([MPIRUN], [mpirun mpiexec], [mpirun], [$kvf_mpi_path])
        have_mpi_text="found, $kvf_mpi_from"],
        [test "x$with_mpi" = xauto], [],
        [AC_MSG_ERROR([--with-mpi=$with_mpi: no mpicc that builds a program (install libopenmpi-dev and openmpi-bin, or say --with-mpi=DIR)])])])
AC_MSG_CHECKING([for MPI])
AC_MSG_RESULT([$have_mpi_text])
AS_IF([test "x$have_mpi" = xyes],
    [AC_DEFINE([HAVE_MPI], [1], [MPI was found])],
    [MPI_CFLAGS=; MPI_LIBS=])
AC_SUBST([MPI_CFLAGS])
AC_SUBST([MPI_LIBS])
AM_CONDITIONAL([HAVE_MPI], [test "x$have_mpi" = xyes])
])
