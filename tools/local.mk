# The tools, bin_PROGRAMS += tools/kvf_NAME.
