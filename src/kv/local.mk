# The KV layer: part of libkvferry, a client of kvferry.h. A new file goes in kv_sources.
pkginclude_HEADERS += include/kvferry/kv.h

kv_sources += \
	src/kv/bind.c \
	src/kv/bind.h \
	src/kv/bind_check.c \
	src/kv/bind_list.c \
	src/kv/bind_post.c \
	src/kv/bind_slots.c \
	src/kv/box.c \
	src/kv/box.h \
	src/kv/check.c \
	src/kv/compare.c \
	src/kv/fold.c \
	src/kv/layers.c \
	src/kv/layout.c \
	src/kv/layout.h \
	src/kv/merge.c \
	src/kv/name.c \
	src/kv/overlap.c \
	src/kv/pack.c \
	src/kv/pattern.c \
	src/kv/pattern.h \
	src/kv/plan.c \
	src/kv/plan.h \
	src/kv/plane.c \
	src/kv/preset.c \
	src/kv/results.c \
	src/kv/sources.c \
	src/kv/stream.c \
	src/kv/stream.h \
	src/kv/stream_state.c \
	src/kv/unit.c
