# The KV layer: part of libkvferry, a client of kvferry.h. A new file goes in kv_sources.
pkginclude_HEADERS += include/kvferry/kv.h
