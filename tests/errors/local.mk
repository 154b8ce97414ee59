# Each error that a public function lists, with the start of its sentence.
if HAVE_CHECK
errors_tests = \
	tests/errors/test_engine \
	tests/errors/test_memory \
	tests/errors/test_peer \
	tests/errors/test_post \
	tests/errors/test_batch \
	tests/errors/test_failed \
	tests/errors/test_stream \
	tests/errors/test_structs

check_PROGRAMS += $(errors_tests)
TESTS += $(errors_tests)

tests_errors_test_engine_LDADD = $(engine_test_libs)
tests_errors_test_memory_LDADD = $(engine_test_libs)
tests_errors_test_peer_LDADD = $(engine_test_libs)
tests_errors_test_post_LDADD = $(engine_test_libs)
tests_errors_test_batch_LDADD = $(engine_test_libs)
tests_errors_test_failed_LDADD = $(engine_test_libs)
tests_errors_test_stream_LDADD = $(engine_test_libs)
tests_errors_test_structs_LDADD = $(engine_test_libs)
endif
