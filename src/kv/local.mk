# The KV layer: part of libkvferry. Files: kv_sources += src/kv/NAME.c; the public header:
# pkginclude_HEADERS += include/kvferry/kv.h
