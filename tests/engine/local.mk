# Engines in one, two and four processes, joined by pipes, no MPI.

# No test: prints the table of docs/footprint.md.
check_PROGRAMS += tests/engine/footprint
tests_engine_footprint_SOURCES = tests/engine/footprint.c
tests_engine_footprint_CPPFLAGS = $(AM_CPPFLAGS) $(UCX_CFLAGS)
tests_engine_footprint_LDADD = libkvferry.la $(UCX_LIBS)

# Bound plans through an engine, against the oracle of tests/unit.
if HAVE_CHECK
check_PROGRAMS += tests/engine/test_kv
TESTS += tests/engine/test_kv
tests_engine_test_kv_SOURCES = tests/engine/test_kv.c tests/unit/kv_oracle.c tests/unit/kv_oracle.h
tests_engine_test_kv_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests $(CHECK_CFLAGS)
tests_engine_test_kv_LDADD = libkvferry.la $(CHECK_LIBS)

check_PROGRAMS += tests/engine/test_exchange
TESTS += tests/engine/test_exchange
tests_engine_test_exchange_SOURCES = tests/engine/test_exchange.c
tests_engine_test_exchange_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_exchange_LDADD = libkvferry.la $(CHECK_LIBS)
endif
if HAVE_CHECK
check_LTLIBRARIES += tests/engine/libharness.la
tests_engine_libharness_la_SOURCES = tests/engine/forbid.c tests/engine/forbid.h tests/engine/procs.c \
	tests/engine/procs.h tests/engine/rig.c tests/engine/rig.h tests/engine/sources.c \
	tests/engine/sources.h tests/engine/threaded.c tests/engine/threaded.h
tests_engine_libharness_la_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)

engine_test_libs = tests/engine/libharness.la libkvferry.la $(CHECK_LIBS)

engine_tests = \
	tests/engine/test_transfer \
	tests/engine/test_batch \
	tests/engine/test_threads \
	tests/engine/test_copy_threads \
	tests/engine/test_copy_ends \
	tests/engine/test_crowd \
	tests/engine/test_notify \
	tests/engine/test_stream \
	tests/engine/test_eventfd \
	tests/engine/test_adopt \
	tests/engine/test_no_alloc \
	tests/engine/test_views \
	tests/engine/test_gens \
	tests/engine/test_revoke \
	tests/engine/test_lifetime \
	tests/engine/test_meter \
	tests/engine/test_queue \
	tests/engine/test_channel \
	tests/engine/test_paths \
	tests/engine/test_pack \
	tests/engine/test_nothing \
	tests/engine/test_align \
	tests/engine/test_big \
	tests/engine/test_kill \
	tests/engine/test_stage \
	tests/engine/test_owner_memory \
	tests/engine/test_stop \
	tests/engine/test_prepare \
	tests/engine/test_settle \
	tests/engine/test_held \
	tests/engine/test_leader \
	tests/engine/test_far \
	tests/engine/test_results \
	tests/engine/test_results_midway \
	tests/engine/test_blobs

check_PROGRAMS += $(engine_tests)
TESTS += $(engine_tests)

