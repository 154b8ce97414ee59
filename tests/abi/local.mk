# What the libraries export, who includes whom, and what the documentation covers.
TESTS += tests/abi/headers.sh tests/layering.sh tests/docs.sh
EXTRA_DIST += tests/abi/symbols.sh tests/abi/headers.sh tests/layering.sh tests/docs.sh \
	tests/readme.sh tests/declared.sh
