# Manual pages: one a public header, and those of the tools that have many options. tests/docs.sh looks
# that each header's says what every function does.
dist_man_MANS += man/kvferry.3 man/kvferry_kv.3 man/kvf_explain.1 man/kvf_info.1
if HAVE_MPI
dist_man_MANS += man/kvferry_mpi.3 man/kvf_bench.1 man/kvf_replay.1
endif
