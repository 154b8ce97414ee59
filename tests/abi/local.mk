# What the libraries export, who includes whom, how C is laid out, what the documentation covers, what
# quickstart says.
TESTS += tests/abi/symbols.sh tests/abi/headers.sh tests/layering.sh tests/format.sh \
	tests/docs.sh tests/readme.sh tests/quickstart.sh tests/commands.sh
EXTRA_DIST += tests/abi/symbols.sh tests/abi/headers.sh tests/layering.sh tests/format.sh tests/docs.sh \
	tests/quickstart.sh tests/readme.sh tests/commands.sh tests/declared.sh
TESTS += tests/abi/hardening.sh
EXTRA_DIST += tests/abi/hardening.sh
