# The library. One convenience library for the rooms below the engine that others may use alone
# (base), one for all of it (libkvfall, for tests that look inside), and libkvferry, which is the same
# behind a symbol map. A new .c file goes in the list of its room.
include_HEADERS += include/kvferry.h

noinst_LTLIBRARIES += libkvfbase.la libkvfall.la
lib_LTLIBRARIES += libkvferry.la

base_sources = \
	src/base/bell.c \
	src/base/bell.h \
	src/base/blob.c \
	src/base/blob.h \
	src/base/clock.h \
	src/base/cores.c \
	src/base/cores.h \
	src/base/limits.c \
	src/base/limits.h \
	src/base/lock.c \
	src/base/lock.h \
	src/base/file.h \
	src/base/memory.c \
	src/base/memory.h \
	src/base/pages.c \
	src/base/pages.h \
	src/base/proc.c \
	src/base/proc.h \
	src/base/share.c \
	src/base/share.h \
	src/base/shm.c \
	src/base/shm.h \
	src/base/stretch.c \
	src/base/stretch.h \
	src/base/status.c \
	src/base/status.h \
	src/base/struct.c \
	src/base/table.c \
	src/base/table.h \
	src/base/vma.c \
	src/base/vma.h \
	src/base/version.c \
	src/base/version.h \
	src/base/wire.h

copy_sources = \
	src/copy/box.c \
	src/copy/box.h \
	src/copy/calibrate.c \
	src/copy/calibration.c \
	src/copy/calibration.h \
	src/copy/copy.c \
	src/copy/copy.h \
	src/copy/cost.c \
	src/copy/cost.h \
	src/copy/cut.c \
	src/copy/cut.h \
	src/copy/extent.c \
	src/copy/extent.h \
	src/copy/host.c \
	src/copy/host.h \
	src/copy/ids.h \
	src/copy/kernel.c \
	src/copy/kernel.h \
	src/copy/kernel_avx2.c \
	src/copy/kernel_avx512.c \
	src/copy/kernel_neon.c \
	src/copy/part.h \
	src/copy/pairs.h \
	src/copy/rows.h \
	src/copy/streaming.h \
	src/copy/ticks.h \
	src/copy/tune.c \
	src/copy/tune.h \
	src/copy/walk.c \
	src/copy/walk.h

ucx_sources = \
	src/ucx/endpoint.c \
	src/ucx/fds.c \
	src/ucx/internal.h \
	src/ucx/memory.c \
	src/ucx/near.c \
	src/ucx/needs.c \
	src/ucx/net.c \
	src/ucx/quiet.c \
	src/ucx/signals.c \
	src/ucx/text.c \
	src/ucx/ucx.h \
	src/ucx/wire.c

path_sources = \
	src/path/absent.c \
	src/path/am.c \
	src/path/am.h \
	src/path/am_driver.c \
	src/path/am_initiator.c \
	src/path/am_internal.h \
	src/path/am_message.c \
	src/path/am_peer.c \
	src/path/am_pump.c \
	src/path/am_receive.c \
	src/path/am_serve.c \
	src/path/carrier.h \
	src/path/carriers.c \
	src/path/cma.c \
	src/path/cma.h \
	src/path/cma_why.c \
	src/path/driver.h \
	src/path/endpoints.c \
	src/path/mail.c \
	src/path/mail.h \
	src/path/measure.c \
	src/path/measure.h \
	src/path/open_writes.c \
	src/path/open_writes.h \
	src/path/own.c \
	src/path/own.h \
	src/path/page.c \
	src/path/page.h \
	src/path/path.c \
	src/path/path.h \
	src/path/paths.c \
	src/path/rings.c \
	src/path/rings.h \
	src/path/self.c \
	src/path/settle.c \
	src/path/shm.c \
	src/path/stage.c \
	src/path/stage.h \
	src/path/xfer.c

engine_sources = \
	src/engine/adopt.c \
	src/engine/adopt.h \
	src/engine/await.c \
	src/engine/await.h \
	src/engine/batch.c \
	src/engine/batch.h \
	src/engine/calibrate.c \
	src/engine/check.c \
	src/engine/check.h \
	src/engine/choose.c \
	src/engine/choose.h \
	src/engine/copiers.c \
	src/engine/copiers.h \
	src/engine/cost.c \
	src/engine/doubt.c \
	src/engine/doubt.h \
	src/engine/end.c \
	src/engine/end.h \
	src/engine/ended.c \
	src/engine/ended.h \
	src/engine/engine.c \
	src/engine/engine.h \
	src/engine/event.c \
	src/engine/event.h \
	src/engine/exchange.c \
	src/engine/grant.c \
	src/engine/grant.h \
	src/engine/grant_blob.h \
	src/engine/held.c \
	src/engine/held.h \
	src/engine/home.c \
	src/engine/home.h \
	src/engine/inbox.c \
	src/engine/inbox.h \
	src/engine/keep.c \
	src/engine/links.c \
	src/engine/links.h \
	src/engine/meter.c \
	src/engine/meter.h \
	src/engine/monitor.c \
	src/engine/notify.c \
	src/engine/notify.h \
	src/engine/object.c \
	src/engine/object.h \
	src/engine/op.c \
	src/engine/op.h \
	src/engine/parts.c \
	src/engine/parts.h \
	src/engine/peer.c \
	src/engine/peer.h \
	src/engine/place.c \
	src/engine/place.h \
	src/engine/pool.c \
	src/engine/pool.h \
	src/engine/post.c \
	src/engine/prepare.c \
	src/engine/prepare.h \
	src/engine/progress.c \
	src/engine/progress.h \
	src/engine/queue.c \
	src/engine/queue.h \
	src/engine/remote.c \
	src/engine/remote.h \
	src/engine/revoke.c \
	src/engine/revoke.h \
	src/engine/roll.c \
	src/engine/roll.h \
	src/engine/round.c \
	src/engine/round.h \
	src/engine/running.c \
	src/engine/running.h \
	src/engine/segment.c \
	src/engine/segment.h \
	src/engine/sentence.c \
	src/engine/sentence.h \
	src/engine/served.c \
	src/engine/served.h \
	src/engine/settings.c \
	src/engine/settings.h \
	src/engine/thread.c \
	src/engine/thread.h \
	src/engine/view.c \
	src/engine/view.h

# src/kv/local.mk appends its files
kv_sources =

libkvfbase_la_SOURCES = $(base_sources)
libkvfbase_la_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)

libkvfall_la_SOURCES = $(copy_sources) $(ucx_sources) $(path_sources) $(engine_sources) $(kv_sources)
libkvfall_la_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS) $(UCX_CFLAGS)
libkvfall_la_LIBADD = libkvfbase.la $(UCX_LIBS)

libkvferry_la_SOURCES =
libkvferry_la_LIBADD = libkvfall.la
libkvferry_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(LIBKVFERRY_SO) -no-undefined \
	-Wl,--version-script=$(top_srcdir)/src/kvferry.map
EXTRA_libkvferry_la_DEPENDENCIES = src/kvferry.map
EXTRA_DIST += src/kvferry.map