tests_engine_test_transfer_LDADD = $(engine_test_libs)
tests_engine_test_pack_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_pack_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
tests_engine_test_batch_LDADD = $(engine_test_libs)
tests_engine_test_threads_LDADD = $(engine_test_libs)
tests_engine_test_copy_threads_LDADD = $(engine_test_libs)
tests_engine_test_copy_ends_LDADD = $(engine_test_libs)
tests_engine_test_crowd_LDADD = $(engine_test_libs)
tests_engine_test_notify_LDADD = $(engine_test_libs)
tests_engine_test_stream_LDADD = $(engine_test_libs)
tests_engine_test_eventfd_LDADD = $(engine_test_libs)
tests_engine_test_adopt_LDADD = $(engine_test_libs)
tests_engine_test_no_alloc_LDADD = $(engine_test_libs)
tests_engine_test_views_LDADD = $(engine_test_libs)
tests_engine_test_gens_LDADD = $(engine_test_libs)
tests_engine_test_revoke_LDADD = $(engine_test_libs)
tests_engine_test_lifetime_LDADD = $(engine_test_libs)
tests_engine_test_meter_LDADD = $(engine_test_libs)
tests_engine_test_queue_LDADD = $(engine_test_libs)
tests_engine_test_channel_LDADD = $(engine_test_libs)
tests_engine_test_paths_LDADD = $(engine_test_libs)
tests_engine_test_nothing_LDADD = $(engine_test_libs)
tests_engine_test_align_LDADD = $(engine_test_libs)
tests_engine_test_big_LDADD = $(engine_test_libs)
tests_engine_test_kill_LDADD = $(engine_test_libs)
tests_engine_test_stage_LDADD = $(engine_test_libs)
tests_engine_test_owner_memory_LDADD = $(engine_test_libs)
tests_engine_test_stop_LDADD = $(engine_test_libs)
tests_engine_test_prepare_LDADD = $(engine_test_libs)
tests_engine_test_settle_LDADD = $(engine_test_libs)
tests_engine_test_held_LDADD = $(engine_test_libs)
tests_engine_test_leader_LDADD = $(engine_test_libs)
tests_engine_test_far_LDADD = $(engine_test_libs)
tests_engine_test_results_LDADD = $(engine_test_libs)
tests_engine_test_results_midway_LDADD = $(engine_test_libs)
tests_engine_test_blobs_LDADD = $(engine_test_libs)
tests_engine_test_blobs_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
endif

# Not linked with the library: it loads it.
check_PROGRAMS += tests/engine/test_signals
TESTS += tests/engine/test_signals
tests_engine_test_signals_LDADD = -ldl

# Memory: what segments take, and the limits of the machine and of namespaces of the tests' own.
if HAVE_CHECK
check_LTLIBRARIES += tests/engine/libworld.la
tests_engine_libworld_la_SOURCES = tests/engine/world.c tests/engine/world.h
tests_engine_libworld_la_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)

memory_tests = \
	tests/engine/test_memory \
	tests/engine/test_shm_limits \
	tests/engine/test_cgroup \
	tests/engine/test_huge \
	tests/engine/test_identity \
	tests/engine/test_leftovers

check_PROGRAMS += $(memory_tests)
TESTS += $(memory_tests)

tests_engine_test_memory_LDADD = $(engine_test_libs)
tests_engine_test_shm_limits_LDADD = tests/engine/libworld.la $(engine_test_libs)
tests_engine_test_cgroup_LDADD = $(engine_test_libs)
tests_engine_test_huge_LDADD = $(engine_test_libs)
tests_engine_test_identity_LDADD = tests/engine/libworld.la $(engine_test_libs)
tests_engine_test_leftovers_LDADD = tests/engine/libworld.la $(engine_test_libs)
endif

# Looks inside of the library.
if HAVE_CHECK
check_PROGRAMS += tests/engine/test_half_sent tests/engine/test_place tests/engine/test_requests
TESTS += tests/engine/test_half_sent tests/engine/test_place tests/engine/test_requests
tests_engine_test_requests_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_requests_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
tests_engine_test_place_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_place_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
check_PROGRAMS += tests/engine/test_forget
TESTS += tests/engine/test_forget
tests_engine_test_forget_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_forget_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
tests_engine_test_forget_LDFLAGS = -Wl,--wrap=kvfi_am_disconnect
check_PROGRAMS += tests/engine/test_scribble
TESTS += tests/engine/test_scribble
tests_engine_test_scribble_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_scribble_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
tests_engine_test_half_sent_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_half_sent_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
endif

# UCX as a guest. Its own getifaddrs() is to be the one that UCX calls.
if HAVE_CHECK
check_PROGRAMS += tests/engine/test_guest
TESTS += tests/engine/test_guest
tests_engine_test_guest_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
tests_engine_test_guest_LDADD = $(engine_test_libs) -ldl
tests_engine_test_guest_LDFLAGS = -export-dynamic
endif

TESTS += tests/engine/mixed_ucx.sh
EXTRA_DIST += tests/engine/mixed_ucx.sh
